// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/ip_address.h"

#include <gtest/gtest.h>

namespace ctsync {
namespace {

TEST(IpAddress, TextAndBytesOfBothFamilies) {
  const auto four = parse_ip(Family::ipv4, "192.0.2.7");
  ASSERT_TRUE(four);
  EXPECT_EQ(*four, (IpAddress{Family::ipv4, {192, 0, 2, 7}}));
  EXPECT_EQ(to_string(*four), "192.0.2.7");
  const auto six = parse_ip(Family::ipv6, "fe80::1");
  ASSERT_TRUE(six);
  EXPECT_EQ(six->bytes[0], 0xfe);
  EXPECT_EQ(six->bytes[15], 1);
  EXPECT_EQ(to_string(*six), "fe80::1");
}

TEST(IpAddress, TextOfTheOtherFamilyOrOfNoAddressIsNone) {
  EXPECT_FALSE(parse_ip(Family::ipv4, "fe80::1"));
  EXPECT_FALSE(parse_ip(Family::ipv6, "192.0.2.7"));
  EXPECT_FALSE(parse_ip(Family::ipv4, "192.0.2"));
  EXPECT_FALSE(parse_ip(Family::ipv4, ""));
}

// 0.0.0.0 in a configuration is an address that was given.
TEST(IpAddress, AllZeroIsAnAddress) {
  EXPECT_FALSE(IpAddress{}.is_set());
  EXPECT_EQ(to_string(IpAddress{}), "");
  EXPECT_TRUE(parse_ip(Family::ipv4, "0.0.0.0")->is_set());
  EXPECT_NE(*parse_ip(Family::ipv4, "0.0.0.0"), *parse_ip(Family::ipv6, "::"));
}

}  // namespace
}  // namespace ctsync
