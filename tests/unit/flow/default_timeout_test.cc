// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/default_timeout.h"

#include <gtest/gtest.h>

namespace ctsync::test {
namespace {

Flow flow_of(std::uint8_t l4, std::uint8_t state = 0, std::uint32_t status = 0) {
  Flow f;
  f.orig.l4 = l4;
  f.proto_state = state;
  f.status = status;
  f.present = has::kStatus | has::kProtoState;
  return f;
}

TEST(DefaultTimeout, OfTcpByState) {
  EXPECT_EQ(120U, default_timeout(flow_of(kTcp, 1)));
  EXPECT_EQ(60U, default_timeout(flow_of(kTcp, 2)));
  EXPECT_EQ(432000U, default_timeout(flow_of(kTcp, 3)));
  EXPECT_EQ(10U, default_timeout(flow_of(kTcp, 8)));
  EXPECT_EQ(60U, default_timeout(flow_of(kTcp, 200)));
}

TEST(DefaultTimeout, OfOffloadedTcpIsThatOfEstablished) {
  auto f = flow_of(kTcp, 0, status::kAssured | status::kOffload);
  f.present &= ~has::kProtoState;
  EXPECT_EQ(432000U, default_timeout(f));
  f.status &= ~status::kAssured;
  EXPECT_EQ(60U, default_timeout(f));
}

TEST(DefaultTimeout, OfOthersByStateOrAssurance) {
  EXPECT_EQ(210U, default_timeout(flow_of(kSctp, 4)));
  EXPECT_EQ(10U, default_timeout(flow_of(kSctp, 200)));
  EXPECT_EQ(43200U, default_timeout(flow_of(kDccp, 4)));
  EXPECT_EQ(240U, default_timeout(flow_of(kDccp, 200)));
  EXPECT_EQ(30U, default_timeout(flow_of(kUdp)));
  EXPECT_EQ(120U, default_timeout(flow_of(kUdp, 0, status::kAssured)));
  EXPECT_EQ(120U, default_timeout(flow_of(kUdpLite, 0, status::kAssured)));
  EXPECT_EQ(180U, default_timeout(flow_of(kGre, 0, status::kAssured)));
  EXPECT_EQ(30U, default_timeout(flow_of(kIcmp)));
  EXPECT_EQ(30U, default_timeout(flow_of(kIcmpv6)));
  EXPECT_EQ(600U, default_timeout(flow_of(50)));
}

}  // namespace
}  // namespace ctsync::test
