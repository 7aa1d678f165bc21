// SPDX-License-Identifier: GPL-2.0-or-later
// Protocol names on a system without /etc/protocols, as a minimal Debian is: this program has a getprotobyname_r() of
// its own, which knows a single name.
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cerrno>
#include <string_view>

#include "ctsync/config/parse.h"

namespace {
char site_name[] = "site-proto";
}

extern "C" int getprotobyname_r(const char* name, protoent* entry, char*, std::size_t, protoent** found) {
  *found = nullptr;
  if (std::string_view(name) != site_name) return ENOENT;
  *entry = {.p_name = site_name, .p_aliases = nullptr, .p_proto = 253};
  *found = entry;
  return 0;
}

namespace ctsync::config {
namespace {

ParseResult accept(const std::string& names) {
  return parse_text("General { Filter { Protocol Accept { " + names + " } } }", "f");
}

std::vector<std::uint8_t> numbers_of(const std::string& names) {
  const ParseResult result = accept(names);
  EXPECT_TRUE(result.ok());
  for (const Diagnostic& d : result.diagnostics) ADD_FAILURE() << d.to_string();
  return result.config.filter.protocols;
}

std::string warning_about(const std::string& name) {
  const ParseResult result = accept(name);
  EXPECT_TRUE(result.ok()) << "conntrackd starts with it";
  EXPECT_TRUE(result.config.filter.protocols.empty());
  EXPECT_EQ(result.diagnostics.size(), 1U) << name;
  return result.diagnostics.empty() ? "" : result.diagnostics.front().text;
}

TEST(ProtocolNames, DoNotNeedTheFile) {
  EXPECT_EQ(numbers_of("TCP UDP SCTP DCCP ICMP IPv6-ICMP UDPLite GRE IPSEC-ESP VRRP"),
            (std::vector<std::uint8_t>{6, 17, 132, 33, 1, 58, 136, 47, 50, 112}));
  EXPECT_EQ(numbers_of("tcp udp sctp dccp icmp ipv6-icmp udplite gre esp vrrp"),
            (std::vector<std::uint8_t>{6, 17, 132, 33, 1, 58, 136, 47, 50, 112}));
  EXPECT_EQ(numbers_of("ip ax.25 CPHB ipv6-frag manet"), (std::vector<std::uint8_t>{0, 93, 73, 44, 138}));
}

TEST(ProtocolNames, OfTheFileCountToo) { EXPECT_EQ(numbers_of("site-proto TCP"), (std::vector<std::uint8_t>{253, 6})); }

TEST(ProtocolNames, ThatNobodyKnowsAreLeftOutWithAWarning) {
  EXPECT_EQ(warning_about("FOO"),
            "getprotobyname() cannot find protocol `FOO' in /etc/protocols, leaving it out of the filter");
}

TEST(ProtocolNames, ThatAreNearlyRightGetAHint) {
  EXPECT_TRUE(warning_about("Sctp").ends_with("; did you mean `sctp'?"));
  EXPECT_TRUE(warning_about("UDP-Lite").ends_with("; did you mean `udplite'?"));
  EXPECT_TRUE(warning_about("ESP").ends_with("; did you mean `esp'?"));
  EXPECT_TRUE(warning_about("ICMPv6").ends_with("; did you mean `ipv6-icmp'?"));
}

}  // namespace
}  // namespace ctsync::config
