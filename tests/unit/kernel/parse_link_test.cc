// SPDX-License-Identifier: GPL-2.0-or-later
// Interface messages with lies in them. Written out by hand from linux/rtnetlink.h.
#include "parse_link.h"

#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <bit>
#include <vector>

namespace ctsync::kernel::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

// eth0, index 3, up, MTU 1400.
Bytes eth0() {
  Bytes b{0, 0, 1, 0, 3,    0,    0,   0,   1, 0, 0, 0, 0, 0, 0, 0,  // family, type, index, flags, change
          9, 0, 3, 0, 'e',  't',  'h', '0', 0, 0, 0, 0,              // IFLA_IFNAME
          8, 0, 4, 0, 0x78, 0x05, 0,   0};                           // IFLA_MTU
  return b;
}

class ParseLink : public testing::Test {
  void SetUp() override {
    if constexpr (std::endian::native != std::endian::little)
      GTEST_SKIP() << "the bytes are those of little-endian hosts";
  }
};

TEST_F(ParseLink, NameIndexFlagsAndMtu) {
  const auto link = parse_link(eth0());
  ASSERT_TRUE(link);
  EXPECT_EQ("eth0", link->name);
  EXPECT_EQ((LinkInfo{.index = 3, .flags = IFF_UP, .mtu = 1400}), link->info);
  EXPECT_TRUE(link->info.up());
  EXPECT_FALSE(link->info.running());
}

TEST_F(ParseLink, PortOfABridgeIsNoInterface) {
  auto b = eth0();
  b[0] = AF_BRIDGE;
  EXPECT_FALSE(parse_link(b));
}

TEST_F(ParseLink, NameMustEndAndMtuMustBeWhole) {
  auto b = eth0();
  b[16] = 8;  // the name without its zero
  b.erase(b.begin() + 24, b.begin() + 28);
  EXPECT_FALSE(parse_link(b));
  b = eth0();
  b[28] = 6;
  EXPECT_FALSE(parse_link(b));
}

TEST_F(ParseLink, NothingIsReadBeyondTheMessage) {
  const auto whole = eth0();
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    const Bytes exact(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));  // for the sanitizer
    const auto link = parse_link(exact);
    EXPECT_EQ(n >= 25, link.has_value()) << n;
  }
  for (std::size_t at = 16; at < whole.size(); ++at) {
    for (unsigned v = 0; v < 256; ++v) {
      auto b = whole;
      b[at] = static_cast<std::uint8_t>(v);
      parse_link(b);
    }
  }
}

}  // namespace
}  // namespace ctsync::kernel::test
