// SPDX-License-Identifier: GPL-2.0-or-later
#include "decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "ctsync/wire/expectation_codec.h"
#include "examples.h"
#include "frames.h"
#include "hex.h"

namespace ctsync::capture_test {
namespace {

using capture::Decoder;
using Lines = std::vector<std::string>;
using wire_test::hex;
namespace flag = wire::flag;

class Reading {
 public:
  explicit Reading(bool json = false) : decoder_({kPort}, json) {}

  // The lines of a frame, without time.
  Lines frame(const Bytes& bytes) {
    decoder_.frame(kEthernetLink, {.time = {.seconds = 1'000'000, .microseconds = 5}, .bytes = bytes});
    return take();
  }
  // The lines of a datagram, without time and addresses.
  Lines datagram(const Bytes& body) { return without_ends(frame(ethernet(ipv4(kUdpProtocol, udp(body))))); }
  Lines segment(std::uint32_t seq, const Bytes& body, std::uint8_t flags = 0x10) {
    return without_ends(frame(ethernet(ipv4(kTcpProtocol, tcp(seq, body, flags)))));
  }
  Lines finish() {
    decoder_.finish();
    return without_ends(take());
  }
  std::string summary() const { return decoder_.summary(); }

 private:
  static constexpr std::size_t kTimeSize = std::string_view("1970-01-12 13:46:40.000005 ").size();

  Lines take() {
    const std::string all = decoder_.take_output();
    Lines lines;
    for (std::size_t begin = 0; begin < all.size();) {
      const auto end = all.find('\n', begin);
      if (end == std::string::npos) throw std::runtime_error("a line without end");
      lines.push_back(all.substr(begin, end - begin));
      begin = end + 1;
    }
    if (!all.starts_with('{')) {
      for (auto& line : lines) line.erase(0, kTimeSize);
    }
    return lines;
  }
  static Lines without_ends(Lines lines) {
    constexpr std::string_view kEnds = "192.0.2.1:4000 > 192.0.2.2:3780 ";
    for (auto& line : lines) {
      if (line.starts_with(kEnds)) line.erase(0, kEnds.size());
    }
    return lines;
  }

