// SPDX-License-Identifier: GPL-2.0-or-later
// The user-space filter against what stock conntrackd let through: tests/data/outputs/filter-matrix.txt.
#include "ctsync/flow/flow_filter.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <string_view>

namespace ctsync {
namespace {

constexpr std::uint8_t kSynSent = 1;
constexpr std::uint8_t kEstablished = 3;

Address address(const char* text) {
  Address a{};
  const bool v6 = std::string_view(text).find(':') != std::string_view::npos;
  EXPECT_EQ(::inet_pton(v6 ? AF_INET6 : AF_INET, text, a.data()), 1) << text;
  return a;
}

Flow flow(std::uint8_t l4, Family family, const char* src, const char* dst, int state = -1) {
  Flow f;
  f.orig.family = family;
  f.orig.l4 = l4;
  f.orig.src = address(src);
  f.orig.dst = address(dst);
  f.reply_src = f.orig.dst;
  f.reply_dst = f.orig.src;
  f.present = has::kReply | has::kStatus;
  if (state >= 0) {
    f.present |= has::kProtoState;
    f.proto_state = static_cast<std::uint8_t>(state);
  }
  return f;
}

// The five flows at the head of the matrix, under their numbers.
std::map<int, Flow> flows() {
  std::map<int, Flow> m;
  m[1] = flow(kTcp, Family::ipv4, "10.1.0.1", "10.2.0.1", kEstablished);
  m[2] = flow(kTcp, Family::ipv4, "10.1.0.2", "10.2.0.1", kSynSent);
  m[3] = flow(kUdp, Family::ipv4, "10.1.0.3", "10.2.0.1");
  m[5] = flow(kTcp, Family::ipv4, "10.1.0.5", "203.0.113.5", kEstablished);
  m[5].reply_src = address("10.3.0.5");
  m[6] = flow(kUdp, Family::ipv6, "fd00::6", "fd00::7");
  return m;
}

NetworkSet networks(const char* text, std::uint8_t prefix) {
  NetworkSet set;
  const bool v6 = std::string_view(text).find(':') != std::string_view::npos;
  set.add(v6 ? Family::ipv6 : Family::ipv4, address(text), prefix);
  return set;
}

FlowFilter::TcpStates established() {
  FlowFilter::TcpStates s;
  s.set(kEstablished);
  return s;
}

constexpr auto kAccept = FilterAction::accept;
constexpr auto kIgnore = FilterAction::ignore;

// Rows of the matrix and the filter the configuration makes of them; of a criterion given twice the lists are joined
// and the last action holds.
const std::map<std::string, std::function<void(FlowFilter&)>> kRows{
    {"no filter", [](FlowFilter&) {}},
    {"Filter {} empty", [](FlowFilter&) {}},
    {"Protocol Accept {TCP}", [](FlowFilter& f) { f.set_protocols(kAccept, {kTcp}); }},
    {"Protocol Ignore {TCP}", [](FlowFilter& f) { f.set_protocols(kIgnore, {kTcp}); }},
    {"Protocol Accept {}", [](FlowFilter& f) { f.set_protocols(kAccept, {}); }},
    {"Protocol Accept{TCP} + Protocol Ignore{UDP}",
     [](FlowFilter& f) {
       f.set_protocols(kIgnore, {kTcp, kUdp});
     }},
    {"Protocol Ignore{UDP} + Protocol Accept{TCP}",
     [](FlowFilter& f) {
       f.set_protocols(kAccept, {kTcp, kUdp});
     }},
    {"Address Ignore {10.1.0.1}", [](FlowFilter& f) { f.set_addresses(kIgnore, networks("10.1.0.1", 32)); }},
    {"Address Ignore {10.2.0.1} (dst)", [](FlowFilter& f) { f.set_addresses(kIgnore, networks("10.2.0.1", 32)); }},
    {"Address Ignore {203.0.113.5} (pre-DNAT dst)",
     [](FlowFilter& f) { f.set_addresses(kIgnore, networks("203.0.113.5", 32)); }},
    {"Address Ignore {10.3.0.5} (post-DNAT dst)",
     [](FlowFilter& f) { f.set_addresses(kIgnore, networks("10.3.0.5", 32)); }},
    {"Address Accept {10.1.0.0/30}", [](FlowFilter& f) { f.set_addresses(kAccept, networks("10.1.0.0", 30)); }},
    {"Address Ignore {0.0.0.0/0}", [](FlowFilter& f) { f.set_addresses(kIgnore, networks("0.0.0.0", 0)); }},
    {"Address Accept {}", [](FlowFilter& f) { f.set_addresses(kAccept, {}); }},
    {"Address Ignore {IPv6 fd00::/16}", [](FlowFilter& f) { f.set_addresses(kIgnore, networks("fd00::", 16)); }},
    {"State Accept {ESTABLISHED for TCP}", [](FlowFilter& f) { f.set_tcp_states(kAccept, established()); }},
    {"State Ignore {ESTABLISHED for TCP}", [](FlowFilter& f) { f.set_tcp_states(kIgnore, established()); }},
    {"Protocol Accept{TCP}+State Accept{EST}",
     [](FlowFilter& f) {
       f.set_protocols(kAccept, {kTcp});
       f.set_tcp_states(kAccept, established());
     }},
};

std::string trimmed(std::string s) {
  while (!s.empty() && s.back() == ' ') s.pop_back();
  return s;
}

TEST(FlowFilter, LetsPassWhatStockLetsPass) {
  std::ifstream file(std::string(CTSYNC_TEST_DATA) + "/outputs/filter-matrix.txt");
  std::size_t rows = 0;
  for (std::string line; std::getline(file, line);) {
    const auto kept_at = line.find("kept:");
    if (kept_at == std::string::npos) continue;
    const auto row = kRows.find(trimmed(line.substr(0, kept_at)));
    if (row == kRows.end()) continue;
    const auto kept = trimmed(line.substr(kept_at, line.find("events received") - kept_at));
    FlowFilter filter;
    row->second(filter);
    std::string ours = "kept:";
    for (const auto& [number, f] : flows()) {
      if (filter.accepts(f)) ours.append(1, ' ').append(std::to_string(number));
    }
    EXPECT_EQ(ours, kept) << row->first;
    ++rows;
  }
  EXPECT_EQ(rows, kRows.size());
}

TEST(FlowFilter, ActiveOnlyWithACriterion) {
  FlowFilter f;
  EXPECT_FALSE(f.active());
  f.set_protocols(kAccept, {});
  EXPECT_TRUE(f.active());
}

// Stock keeps such entries for ever.
TEST(FlowFilter, StateDoesNotHideTheEndOfAFlow) {
  FlowFilter f;
  f.set_tcp_states(kAccept, established());
  const auto closed = flow(kTcp, Family::ipv4, "10.1.0.1", "10.2.0.1", 7);
  EXPECT_FALSE(f.accepts(closed));
  EXPECT_TRUE(f.accepts(closed, true));
  f.set_protocols(kIgnore, {kTcp});
  EXPECT_FALSE(f.accepts(closed, true));  // the other criteria still hold
}

TEST(FlowFilter, StateIsForTcpFlowsWithAKnownState) {
  FlowFilter f;
  f.set_tcp_states(kAccept, established());
  EXPECT_TRUE(f.accepts(flow(kTcp, Family::ipv4, "10.1.0.1", "10.2.0.1")));
  EXPECT_TRUE(f.accepts(flow(kSctp, Family::ipv4, "10.1.0.1", "10.2.0.1", 1)));
  EXPECT_TRUE(f.accepts(flow(kTcp, Family::ipv4, "10.1.0.1", "10.2.0.1", 200)));  // no such state
}

TEST(FlowFilter, WireFlowsAreComparedByTheirRealServer) {
  FlowFilter f;
  f.set_addresses(kIgnore, networks("10.3.0.5", 32));
  Flow wire;
  wire.orig = flows()[5].orig;
  EXPECT_TRUE(f.accepts(wire));
  wire.present |= has::kDnat;
  wire.reply_src = address("10.3.0.5");
  EXPECT_FALSE(f.accepts(wire));
  FlowFilter g;
  g.set_addresses(kIgnore, networks("203.0.113.5", 32));
  EXPECT_TRUE(g.accepts(wire));
  wire.present = 0;
  EXPECT_FALSE(g.accepts(wire));
}

TEST(FlowFilter, PortIsThatOfTheDestinationBeforeOrAfterNat) {
  FlowFilter f;
  f.set_ports(kAccept, {443, 80, 80});
  EXPECT_TRUE(f.active());
  EXPECT_EQ(f.ports(), (std::vector<std::uint16_t>{80, 443}));
  FlowFilter g;
  g.set_ports(kIgnore, {80, 443});
  const auto matches = [&](const Flow& tested) {
    EXPECT_NE(f.accepts(tested), g.accepts(tested));
    EXPECT_EQ(f.accepts(tested), f.accepts(tested, true));
    return f.accepts(tested);
  };
  auto tested = flow(kTcp, Family::ipv4, "10.1.0.1", "10.2.0.1", kEstablished);
  tested.orig.src_port = tested.reply_dst_port = 443;
  tested.orig.dst_port = tested.reply_src_port = 8080;
  EXPECT_FALSE(matches(tested));  // the source does not count
  tested.orig.dst_port = 80;
  EXPECT_TRUE(matches(tested));
  tested.orig.dst_port = 8080;
  tested.reply_src_port = 443;
  EXPECT_TRUE(matches(tested));
  tested.present &= ~has::kReply;  // from the wire: it is not known
  EXPECT_FALSE(matches(tested));
  tested.present |= has::kDnatPort;
  EXPECT_TRUE(matches(tested));
  for (const auto l4 : {kUdp, kSctp, kDccp, kUdpLite}) {
    tested.orig.l4 = l4;
    EXPECT_TRUE(matches(tested)) << int{l4};
  }
  for (const auto l4 : {kIcmp, kGre, std::uint8_t{50}}) {  // have none: not tested
    tested.orig.l4 = l4;
    EXPECT_TRUE(f.accepts(tested) && g.accepts(tested)) << int{l4};
  }
}

TEST(NetworkSet, HostBitsOfANetworkDoNotMatter) {
  const auto set = networks("10.1.2.3", 22);
  EXPECT_TRUE(set.contains(Family::ipv4, address("10.1.0.0")));
  EXPECT_TRUE(set.contains(Family::ipv4, address("10.1.3.255")));
  EXPECT_FALSE(set.contains(Family::ipv4, address("10.1.4.0")));
}

TEST(NetworkSet, FamiliesAreApart) {
  NetworkSet set;
  EXPECT_TRUE(set.empty());
  set.add(Family::ipv4, address("0.0.0.0"), 0);
  EXPECT_FALSE(set.empty());
  EXPECT_FALSE(set.contains(Family::ipv6, address("::1")));
  set.add(Family::ipv6, address("fd00::"), 128);
  EXPECT_TRUE(set.contains(Family::ipv6, address("fd00::")));
  EXPECT_FALSE(set.contains(Family::ipv6, address("fd00::1")));
}

// Against comparing bit by bit, with many networks of all lengths.
TEST(NetworkSet, AgreesWithAScan) {
  std::mt19937_64 random(4);
  const auto any = [&] {
    Address a{};
    for (std::size_t i = 0; i < 4; ++i) a[i] = static_cast<std::uint8_t>(random() & 3U);
    return a;
  };
  const auto bit = [](const Address& a, unsigned i) { return (a[i / 8] >> (7 - i % 8) & 1) != 0; };
  NetworkSet set;
  std::vector<std::pair<Address, std::uint8_t>> plain;
  for (int i = 0; i < 40; ++i) {
    plain.emplace_back(any(), static_cast<std::uint8_t>(20 + random() % 13));
    set.add(Family::ipv4, plain.back().first, plain.back().second);
  }
  int inside = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto a = any();
    bool expected = false;
    for (const auto& [network, prefix] : plain) {
      unsigned same = 0;
      while (same < prefix && bit(a, same) == bit(network, same)) ++same;
      expected |= same == prefix;
    }
    ASSERT_EQ(set.contains(Family::ipv4, a), expected);
    inside += expected;
  }
  EXPECT_GT(inside, 100);
  EXPECT_LT(inside, 4900);
}

// A look-up costs one search for each prefix length, however many networks there are.
TEST(NetworkSet, ThousandsOfNetworksAreNotScanned) {
  std::mt19937 random(5);
  NetworkSet set;
  for (int i = 0; i < 50000; ++i) {
    Address a{};
    for (std::size_t k = 0; k < 4; ++k) a[k] = static_cast<std::uint8_t>(random());
    set.add(Family::ipv4, a, static_cast<std::uint8_t>(24 + i % 9));
  }
  const auto start = std::chrono::steady_clock::now();
  int inside = 0;
  for (int i = 0; i < 20000; ++i) {
    Address a{};
    for (std::size_t k = 0; k < 4; ++k) a[k] = static_cast<std::uint8_t>(random());
    inside += set.contains(Family::ipv4, a);
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_GT(inside, 0);
  // Some 10 ms, with sanitizers below 1 s; a scan would be 10^9 comparisons.
  EXPECT_LT(taken.count(), 5.0);
}

TEST(NetworkSet, ListsWhatWasAdded) {
  auto set = networks("10.1.2.3", 22);
  set.add(Family::ipv4, address("10.1.2.3"), 32);
  set.add(Family::ipv4, address("10.1.2.3"), 32);
  const auto list = set.list(Family::ipv4);
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].address, address("10.1.0.0"));
  EXPECT_EQ(list[0].prefix, 22);
  EXPECT_EQ(list[1].address, address("10.1.2.3"));
  EXPECT_TRUE(set.list(Family::ipv6).empty());
}

}  // namespace
}  // namespace ctsync
