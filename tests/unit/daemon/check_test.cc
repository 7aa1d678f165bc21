// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/daemon/check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "ctsync/link/interface_info.h"
#include "virtual_addresses.h"

namespace ctsync::daemon {
namespace {

constexpr const char* kGeneral = "General { LockFile /run/l UNIX { Path /run/s } }";

const std::vector<IpAddress> kOwn{*parse_ip(Family::ipv4, "192.0.2.1"), *parse_ip(Family::ipv4, "192.0.2.9"),
                                  *parse_ip(Family::ipv6, "fd00::1")};

CheckResult checked(const std::string& text) { return check(config::parse_text(text, "f"), "f", kOwn); }

std::string link(const std::string& local, const std::string& destination) {
  return fmt::format(
      "{}\nSync {{ Mode FTFW {{ }}\n UDP {{ Interface lo Port 1 IPv4_address {} IPv4_Destination_Address {} }} }}",
      kGeneral, local, destination);
}

TEST(Check, AFileInOrder) {
  const CheckResult result = checked(link("192.0.2.1", "192.0.2.2"));
  EXPECT_EQ(result.text, "f: in order\n");
  EXPECT_EQ(result.exit_status, 0);
}

TEST(Check, WarningsAreStatus1) {
  const CheckResult result = checked(link("192.0.2.3", "192.0.2.2"));
  EXPECT_EQ(result.text,
            "f:3:2: warning: UDP link has the local address 192.0.2.3, which this machine does not have\n"
            "f: warnings only\n");
  EXPECT_EQ(result.exit_status, 1);
}

TEST(Check, ErrorsAreStatus2WithTheirHints) {
  const CheckResult result = checked("General {\n HashSise 1\n}\nFoo { }\n");
  EXPECT_TRUE(result.text.starts_with("f:2:2: error: ")) << result.text;
  EXPECT_NE(result.text.find("\nf:2:2: hint: did you mean `HashSize'?\nf:4:1: error: "), std::string::npos);
  EXPECT_TRUE(result.text.ends_with("\nf: errors, the daemon would not start\n"));
  EXPECT_EQ(result.exit_status, 2);
}

TEST(Check, WhatKeepsADaemonFromStartingIsAnError) {
  const CheckResult result = checked(fmt::format("{} Sync {{ Mode FTFW {{ }} }}", kGeneral));
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_NE(result.text.find("f: error: `Sync' has no dedicated link"), std::string::npos) << result.text;
}

TEST(Check, ADestinationThatIsThisMachine) {
  const CheckResult result = checked(link("192.0.2.1", "192.0.2.9"));
  EXPECT_EQ(result.text,
            "f:3:2: warning: UDP link leads to this node: its destination 192.0.2.9 is an address of this machine\n"
            "f: warnings only\n");
  EXPECT_EQ(checked(link("0.0.0.0", "192.0.2.2")).exit_status, 0);
}

TEST(Check, PathsThatTheUnitHides) {
  const CheckResult result = checked("General { LogFile /root/l LockFile /etc/l UNIX { Path /home/s } }");
  EXPECT_EQ(result.text,
            "f: warning: `LogFile' /root/l: the unit ctsyncd.service does not let the daemon see this directory\n"
            "f: warning: `LockFile' /etc/l: the unit ctsyncd.service does not let the daemon write there\n"
            "f: warning: `Path' /home/s: the unit ctsyncd.service does not let the daemon see this directory\n"
            "f: warnings only\n");
}

TEST(Check, ABufferAboveItsMaximum) {
  const CheckResult result = checked(
      "General { LockFile /run/l UNIX { Path /run/s } NetlinkBufferSize 4096 NetlinkBufferSizeMaxGrowth 4095 }");
  EXPECT_EQ(result.text,
            "f: warning: `NetlinkBufferSize' 4096 is above `NetlinkBufferSizeMaxGrowth' 4095 and has no effect\n"
            "f: warnings only\n");
}

TEST(Check, ALinkBufferAboveWhatTheSystemGives) {
  const std::string text = fmt::format(
      "{}\nSync {{ Mode FTFW {{ }}\n UDP {{ Interface lo Port 1 IPv4_address 192.0.2.1 IPv4_Destination_Address "
      "192.0.2.2 "
      "RcvSocketBuffer 300000 SndSocketBuffer 200000 }} }}",
      kGeneral);
  EXPECT_EQ(check(config::parse_text(text, "f"), "f", kOwn).text, "f: in order\n");
  const CheckResult result = check(config::parse_text(text, "f"), "f", kOwn,
                                   {.virtual_addresses = {}, .buffers = {.receive = 212992, .send = 200000}});
  EXPECT_EQ(
      result.text,
      "f:3:2: warning: UDP link gets 212992 of the 300000 bytes of `RcvSocketBuffer': without CAP_NET_ADMIN the system "
      "gives no more (net.core.rmem_max)\nf: warnings only\n");
}

TEST(Check, AVirtualAddressThatIsIgnored) {
  const auto with = [](std::string_view action) {
    const auto text =
        fmt::format("{} General {{ Filter {{ Address {} {{ IPv4_address 203.0.113.0/28 IPv6_address ::1 }} }} }}",
                    kGeneral, action);
    return check(
        config::parse_text(text, "f"), "f", kOwn,
        {.virtual_addresses = {*parse_ip(Family::ipv4, "203.0.113.9"), *parse_ip(Family::ipv4, "203.0.113.16")},
         .buffers = {}});
  };
  EXPECT_EQ(with("Ignore").text,
            "f: warning: `Address Ignore' has 203.0.113.9, a virtual address in /etc/keepalived/keepalived.conf: "
            "connections of which it is an end, not only translated, are left out, and missing after a take-over\n"
            "f: warnings only\n");
  EXPECT_EQ(with("Accept").text, "f: in order\n");
}

TEST(VirtualAddresses, OfBothKindsOfBlocksAlone) {
  constexpr std::string_view kConfiguration = R"(
! virtual_ipaddress { 192.0.2.1 }
vrrp_instance INSIDE {
    unicast_src_ip 192.0.2.2
    virtual_ipaddress {
        203.0.113.9/24 brd 203.0.113.255 dev eth0 # 192.0.2.3
        fd00::9/64
        eth0
    }
    virtual_routes { 192.0.2.4 }
}
vrrp_instance OUTSIDE {
    virtual_ipaddress_excluded
    { 203.0.113.10
      203.0.113.11 }
    track_interface { 192.0.2.5 }
    virtual_ipaddress {203.0.113.12})";
  std::vector<std::string> found;
  for (const auto& a : virtual_addresses(kConfiguration)) found.push_back(to_string(a));
  EXPECT_EQ(found,
            (std::vector<std::string>{"203.0.113.9", "fd00::9", "203.0.113.10", "203.0.113.11", "203.0.113.12"}));
  EXPECT_TRUE(virtual_addresses("").empty());
  EXPECT_TRUE(virtual_addresses("virtual_ipaddress {").empty());
}

TEST(Check, OwnAddressesIncludeLoopback) {
  const auto own = link::own_addresses();
  EXPECT_NE(std::ranges::find(own, *parse_ip(Family::ipv4, "127.0.0.1")), own.end());
}

}  // namespace
}  // namespace ctsync::daemon