  Decoder decoder_;
};

// With the length that the payload needs.
Bytes message(int type, std::uint32_t seq, const Bytes& payload, std::uint8_t flags = 0) {
  return joined({{static_cast<std::uint8_t>(0x10 | type), flags}, be16(8 + payload.size()), be32(seq), payload});
}

Bytes with_tail(Bytes control, const wire::Extension& e) {
  std::array<std::uint8_t, wire::kMaxExtensionSize> room;
  ByteWriter w(room);
  wire::write_extension(w, e);
  control.insert(control.end(), w.written().begin(), w.written().end());
  const Bytes length = be16(control.size());
  std::ranges::copy(length, control.begin() + 2);
  return control;
}

TEST(Decoder, TellsWhoSaysWhatToWhom) {
  Reading r;
  EXPECT_EQ(r.frame(ethernet(ipv4(kUdpProtocol, udp(alive(7))))), Lines{"192.0.2.1:4000 > 192.0.2.2:3780 ALIVE seq 7"});
  EXPECT_EQ(r.frame(ethernet(ipv6(kUdpProtocol, udp(alive(7))))), Lines{"[fd00::1]:4000 > [fd00::2]:3780 ALIVE seq 7"});
}

TEST(Decoder, ControlMessages) {
  Reading r;
  EXPECT_EQ(r.datagram(alive(1, flag::kHello)), Lines{"ALIVE|HELLO seq 1"});
  EXPECT_EQ(r.datagram(ack(2, 5, 9)), Lines{"ACK seq 2 5..9"});
  EXPECT_EQ(r.datagram(message(10, 3, joined({be32(1), be32(4)}), flag::kNack | flag::kHelloBack)),
            Lines{"NACK|HELLO_BACK seq 3 1..4"});
  EXPECT_EQ(r.datagram(message(10, 4, Bytes(8), flag::kResync)), Lines{"RESYNC seq 4"});
  EXPECT_EQ(r.datagram(joined({alive(5), alive(6)})), (Lines{"ALIVE seq 5", "ALIVE seq 6"}));
}

TEST(Decoder, Flows) {
  Reading r;
  EXPECT_EQ(
      r.datagram(hex(wire_test::kUdpWithHello)),
      Lines{"NEW|HELLO seq 1795357743 udp      17 30 src=10.77.1.2 dst=10.77.2.2 sport=46101 dport=53 [UNREPLIED] "
            "status=0x8"});
  EXPECT_EQ(Reading().datagram(hex(wire_test::kEstablished)),
            Lines{"UPD seq 1795355989 tcp      6 432000 ESTABLISHED src=10.77.1.2 dst=10.77.2.2 sport=40002 dport=5000 "
                  "[ASSURED] status=0xe"});
}

TEST(Decoder, WhatTheCachesDoNotShow) {
  FlowRecord f;
  f.flow = Flow{};
  f.flow.orig.family = Family::ipv4;
  f.flow.orig.l4 = kTcp;
  f.flow.orig.src = {10, 0, 0, 1};
  f.flow.orig.dst = {10, 0, 0, 2};
  f.flow.orig.src_port = 1025;
  f.flow.orig.dst_port = 80;
  f.flow.reply_dst = {192, 0, 2, 9};
  f.flow.reply_dst_port = 2000;
  f.flow.reply_src = {10, 0, 0, 3};
  f.flow.mark = 5;
  f.flow.proto_state = kTcpEstablished;
  f.flow.wscale_orig = 7;
  f.flow.wscale_reply = 8;
  f.flow.present = has::kPorts | has::kStatus | has::kProtoState | has::kMark | has::kSnat | has::kSnatPort |
                   has::kDnat | has::kWscaleOrig | has::kWscaleReply | has::kLabels | has::kHelper | has::kSeqAdjOrig |
                   has::kSeqAdjReply | has::kMaster | has::kMasterPorts | has::kSynproxy | has::kSynproxyValues;
  f.flow.status = status::kConfirmed | status::kSeenReply | status::kAssured;
  f.extra = FlowExtra{};
  f.extra.labels = {1U << 31 | 1, 0, 0, 4};
  std::memcpy(f.extra.helper.data(), "f\n\"p", 4);
  f.extra.seqadj_orig = {.correction_pos = 9, .offset_before = 0, .offset_after = 3};
  f.extra.seqadj_reply = {.correction_pos = 1, .offset_before = 0xfffffffe, .offset_after = 0};
  f.extra.master = f.flow.orig;
  f.extra.master.dst_port = 21;
  f.extra.synproxy_isn = 11;
  f.extra.synproxy_its = 12;
  f.extra.synproxy_tsoff = 13;
  std::array<std::uint8_t, wire::kMaxEncodedSize> room;
  ByteWriter w(room);
  wire::encode_flow(w, wire::MsgType::flow_delete, 0, 3, f.flow, &f.extra, 0, {.window_scale = true});
  const Bytes bytes(w.written().begin(), w.written().end());
  EXPECT_EQ(Reading().datagram(bytes),
            Lines{"DEL seq 3 tcp      6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1025 dport=80 [ASSURED] mark=5 "
                  "helper=f??p status=0xe "
                  "snat=192.0.2.9:2000 dnat=10.0.0.3 wscale=7 wscale_reply=8 master=6/10.0.0.1:1025/10.0.0.2:21 "
                  "labels=0,31,98 seqadj=9:+0:+3 seqadj_reply=1:-2:+0 synproxy=11/12/13"});
  const Lines json = Reading(true).datagram(bytes);
  ASSERT_EQ(json.size(), 1U);
  EXPECT_EQ(
      json[0],
      R"({"time":1000000.000005,"transport":"udp","source":"192.0.2.1","source_port":4000,"destination":"192.0.2.2",)"
      R"("destination_port":3780,"kind":"message","type":"delete","sequence":3,"flags":[],"order":"next",)"
      R"("flow":{"family":"ipv4","protocol":6,"protocol_name":"tcp","state":"ESTABLISHED",)"
      R"("original":{"src":"10.0.0.1","dst":"10.0.0.2","sport":1025,"dport":80},)"
      R"("nat":{"src":"192.0.2.9","dst":"10.0.0.3","sport":2000},"status":14,)"
      R"("flags":["SEEN_REPLY","ASSURED","CONFIRMED"],"mark":5,"helper":"f\u000a\"p","labels":[0,31,98],)"
      R"("master":{"src":"10.0.0.1","dst":"10.0.0.2","sport":1025,"dport":21}},)"
      R"("window_scale":7,"window_scale_reply":8,)"
      R"("sequence_adjustment":{"position":9,"before":0,"after":3},)"
      R"("sequence_adjustment_reply":{"position":1,"before":-2,"after":0},)"
      R"("synproxy":{"isn":11,"its":12,"tsoff":13}})");
}

TEST(Decoder, Expectations) {
  Expectation e;
  for (Tuple* t : {&e.master, &e.expected, &e.mask, &e.nat}) {
    t->family = Family::ipv4;
    t->l4 = kTcp;
    t->src = {10, 0, 0, 1};
    t->dst = {10, 0, 0, 2};
    t->dst_port = 21;
  }
  e.present = expect_has::kMaster | expect_has::kMasterPorts | expect_has::kExpected | expect_has::kExpectedPorts |
              expect_has::kMask | expect_has::kMaskPorts | expect_has::kTimeout | expect_has::kFlags |
              expect_has::kClass | expect_has::kNat | expect_has::kNatPorts | expect_has::kNatDir |
              expect_has::kHelper | expect_has::kFunction;
  e.timeout = 300;
  e.nat_dir = 1;
  std::memcpy(e.helper.data(), "ftp", 3);
  std::memcpy(e.function.data(), "nat\x1b[1m", 7);
  std::array<std::uint8_t, wire::kMaxEncodedSize> room;
  ByteWriter w(room);
  wire::encode_expectation(w, wire::MsgType::expect_new, 0, 3, e, 0, {});
  const Lines lines = Reading().datagram({w.written().begin(), w.written().end()});
  EXPECT_EQ(
      lines,
      Lines{"EXP NEW seq 3 300 proto=6 src=10.0.0.1 dst=10.0.0.2 sport=0 dport=21 mask-src=10.0.0.1 mask-dst=10.0.0.2 "
            "sport=0 dport=21 master-src=10.0.0.1 master-dst=10.0.0.2 sport=0 dport=21 class=0 helper=ftp "
            "nat=10.0.0.1:0 nat_direction=reply function=nat?[1m"});
}

TEST(Decoder, Tails) {
  wire::Extension e;
  e.addressee = {.node = 0xabc, .heard = 5};
  e.missing = {.ranges = {{{.from = 6, .to = 7}, {.from = 9, .to = 9}}}, .count = 2};
  EXPECT_EQ(Reading().datagram(with_tail(ack(1, 5, 9), e)),
            Lines{"ACK seq 1 5..9 [for node 00000abc, heard to 5] [missing 6..7 9..9]"});
  wire::Extension all;
  all.bulk_end = {.first = 3, .count = 4};
  all.sums = {.of_buckets = true, .first = 64, .count = 2};
  all.sums_wanted = 5;
  all.repair_request = {.number = 8};
  all.repair_end = {.number = 8, .first = 9};
  all.probe = {.stamp = 77, .count = 1, .echoes = {{{.node = 1, .stamp = 2, .held = 3}}}};
  all.capabilities = {.bits = 1,
                      .node = 2,
                      .epoch = 3,
                      .version = {'0', '.', '1'},
                      .host = 4,
                      .addresses = {IpAddress{Family::ipv4, {192, 0, 2, 1}}}};
  EXPECT_EQ(Reading().datagram(with_tail(alive(1), all)),
            Lines{"ALIVE seq 1 [end of bulk, sent from 3 on, 4 objects] [sums of buckets 64 to 65] "
                  "[sums wanted of the buckets of groups 0 2] [repair 8 wanted of everything] "
                  "[end of repair 8, sent from 9 on] [probe 77, answer to node 00000001: 2 held 3 us] "
                  "[ctsyncd 0.1, node 00000002, started 3, host 0000000000000004, flags 1, 192.0.2.1]"});
  const Lines json = Reading(true).datagram(with_tail(alive(1), all));
  ASSERT_EQ(json.size(), 1U);
  EXPECT_NE(
      json[0].find(R"("tail":{"bulk_end":{"first":3,"count":4},"sums":{"of":"buckets","first":64,"values":[0,0]},)"
                   R"("sums_wanted":[0,2],"repair_wanted":{"number":8,"buckets":[]},)"
                   R"("repair_end":{"number":8,"first":9},)"
                   R"("probe":{"stamp":77,"answers":[{"node":1,"stamp":2,"held_microseconds":3}]},)"
                   R"("capabilities":{"version":"0.1","node":2,"started":3,"host":4,"flags":1,)"
                   R"("addresses":["192.0.2.1"]}}})"),
      std::string::npos)
      << json[0];
  EXPECT_EQ(Reading().datagram(message(10, 1, Bytes(5), flag::kAlive)),
            Lines{"ALIVE seq 1 [5 bytes that nobody knows]"});
}

TEST(Decoder, GapsAndRepetitionsAreRemarked) {
  Reading r;
  r.datagram(alive(10));
  EXPECT_EQ(r.datagram(alive(14)), Lines{"ALIVE seq 14 (3 missing)"});
  EXPECT_EQ(r.datagram(alive(12)), Lines{"ALIVE seq 12 (late)"});
  EXPECT_EQ(r.datagram(alive(12)), Lines{"ALIVE seq 12 (repeated)"});
  EXPECT_EQ(r.datagram(alive(9999, flag::kHello)), Lines{"ALIVE|HELLO seq 9999 (restarted)"});
  EXPECT_EQ(r.datagram(alive(9999U << 16)), Lines{"ALIVE seq 655294464 (other numbers)"});
  r.frame(ethernet(ipv6(kUdpProtocol, udp(alive(1)))));  // another sender
  EXPECT_EQ(r.summary(),
            "7 frames, 7 packets to port 3780, 7 messages\n"
            "192.0.2.1: 6 ALIVE; 2 missing, 1 repeated\n"
            "fd00::1: 1 ALIVE; 0 missing, 0 repeated\n");
}

// As a daemon counts them; the numbers of those with a good header go on.
TEST(Decoder, WhatIsNoMessageIsToldInALine) {
  Reading r;
  EXPECT_EQ(r.datagram(hex("47 45 54 20 2f 20 48 54 54 50")),
            Lines{"bad message size, 10 bytes: 47 45 54 20 2f 20 48 54 54 50"});
  EXPECT_EQ(r.datagram({0x1a, 0x10, 0}), Lines{"truncated message, 3 bytes: 1a 10 00"});
  Bytes other = alive(1);
  other[0] = 0x2a;
  EXPECT_EQ(r.datagram(joined({other, alive(1)})),
            (Lines{"wrong protocol version, 8 bytes: 2a 10 00 08 00 00 00 01", "ALIVE seq 1"}));
  EXPECT_EQ(r.datagram(message(7, 2, {}, 0x10)), Lines{"malformed header: type 7, flags 0x10, 8 bytes, seq 2"});
  EXPECT_EQ(r.datagram(ack(2, 9, 8)), Lines{"malformed header: type 10, flags 0x08, 16 bytes, seq 2"});
  EXPECT_EQ(r.datagram(message(0, 2, {0, 8, 0, 99, 1, 2, 3, 4})),
            Lines{"NEW seq 2 malformed payload, a bad attribute: 00 08 00 63 01 02 03 04"});
  EXPECT_EQ(r.datagram(message(1, 3, {0, 8, 0, 7, 1, 2, 3, 4})),
            Lines{"UPD seq 3 malformed payload, no addresses, protocol or ports: 00 08 00 07 01 02 03 04"});
  EXPECT_EQ(r.datagram({}), Lines{"empty datagram"});
  const Lines large = r.datagram(Bytes(1000));
  ASSERT_EQ(large.size(), 1U);
  EXPECT_TRUE(large[0].starts_with("bad message size, 1000 bytes: 00 ") && large[0].ends_with(" 00 ..."));
  EXPECT_LT(large[0].size(), 200U);
  EXPECT_EQ(r.summary(),
            "9 frames, 9 packets to port 3780, 3 messages\n"
            "192.0.2.1: 1 NEW, 1 UPD, 1 ALIVE; 0 missing, 0 repeated\n"
            "malformed: 1 wrong version, 2 header, 2 payload, 1 truncated, 2 bad size\n");
}

TEST(Decoder, WhatIsNoMessageInJson) {
  Reading r(true);
  constexpr std::string_view kPlace =
      R"({"time":1000000.000005,"transport":"udp","source":"192.0.2.1","source_port":4000,"destination":"192.0.2.2","destination_port":3780,)";
  const auto is = [&](const Bytes& body, std::string_view rest) {
    EXPECT_EQ(r.datagram(body), Lines{std::string(kPlace) + std::string(rest)});
  };
  is({0x1a, 0x10, 0}, R"("kind":"truncated","count":3,"bytes":"1a1000"})");
  is(message(7, 2, {}, 0x10), R"("kind":"malformed_header","type_number":7,"flag_bits":16,"length":8,"sequence":2})");
  is(message(0, 2, {0, 8, 0, 99, 1, 2, 3, 4}),
     R"("kind":"malformed_payload","type":"new","sequence":2,"flags":[],"order":"next","reason":"bad_attribute","bytes":"0008006301020304"})");
  is(ack(5, 6, 7),
     R"("kind":"message","type":"ack","sequence":5,"flags":[],"from":6,"to":7,"order":"gap","missing":2})");
}

TEST(Decoder, OtherPortsAndPacketsAreNotTold) {
  Reading r;
  EXPECT_EQ(r.frame(ethernet(ipv4(kUdpProtocol, udp(alive(1), 53)))), Lines{});
  EXPECT_EQ(r.frame(ethernet(ipv4(1, udp(alive(1))))), Lines{});
  EXPECT_EQ(r.frame(Bytes(60)), Lines{});
  EXPECT_EQ(r.frame({}), Lines{});
  EXPECT_EQ(r.summary(), "4 frames, 0 packets to port 3780, 0 messages\n");
}

// What was not captured is not the fault of the sender.
TEST(Decoder, WhatIsCutOffIsNoMistake) {
  Reading r;
  const Bytes whole = ethernet(ipv4(kUdpProtocol, udp(joined({alive(1), ack(2, 3, 4)}))));
  const Lines lines = r.frame(slice(whole, 0, whole.size() - 5));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_TRUE(lines[0].ends_with(" ALIVE seq 1"));
  EXPECT_TRUE(lines[1].ends_with(" cut off: the last 5 bytes are not in the capture"));
  EXPECT_EQ(r.summary().find("malformed"), std::string::npos);
  EXPECT_TRUE(
      r.frame(slice(whole, 0, 14 + 20 + 5)).at(0).ends_with("cut off: the last 27 bytes are not in the capture"));
}

TEST(Decoder, FragmentsArePutTogether) {
  Reading r;
  const Bytes datagram = udp(joined({alive(1), alive(2), alive(3)}));
  EXPECT_EQ(r.frame(ethernet(ipv4(kUdpProtocol, slice(datagram, 0, 16), 7, 0x2000))), Lines{});
  EXPECT_EQ(r.frame(ethernet(ipv4(kUdpProtocol, slice(datagram, 16, 16), 7, 2))).size(), 3U);
  const Bytes head = {60, 0, 0, 1, 0, 0, 0, 9};  // a destination header comes first
  const Bytes tail = {60, 0, 0, 16, 0, 0, 0, 9};
  const Bytes inner = joined({{kUdpProtocol, 0, 0, 0, 0, 0, 0, 0}, datagram});
  EXPECT_EQ(r.frame(ethernet(ipv6(44, joined({head, slice(inner, 0, 16)})))), Lines{});
  EXPECT_EQ(r.frame(ethernet(ipv6(44, joined({tail, slice(inner, 16, 24)})))).size(), 3U);
  EXPECT_EQ(r.frame(ethernet(ipv4(kUdpProtocol, slice(datagram, 0, 16), 8, 0x2000))), Lines{});
  EXPECT_EQ(r.finish(), (Lines{"ALIVE seq 1 (repeated)", "cut off: the last 16 bytes are not in the capture"}));
}

TEST(Decoder, Streams) {
  Reading r;
  constexpr std::uint8_t kSyn = 2;
  constexpr std::uint8_t kReset = 4;
  EXPECT_EQ(r.segment(99, {}, kSyn), Lines{});
  EXPECT_EQ(r.segment(100, slice(alive(1), 0, 5)), Lines{});
  EXPECT_EQ(r.segment(105, slice(alive(1), 5, 3)), Lines{"ALIVE seq 1"});
  EXPECT_EQ(r.segment(108, slice(alive(2), 0, 5)), Lines{});
  EXPECT_EQ(r.segment(113, {}, kReset), Lines{"5 bytes of a message whose end is not in the capture: 1a 10 00 08 00"});
  EXPECT_EQ(r.segment(500, alive(2)), Lines{"ALIVE seq 2"});
  EXPECT_EQ(r.segment(516, alive(4)), Lines{});
  EXPECT_EQ(r.finish(), (Lines{"8 bytes of the stream are not in the capture", "ALIVE seq 4 (1 missing)"}));
}

TEST(Decoder, ManyConnectionsAndSendersTakeLittleMemory) {
  Reading r;
  constexpr std::size_t kMany = 1000;
  std::size_t told = 0;
  for (std::size_t i = 0; i < kMany; ++i) {
    Bytes packet = ipv4(kTcpProtocol, tcp(1, joined({alive(1), {0x1a}})));
    packet[14] = static_cast<std::uint8_t>(i >> 8);
    packet[15] = static_cast<std::uint8_t>(i);
    told += r.frame(ethernet(packet)).size();
  }
  EXPECT_EQ(told, kMany + kMany - Decoder::kMostStreams) << "a message each, and what those left that had to go";
  EXPECT_EQ(r.finish().size(), Decoder::kMostStreams);
  EXPECT_NE(r.summary().find("further senders: 744 messages\n"), std::string::npos) << r.summary();
}

// --- Recorded traffic ---

std::vector<Bytes> frames_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const Bytes all{std::istreambuf_iterator<char>(file), {}};
  ByteReader r(all);
  r.skip(24);
  std::vector<Bytes> frames;
  while (r.left() != 0) {
    r.skip(8);
    const auto size = r.host32();
    r.skip(4);
    const auto bytes = r.bytes(size);
    if (r.failed()) throw std::runtime_error("damaged: " + path.string());
    frames.emplace_back(bytes.begin(), bytes.end());
  }
  return frames;
}

class EveryRecording : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(EveryRecording, HoldsMessagesAndNothingElse) {
  for (const bool json : {false, true}) {
    Decoder decoder({3780, 3781}, json);
    std::string all;
    for (const auto& frame : frames_of(GetParam())) {
      decoder.frame(kEthernetLink, {.time = {}, .bytes = frame});
      all += decoder.take_output();
    }
    decoder.finish();
    all += decoder.take_output();
    const auto lines = static_cast<std::size_t>(std::ranges::count(all, '\n'));
    EXPECT_GT(lines, 0U);
    const std::string summary = decoder.summary();
    EXPECT_NE(summary.find(", " + std::to_string(lines) + " messages\n"), std::string::npos) << summary << all;
    EXPECT_EQ(summary.find("malformed"), std::string::npos) << summary;
    EXPECT_TRUE(std::ranges::all_of(all, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
  }
}

std::vector<std::filesystem::path> recordings() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(CTSYNC_TEST_DATA) / "captures")) {
    if (entry.path().extension() == ".pcap") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

std::string test_name(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name = info.param.stem();
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Captures, EveryRecording, testing::ValuesIn(recordings()), test_name);

}  // namespace
}  // namespace ctsync::capture_test
