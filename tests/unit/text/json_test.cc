// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/text/json.h"

#include <gtest/gtest.h>

#include <cstring>

namespace ctsync::text {
namespace {

std::string quoted(std::string_view s) {
  std::string out;
  append_json_string(out, s);
  return out;
}

Flow tcp_flow() {
  Flow f;
  f.orig.family = Family::ipv4;
  f.orig.l4 = kTcp;
  f.orig.src = {10, 0, 0, 1};
  f.orig.dst = {10, 0, 0, 2};
  f.orig.src_port = 1025;
  f.orig.dst_port = 80;
  f.present = has::kPorts;
  return f;
}

std::string json_of(const Flow& f, const FlowExtra* extra = nullptr, const RenderOptions& options = {}) {
  std::string out;
  append_json(out, f, extra, options);
  return out;
}

constexpr std::string_view kHead = R"({"family":"ipv4","protocol":6,"protocol_name":"tcp",)";
constexpr std::string_view kOriginal = R"("original":{"src":"10.0.0.1","dst":"10.0.0.2","sport":1025,"dport":80})";

TEST(Json, StringsAreAsciiWhateverTheyHold) {
  EXPECT_EQ(quoted("ftp-21 {}[]<>&'"), R"("ftp-21 {}[]<>&'")");
  EXPECT_EQ(quoted("a\"b\\c/"), R"("a\"b\\c/")");
  EXPECT_EQ(quoted(std::string_view("\0\n\x1f\x7f\xff\xc3\xa9", 7)), R"("\u0000\u000a\u001f\u007f\u00ff\u00c3\u00a9")");
}

TEST(Json, FlowWithNothingButItsTuple) {
  EXPECT_EQ(json_of(tcp_flow()), std::string(kHead) + std::string(kOriginal) + "}");
}

TEST(Json, FlowWithEverything) {
  Flow f = tcp_flow();
  FlowExtra extra{};
  std::memcpy(extra.helper.data(), "f\"t\\p\n\xe9", 7);
  extra.labels = {1U << 31 | 1, 0, 0, 1U << 31};
  extra.master = f.orig;
  extra.master.dst_port = 21;
  extra.counters_orig = {.packets = 1, .bytes = UINT64_MAX};
  f.reply_src = f.orig.dst;
  f.reply_dst = {192, 168, 0, 9};
  f.reply_src_port = 80;
  f.reply_dst_port = 4000;
  f.proto_state = 3;
  f.status = status::kSeenReply | status::kAssured;
  f.timeout = 7;
  f.mark = UINT32_MAX;
  f.id = 5;
  f.orig.zone = 12;
  f.present |= has::kReply | has::kStatus | has::kTimeout | has::kMark | has::kId | has::kProtoState | has::kZone |
               has::kHelper | has::kLabels | has::kMaster | has::kMasterPorts | has::kCounters;
  const std::string expected =
      std::string(kHead) + R"("state":"ESTABLISHED",)" + std::string(kOriginal) +
      R"(,"reply":{"src":"10.0.0.2","dst":"192.168.0.9","sport":80,"dport":4000},"zone":12,)"
      R"("status":6,"flags":["SEEN_REPLY","ASSURED"],"timeout":7,"mark":4294967295,"id":5,)"
      R"("helper":"f\"t\\p\u000a\u00e9","labels":[0,31,127],)"
      R"("master":{"src":"10.0.0.1","dst":"10.0.0.2","sport":1025,"dport":21},)"
      R"("original_counters":{"packets":1,"bytes":18446744073709551615},"reply_counters":{"packets":0,"bytes":0},)"
      R"("expires_in":9,"active_since":0})";
  EXPECT_EQ(json_of(f, &extra, {.show_timeout = true, .expires_in = 9, .active_since = 0}), expected);
}

TEST(Json, NatOfAFlowThatCameOverTheWire) {
  Flow f = tcp_flow();
  f.reply_dst = {192, 168, 0, 9};
  f.reply_src = {172, 16, 0, 1};
  f.reply_dst_port = 4000;
  f.present |= has::kSnat | has::kSnatPort;
  EXPECT_TRUE(json_of(f).ends_with(R"("nat":{"src":"192.168.0.9","sport":4000}})")) << json_of(f);
  f.present = has::kPorts | has::kDnat;
  EXPECT_TRUE(json_of(f).ends_with(R"("nat":{"dst":"172.16.0.1"}})")) << json_of(f);
}

TEST(Json, ProtocolsNameTheirNumbersAsTheyAre) {
  Flow f = tcp_flow();
  f.orig.l4 = kIcmp;
  f.orig.set_icmp(8, 3, 77);
  EXPECT_TRUE(json_of(f).ends_with(R"("type":8,"code":3,"id":77}})"));
  f.orig.l4 = kGre;
  f.orig.src_port = 1;
  f.orig.dst_port = 2;
  EXPECT_TRUE(json_of(f).ends_with(R"("srckey":1,"dstkey":2}})"));
  f.orig.l4 = 253;
  EXPECT_EQ(json_of(f), R"({"family":"ipv4","protocol":253,"original":{"src":"10.0.0.1","dst":"10.0.0.2"}})");
  f.orig.family = Family::ipv6;
  f.orig.src = {0xfe, 0x80};
  EXPECT_TRUE(json_of(f).starts_with(R"({"family":"ipv6","protocol":253,"original":{"src":"fe80::",)"));
}

// The words of the text.
TEST(Json, StatesAreThoseOfTheText) {
  FlowRenderer renderer;
  for (const auto& [l4, states] : {std::pair(kTcp, 10), std::pair(kSctp, 10), std::pair(kDccp, 8)}) {
    for (int state = 0; state < states; ++state) {
      Flow f = tcp_flow();
      f.orig.l4 = l4;
      f.proto_state = static_cast<std::uint8_t>(state);
      f.present |= has::kProtoState;
      std::string line;
      renderer.append(line, f, nullptr);
      const auto json = json_of(f);
      const auto at = json.find("\"state\":\"") + 9;
      const auto word = json.substr(at, json.find('"', at) - at);
      EXPECT_NE(line.find(" " + word + " "), std::string::npos) << line << json;
    }
  }
  Flow f = tcp_flow();
  f.proto_state = 255;
  f.present |= has::kProtoState;
  EXPECT_NE(json_of(f).find(R"("state":"UNKNOWN")"), std::string::npos);
}

TEST(Json, Expectation) {
  Expectation x;
  x.expected = tcp_flow().orig;
  x.master = x.expected;
  x.master.src_port = 9;
  x.mask.src = {255, 255, 255, 255};
  x.mask.dst_port = 65535;
  x.flags = 1;
  x.klass = 2;
  std::memcpy(x.helper.data(), "\"", 1);
  x.present = expect_has::kMaster | expect_has::kMasterPorts | expect_has::kExpected | expect_has::kMask |
              expect_has::kMaskPorts | expect_has::kFlags | expect_has::kClass | expect_has::kHelper;
  std::string out;
  append_json(out, x, {.active_since = 3});
  EXPECT_EQ(out, std::string(kHead) + R"("master":{"src":"10.0.0.1","dst":"10.0.0.2","sport":9,"dport":80},)"
                                      R"("expected":{"src":"10.0.0.1","dst":"10.0.0.2"},)"
                                      R"("mask":{"src":"255.255.255.255","dst":"0.0.0.0","sport":0,"dport":65535},)"
                                      R"("flags":1,"class":2,"helper":"\"","active_since":3})");
}

TEST(Json, ResendQueue) {
  std::string out;
  append_json_resend(out, true, 4, 2);
  append_json_resend(out, false, 5, 0);
  EXPECT_EQ(out, R"({"kind":"control","seq":4,"flags":2}{"kind":"object","seq":5})");
}

std::string json_of(Topic topic, const Snapshot& s) {
  std::string out;
  append_json(out, topic, s);
  return out;
}

TEST(Json, StatisticsOfEachMode) {
  Snapshot s;
  EXPECT_EQ(json_of(Topic::summary, s), "{\"topic\":\"ct\",\"mode\":\"idle\"}\n");
  s.mode = Snapshot::Mode::statistics;
  s.internal = CacheNumbers{.active = 1, .total = 2};
  s.traffic = {.bytes = 3, .packets = 4};
  EXPECT_EQ(
      json_of(Topic::summary, s),
      R"({"topic":"ct","mode":"statistics","stats":{"kind":"cache","active":1,"total":2,"created":0,"create_failed":0,)"
      R"("no_memory":0,"no_space":0,"updated":0,"update_failed":0,"destroyed":0},"traffic":{"bytes":3,"packets":4}})"
      "\n");
  s.mode = Snapshot::Mode::sync;
  s.internal = BypassNumbers{.created = 5, .updated = 6, .destroyed = 7};
  s.external = InjectNumbers{.created = 8, .destroy_failed = 9};
  EXPECT_EQ(json_of(Topic::cache, s),
            R"({"topic":"cache","mode":"sync","internal":{"kind":"bypass","created":5,"updated":6,"destroyed":7},)"
            R"("external":{"kind":"inject","created":8,"create_failed":0,"updated":0,"update_failed":0,"destroyed":0,)"
            R"("destroy_failed":9}})"
            "\n");
}

TEST(Json, LinksQueuesAndPeers) {
  Snapshot s;
  s.mode = Snapshot::Mode::sync;
  EXPECT_EQ(json_of(Topic::peers, s), "{\"topic\":\"peers\",\"mode\":\"sync\",\"peers\":[]}\n");
  s.links.push_back({.kind = LinkKind::tcp, .device = "a\"b", .active = true, .client_connected = true});
  s.links.push_back({.device = "eth1", .status = LinkState::no_carrier, .sent_bytes = 12});
  EXPECT_EQ(json_of(Topic::link, s),
            R"({"topic":"link","mode":"sync","links":[{"kind":"TCP","device":"a\"b","status":"RUNNING","active":true,)"
            R"("server_connected":false,"client_connected":true,"sent_bytes":0,"sent_packets":0,"send_errors":0,)"
            R"("received_bytes":0,"received_packets":0,"receive_errors":0},)"
            R"({"kind":"UDP","device":"eth1","status":"NO-CARRIER","active":false,"sent_bytes":12,"sent_packets":0,)"
            R"("send_errors":0,"received_bytes":0,"received_packets":0,"receive_errors":0}]})"
            "\n");
  s.queues.push_back({.name = "errorq", .elements = 1, .maximum = 2, .no_space = 3});
  EXPECT_EQ(
      json_of(Topic::queue, s),
      R"({"topic":"queue","mode":"sync","nodes":0,"queues":[{"name":"errorq","elements":1,"maximum":2,"no_space":3}]})"
      "\n");
  s.peers.push_back({.name = "10.0.0.2", .software = "x \"1\"", .state = PeerState::in_sync, .round_trip = 250});
  s.comparison = ComparisonNumbers{.done = 1};
  const auto peers = json_of(Topic::peers, s);
  EXPECT_NE(peers.find(R"("address":"10.0.0.2","software":"x \"1\"","state":"in_sync","state_seconds":0,)"),
            peers.npos);
  EXPECT_NE(peers.find(R"("round_trip_microseconds":250,)"), peers.npos);
  EXPECT_NE(peers.find(R"("kernel_comparison":{"done":1,"missing":0,"left_over":0,"differed":0}})"), peers.npos);
}

}  // namespace
}  // namespace ctsync::text
