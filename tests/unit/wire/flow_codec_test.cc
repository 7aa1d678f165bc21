// SPDX-License-Identifier: GPL-2.0-or-later
// Flow messages: kernel flows against what stock wrote for the same flow, and each rule of spec replication.md 2.5 and
// 2.7.
#include "ctsync/wire/flow_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "ctsync/flow/flow_print.h"
#include "ctsync/wire/message_reader.h"
#include "examples.h"
#include "hex.h"

namespace ctsync::wire {
namespace {

using wire_test::hex;
using Bytes = std::vector<std::uint8_t>;

const Address kClient{10, 77, 1, 2};
const Address kServer{10, 77, 2, 2};
const Address kClient6{0xfd, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
const Address kServer6{0xfd, 0x77, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};

// A flow as the kernel reports it: both tuples, no NAT yet.
FlowRecord kernel_flow(std::uint8_t l4, std::uint16_t sport, std::uint16_t dport, std::uint32_t status_bits,
                       std::uint32_t timeout, const Address& src = kClient, const Address& dst = kServer) {
  FlowRecord r;
  auto& f = r.flow;
  f.orig.family = src == kClient6 ? Family::ipv6 : Family::ipv4;
  f.orig.l4 = l4;
  f.orig.src = src;
  f.orig.dst = dst;
  f.orig.src_port = sport;
  f.orig.dst_port = dport;
  const auto reply = inverse(f.orig);
  f.reply_src = reply.src;
  f.reply_dst = reply.dst;
  f.reply_src_port = reply.src_port;
  f.reply_dst_port = reply.dst_port;
  f.present = has::kPorts | has::kReply | has::kStatus | has::kTimeout;
  f.status = status_bits;
  f.timeout = timeout;
  return r;
}

FlowRecord tcp(std::uint16_t sport, std::uint16_t dport, std::uint8_t state, std::uint32_t status_bits,
               std::uint32_t timeout, const Address& src = kClient, const Address& dst = kServer) {
  auto r = kernel_flow(kTcp, sport, dport, status_bits, timeout, src, dst);
  r.flow.present |= has::kProtoState;
  r.flow.proto_state = state;
  return r;
}

FlowRecord icmp(std::uint8_t l4, std::uint8_t type, std::uint16_t id, std::uint32_t status_bits, const Address& src,
                const Address& dst) {
  Tuple t;
  t.set_icmp(type, 0, id);
  return kernel_flow(l4, t.src_port, t.dst_port, status_bits, 30, src, dst);
}

Bytes encode(const FlowRecord& r, MsgType type = MsgType::flow_update, std::uint32_t seq = 0,
             const EncodeOptions& options = {}, std::uint32_t age = 0, std::uint8_t flags = 0) {
  std::array<std::uint8_t, kMaxEncodedSize> room;
  ByteWriter w(room);
  encode_flow(w, type, flags, seq, r.flow, &r.extra, age, options);
  EXPECT_FALSE(w.failed());
  return {w.written().begin(), w.written().end()};
}

std::uint32_t seq_of(const char* example) {
  const auto b = hex(example);
  return static_cast<std::uint32_t>(b[4]) << 24 | static_cast<std::uint32_t>(b[5]) << 16 |
         static_cast<std::uint32_t>(b[6]) << 8 | b[7];
}

void expect_written(const char* example, const FlowRecord& r, const EncodeOptions& options = {}) {
  const auto expected = hex(example);
  EXPECT_EQ(encode(r, static_cast<MsgType>(expected[0] & 15), seq_of(example), options, 0, expected[1]), expected);
}

TEST(EncodeFlow, TcpAsStockDoes) {
  expect_written(wire_test::kSynSent, tcp(40002, 5000, 1, 0x8, 120));
  expect_written(wire_test::kEstablished, tcp(40002, 5000, 3, 0xe, 432000));
  expect_written(wire_test::kDestroyed, tcp(40002, 5000, 7, 0xe, 120));
  expect_written(wire_test::kIpv6Tcp, tcp(40021, 5000, 3, 0x18e, 432000, kClient6, kServer6));
}

TEST(EncodeFlow, WindowScalesOnlyWithTheOptionAndWhenKnown) {
  auto r = tcp(40701, 5000, 3, 0x18e, 432000);
  const auto without = encode(r, MsgType::flow_update, 0, {.window_scale = true});
  r.flow.wscale_orig = 10;
  r.flow.wscale_reply = 10;
  r.flow.present |= has::kWscaleOrig | has::kWscaleReply;
  expect_written(wire_test::kWindowScale, r, {.window_scale = true});
  EXPECT_EQ(without.size(), 60U);
  EXPECT_EQ(encode(r).size(), 60U);
}

TEST(EncodeFlow, TimeoutOnlyWithTheOption) {
  expect_written(wire_test::kNoTimeout, tcp(40999, 5000, 3, 0xe, 432000), {.send_timeout = false});
}

TEST(EncodeFlow, TimeoutLosesItsAgeButNeverVanishes) {
  const auto timeout = [](std::uint32_t told, std::uint32_t age) {
    const auto message = encode(kernel_flow(kUdp, 1, 2, 8, told), MsgType::flow_new, 0, {}, age);
    FlowRecord r;
    EXPECT_EQ(decode_flow(std::span(message).subspan(kHeaderSize), r), DecodeStatus::ok);
    return r.flow.timeout;
  };
  EXPECT_EQ(timeout(30, 0), 30U);
  EXPECT_EQ(timeout(30, 10), 20U);
  EXPECT_EQ(timeout(30, 29), 1U);
  EXPECT_EQ(timeout(30, 30), 1U);
  EXPECT_EQ(timeout(30, 0xffffffff), 1U);
  EXPECT_EQ(timeout(0, 5), 0U);
}

TEST(EncodeFlow, OtherProtocolsAsStockDoes) {
  expect_written(wire_test::kUdpWithHello, kernel_flow(kUdp, 46101, 53, 0x8, 30));
  expect_written(wire_test::kDying, kernel_flow(kUdp, 45091, 53, 0x388, 28));
  expect_written(wire_test::kIcmpEcho, icmp(kIcmp, 8, 0x1234, 0xa, kClient, kServer));
  expect_written(wire_test::kGreNoKeys, kernel_flow(kGre, 0, 0, 0x8, 30));
  auto sctp = kernel_flow(kSctp, 5001, 5002, 0xe, 210);
  sctp.flow.present |= has::kProtoState | has::kSctpTags;
  sctp.flow.proto_state = 4;
  sctp.extra.sctp_vtag_orig = 0x55667788;
  sctp.extra.sctp_vtag_reply = 0x11223344;
  expect_written(wire_test::kSctp, sctp);
}

TEST(EncodeFlow, DccpStateAndRole) {
  auto r = kernel_flow(kDccp, 1, 2, 0x8, 30);
  r.flow.present |= has::kProtoState | has::kDccpRole;
  r.flow.proto_state = 4;
  r.extra.dccp_role = 1;
  EXPECT_EQ(encode(r), hex("11 00 00 44 00 00 00 00 00 0c 00 00 0a 4d 01 02 0a 4d 02 02 00 08 00 05 00 00 00 08"
                           "00 05 00 02 21 00 00 00 00 08 00 03 00 01 00 02 00 05 00 14 04 00 00 00"
                           "00 05 00 15 01 00 00 00 00 08 00 06 00 00 00 1e"));
}

// Stock loses them, but takes them: spec replication.md 9, 11.
TEST(EncodeFlow, GreKeysGoOutInThePortsAttribute) {
  const auto message = encode(kernel_flow(kGre, 0x1234, 0, 0x8, 30), MsgType::flow_new);
  EXPECT_EQ(message, hex("10 00 00 34 00 00 00 00 00 0c 00 00 0a 4d 01 02 0a 4d 02 02 00 08 00 05 00 00 00 08"
                         "00 05 00 02 2f 00 00 00 00 08 00 03 12 34 00 00 00 08 00 06 00 00 00 1e"));
  FlowRecord r;
  ASSERT_EQ(decode_flow(std::span(message).subspan(kHeaderSize), r), DecodeStatus::ok);
  EXPECT_EQ(r.flow.orig.src_port, 0x1234);
  EXPECT_TRUE(r.flow.knows(has::kPorts));
}

TEST(EncodeFlow, UdpLiteSendsItsPorts) { EXPECT_EQ(encode(kernel_flow(kUdpLite, 1, 2, 0x8, 30)).size(), 52U); }

TEST(EncodeFlow, NatAsStockDoes) {
  auto snat = tcp(41001, 5000, 3, 0x19e, 432000);
  snat.flow.reply_dst = {10, 77, 2, 100};
  snat.flow.reply_dst_port = 50591;
  expect_written(wire_test::kSnat, snat);

  auto dnat = tcp(40011, 80, 3, 0x1ae, 432000, kClient, {10, 77, 1, 200});
  dnat.flow.reply_src = kServer;
  dnat.flow.reply_src_port = 5000;
  expect_written(wire_test::kDnat, dnat);

  auto both = tcp(41002, 80, 3, 0x1be, 432000, kClient, {10, 77, 1, 200});
  both.flow.reply_dst = {10, 77, 2, 100};
  both.flow.reply_dst_port = 50880;
  both.flow.reply_src = kServer;
  both.flow.reply_src_port = 5000;
  expect_written(wire_test::kBothNat, both);

  auto snat66 = tcp(41021, 5000, 3, 0x19e, 432000, kClient6, kServer6);
  snat66.flow.reply_dst = {0xfd, 0x77, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  expect_written(wire_test::kSnat66, snat66);

  auto dnat66 = tcp(40022, 80, 3, 0x1ae, 432000, kClient6, {0xfd, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0});
  dnat66.flow.reply_src = kServer6;
  dnat66.flow.reply_src_port = 5000;
  expect_written(wire_test::kDnat66, dnat66);
}

TEST(EncodeFlow, IcmpWithNatHooksCarriesZeroPortNat) {
  expect_written(wire_test::kIcmpv6Hooks, icmp(kIcmpv6, 128, 0x5678, 0x18a, kClient6, kServer6));
  auto snat = icmp(kIcmp, 8, 0x1234, 0x19a, kClient, kServer);
  snat.flow.reply_dst = {10, 77, 2, 100};
  expect_written(wire_test::kIcmpSnat, snat);
}

TEST(EncodeFlow, MarkZoneLabelsHelper) {
  auto mark = tcp(43101, 5000, 3, 0x18e, 432000);
  mark.flow.present |= has::kMark;
  mark.flow.mark = 0xdeadbeef;
  expect_written(wire_test::kMark, mark);

  auto zone = kernel_flow(kUdp, 43002, 7777, 0x188, 30);
  zone.flow.present |= has::kZone;
  zone.flow.orig.zone = 9;
  expect_written(wire_test::kZone9, zone);
  zone.flow.present &= ~has::kZone;  // holds for one direction only
  EXPECT_EQ(encode(zone).size(), 52U);
  const auto sent = encode(zone, MsgType::flow_update, 0, {.one_way_zones = true});
  EXPECT_EQ(Bytes(sent.begin() + 52, sent.end()), hex("00 06 00 21 00 09 00 00"));
  FlowRecord back;
  ASSERT_EQ(decode_flow(std::span(sent).subspan(kHeaderSize), back), DecodeStatus::ok);
  EXPECT_EQ(back.flow.orig.zone, 9);
  EXPECT_FALSE(back.flow.knows(has::kZone));
  zone.flow.orig.zone = 0;
  zone.flow.present |= has::kReplyZone;
  zone.extra.reply_zone = 8;
  EXPECT_EQ(encode(zone).size(), 52U);
  const auto of_reply = encode(zone, MsgType::flow_update, 0, {.one_way_zones = true});
  EXPECT_EQ(Bytes(of_reply.begin() + 52, of_reply.end()), hex("00 06 00 22 00 08 00 00"));
  ASSERT_EQ(decode_flow(std::span(of_reply).subspan(kHeaderSize), back), DecodeStatus::ok);
  EXPECT_TRUE(back.flow.knows(has::kReplyZone));
  EXPECT_EQ(back.extra.reply_zone, 8);
  EXPECT_EQ(back.flow.orig.zone, 0);

  auto labels = tcp(43201, 5000, 3, 0x18e, 432000);
  labels.flow.present |= has::kLabels;
  labels.extra.labels = {0x20, 0, 0, 0};
  expect_written(wire_test::kLabelBit5, labels);

  auto helper = tcp(44001, 21, 1, 0x2188, 120);
  helper.flow.present |= has::kHelper;
  helper.extra.helper = {'f', 't', 'p'};
  expect_written(wire_test::kHelperFtp, helper);
}

TEST(EncodeFlow, ClearedLabelsGoOutAsZeroWords) {
  auto r = kernel_flow(kUdp, 1, 2, 0x8, 30);
  r.flow.present |= has::kLabels;
  r.extra.labels = {};
  const auto message = encode(r);
  EXPECT_EQ(Bytes(message.end() - 20, message.end()),
            hex("00 14 00 1c 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"));
}

TEST(EncodeFlow, LongHelperNameIsLeftOut) {
  auto r = kernel_flow(kUdp, 1, 2, 0x8, 30);
  r.flow.present |= has::kHelper;
  r.extra.helper = {'e', 'l', 'e', 'v', 'e', 'n', 'c', 'h', 'a', 'r', 's'};
  EXPECT_EQ(encode(r).size(), 52U + 16);
  r.extra.helper = {'t', 'w', 'e', 'l', 'v', 'e', 'c', 'h', 'a', 'r', 's', '!'};
  EXPECT_EQ(encode(r).size(), 52U);
}

TEST(EncodeFlow, RelatedSeqAdjustedAndCommittedFlows) {
  auto related = tcp(49914, 30021, 3, 0x18f, 432000);
  related.flow.present |= has::kMaster | has::kMasterPorts;
  related.extra.master = tcp(44001, 21, 3, 0, 0).flow.orig;
  expect_written(wire_test::kRelated, related);

  auto adjusted = tcp(41052, 21, 3, 0x21de, 431998);
  adjusted.flow.present |= has::kMark | has::kSeqAdjOrig | has::kSeqAdjReply | has::kHelper;
  adjusted.flow.reply_dst = {10, 77, 2, 100};
  adjusted.flow.reply_dst_port = 50515;
  adjusted.extra.seqadj_orig = {0x7cb70eba, 0, 3};
  adjusted.extra.seqadj_reply = {};
  adjusted.extra.helper = {'f', 't', 'p'};
  expect_written(wire_test::kSeqAdjust, adjusted);
  adjusted.flow.present &= ~has::kSeqAdjReply;  // all six or none
  EXPECT_EQ(encode(adjusted).size(), 120U - 28);

  auto committed = tcp(41601, 5000, 3, 0x19e, 431998);
  committed.flow.present |= has::kMark | has::kSynproxy;
  committed.flow.reply_dst = {10, 77, 2, 100};
  committed.flow.reply_dst_port = 50345;
  expect_written(wire_test::kCommitted, committed);
}

TEST(EncodeFlow, SynproxyOrderIsTimestampNumberOffset) {
  auto r = kernel_flow(kUdp, 1, 2, 0x8, 30);
  r.flow.present |= has::kSynproxy | has::kSynproxyValues;
  r.extra.synproxy_its = 1;
  r.extra.synproxy_isn = 2;
  r.extra.synproxy_tsoff = 3;
  const auto message = encode(r);
  EXPECT_EQ(Bytes(message.end() - 16, message.end()), hex("00 10 00 1f 00 00 00 01 00 00 00 02 00 00 00 03"));
}

TEST(EncodeFlow, WithoutStatusZeroIsSentAndNatIsTakenFromTheTuples) {
  auto r = kernel_flow(kUdp, 1, 2, 0, 30);
  r.flow.present &= ~(has::kStatus | has::kTimeout);
  r.flow.status = 77;
  r.flow.reply_dst = {1, 2, 3, 4};
  EXPECT_EQ(encode(r), hex("11 00 00 34 00 00 00 00 00 0c 00 00 0a 4d 01 02 0a 4d 02 02 00 08 00 05 00 00 00 00"
                           "00 05 00 02 11 00 00 00 00 08 00 03 00 01 00 02 00 08 00 0c 01 02 03 04"));
}

// Bits 14 and 15 tell of this kernel's flow tables and hardware.
TEST(EncodeFlow, OffloadBitsStayHere) {
  const auto plain = kernel_flow(kTcp, 40001, 8001, 0x18e, 300);
  EXPECT_EQ(encode(kernel_flow(kTcp, 40001, 8001, 0xc18e, 300)), encode(plain));
  EXPECT_EQ(encode(kernel_flow(kTcp, 40001, 8001, 0x418e, 300)), encode(plain));
}

TEST(EncodeFlow, NatNeedsItsSetUpBits) {
  auto r = kernel_flow(kUdp, 1, 2, 0x8, 30);
  r.flow.reply_dst = {1, 2, 3, 4};
  r.flow.reply_src = {1, 2, 3, 5};
  EXPECT_EQ(encode(r).size(), 52U);
  r.flow.status |= status::kDstNatDone;
  EXPECT_EQ(encode(r).size(), 60U);
}

TEST(EncodeFlow, WithoutSideRecordItsAttributesAreLeftOut) {
  auto r = kernel_flow(kUdp, 1, 2, 0x8, 30);
  r.flow.present |= has::kExtra;
  std::array<std::uint8_t, kMaxEncodedSize> room;
  ByteWriter w(room);
  encode_flow(w, MsgType::flow_new, 0, 0, r.flow, nullptr, 0, {});
  EXPECT_EQ(w.size(), 52U);
}

TEST(EncodeFlow, TheLongestMessageFitsTheRoomPromised) {
  auto r = tcp(1, 2, 3, 0x1be, 30, kClient6, kServer6);
  r.flow.present = ~(has::kSnat | has::kDnat | has::kSnatPort | has::kDnatPort);
  r.flow.reply_src[0] = r.flow.reply_dst[0] = 1;
  r.flow.reply_src_port = r.flow.reply_dst_port = 1000;
  r.extra.helper = {'e', 'l', 'e', 'v', 'e', 'n', 'c', 'h', 'a', 'r', 's'};
  r.extra.master = r.flow.orig;
  EXPECT_LE(encode(r, MsgType::flow_new, 0, {.window_scale = true}).size(), 312U);
}

TEST(EncodeFlow, TooLittleRoomFailsAndLeavesTheWriterUsable) {
  std::array<std::uint8_t, 60> room;
  ByteWriter w(room);
  encode_alive(w, flag::kAlive, 1);
  const auto before = w.size();
  const auto r = tcp(1, 2, 3, 8, 30);
  encode_flow(w, MsgType::flow_new, 0, 0, r.flow, nullptr, 0, {});
  EXPECT_TRUE(w.failed());
  w.rewind(before);
  encode_alive(w, flag::kAlive, 2);
  EXPECT_EQ(w.size(), 16U);
}

// ---- receiving ----

const std::string kAddresses = "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 ";
const std::string kAddresses6 =
    "00 24 00 01 fd 77 00 01 00 00 00 00 00 00 00 00 00 00 00 02 fd 77 00 02 00 00 00 00 00 00 00 00 00 00 00 02 ";
const std::string kIsTcp = "00 05 00 02 06 00 00 00 ";
const std::string kIsUdp = "00 05 00 02 11 00 00 00 ";
const std::string kIsIcmp = "00 05 00 02 01 00 00 00 ";
const std::string kPorts = "00 08 00 03 9c 42 13 88 ";
const std::string kTuple = kAddresses + kIsTcp + kPorts;

DecodeStatus decode(const std::string& attributes, FlowRecord& r) { return decode_flow(hex(attributes), r); }
DecodeStatus decode(const std::string& attributes) {
  FlowRecord r;
  return decode(attributes, r);
}
FlowRecord decoded(const std::string& attributes) {
  FlowRecord r;
  EXPECT_EQ(decode(attributes, r), DecodeStatus::ok) << attributes;
  return r;
}

TEST(DecodeFlow, TupleAloneIsEnough) {
  const auto r = decoded(kTuple);
  EXPECT_EQ(r.flow.orig.family, Family::ipv4);
  EXPECT_EQ(r.flow.orig.src, kClient);
  EXPECT_EQ(r.flow.orig.dst, kServer);
  EXPECT_EQ(r.flow.orig.l4, kTcp);
  EXPECT_EQ(r.flow.orig.src_port, 40002);
  EXPECT_EQ(r.flow.orig.dst_port, 5000);
  EXPECT_EQ(r.flow.present, has::kPorts);
}

TEST(DecodeFlow, OrderDoesNotMatter) {
  const auto r = decoded("00 08 00 0c 01 02 03 04 00 05 00 04 03 00 00 00 " + kPorts + kIsTcp + kAddresses);
  EXPECT_EQ(r.flow.proto_state, 3);
  EXPECT_EQ(r.flow.orig.src_port, 40002);
  EXPECT_EQ(r.flow.reply_dst, (Address{1, 2, 3, 4}));
  EXPECT_EQ(r.flow.present, has::kPorts | has::kProtoState | has::kSnat);
}

TEST(DecodeFlow, Rule1LengthBeyondTheMessage) {
  EXPECT_EQ(decode(kTuple + "00 09 00 07 00 00 00 01"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kTuple + "00 08 00 07 00"), DecodeStatus::bad_attribute);
}

TEST(DecodeFlow, Rule2LengthBelowFour) {
  for (const char* length : {"00", "01", "03"}) {
    EXPECT_EQ(decode(kTuple + "00 " + length + " 00 07 00 00 00 00"), DecodeStatus::bad_attribute);
  }
}

TEST(DecodeFlow, Rule3UnknownAttributeRejectsTheMessage) {
  EXPECT_EQ(decode(kTuple + "00 08 00 21 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kTuple + "00 08 01 00 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kTuple + "00 06 00 20 00 09 00 00"), DecodeStatus::ok);
}

TEST(DecodeFlow, Rule4FixedSizesAreExact) {
  const std::array<std::size_t, 33> sizes{8, 32, 1, 4, 1, 4, 4, 4, 8, 32, 1, 4, 4,  4,  2,  2, 24,
                                          1, 4,  4, 1, 1, 1, 1, 2, 1, 1,  0, 0, 16, 16, 12, 2};
  for (std::size_t id = 0; id < sizes.size(); ++id) {
    if (id == 27 || id == 28) continue;
    for (const std::size_t size : {sizes[id] - 1, sizes[id], sizes[id] + 1}) {
      auto message = hex(kTuple);
      message.insert(message.end(), {0, static_cast<std::uint8_t>(size + 4), 0, static_cast<std::uint8_t>(id)});
      message.resize(message.size() + (size + 7) / 4 * 4);
      FlowRecord r;
      const bool good = decode_flow(message, r) == DecodeStatus::ok;
      // A later IPv6 pair or another protocol may make the tuple incomplete, but never the attribute bad.
      EXPECT_EQ(decode_flow(message, r) == DecodeStatus::bad_attribute, size != sizes[id]) << id << " " << size;
      EXPECT_TRUE(good || size != sizes[id]) << id;
    }
  }
}

TEST(DecodeFlow, Rule5HelperAndLabelsHaveAMost) {
  EXPECT_EQ(decode(kTuple + "00 10 00 1b 65 6c 65 76 65 6e 63 68 61 72 73 00"), DecodeStatus::ok);
  EXPECT_EQ(decode(kTuple + "00 11 00 1b 74 77 65 6c 76 65 63 68 61 72 73 21 00 00 00 00"),
            DecodeStatus::bad_attribute);
  auto labels = hex(kTuple + "04 04 00 1c");
  labels.resize(labels.size() + 1024);
  FlowRecord r;
  EXPECT_EQ(decode_flow(labels, r), DecodeStatus::ok);
  labels = hex(kTuple + "04 08 00 1c");
  labels.resize(labels.size() + 1028);
  EXPECT_EQ(decode_flow(labels, r), DecodeStatus::bad_attribute);
}

TEST(DecodeFlow, Rule6OddOrEmptyLabelsAreIgnored) {
  EXPECT_FALSE(decoded(kTuple + "00 0a 00 1c 00 00 00 20 00 00 00 00").flow.knows(has::kLabels));
  EXPECT_FALSE(decoded(kTuple + "00 04 00 1c 00 08 00 07 00 00 00 01").flow.knows(has::kLabels));
  // ... and do not wipe out those before.
  const auto r = decoded(kTuple + "00 08 00 1c 00 00 00 20 00 0a 00 1c 00 00 00 40 00 00 00 00");
  EXPECT_EQ(r.extra.labels[0], 0x20U);
}

TEST(DecodeFlow, Rule7ALaterAttributeOverwrites) {
  EXPECT_EQ(decoded(kTuple + "00 08 00 07 00 00 00 01 00 08 00 07 00 00 00 02").flow.mark, 2U);
  EXPECT_EQ(decoded(kAddresses6 + kTuple).flow.orig.family, Family::ipv4);
  EXPECT_EQ(decoded(kTuple + kAddresses6).flow.orig.family, Family::ipv6);
  EXPECT_EQ(decoded(kTuple + kAddresses6).flow.orig.src, kClient6);
  EXPECT_EQ(decoded(kAddresses6 + kTuple).flow.orig.src, kClient);
}

TEST(DecodeFlow, UpToFourLeftoverBytesAreIgnoredWhateverTheyHold) {
  for (const char* rest : {"ff", "ff ff", "ff ff ff", "00 00 00 00", "ff ff ff ff", "00 04 00 1b"}) {
    EXPECT_EQ(decode(kTuple + rest), DecodeStatus::ok) << rest;
  }
  EXPECT_EQ(decode(kTuple + "00 00 00 00 00"), DecodeStatus::bad_attribute);
}

TEST(DecodeFlow, PaddingOfTheLastAttributeMayBeMissing) {
  EXPECT_EQ(decoded(kTuple + "00 05 00 04 03").flow.proto_state, 3);
  EXPECT_EQ(decoded(kTuple + "00 05 00 04 03 00").flow.proto_state, 3);
}

TEST(DecodeFlow, RequiresAddressesProtocolAndPorts) {
  EXPECT_EQ(decode(""), DecodeStatus::incomplete);
  EXPECT_EQ(decode(kIsTcp + kPorts), DecodeStatus::incomplete);
  EXPECT_EQ(decode(kAddresses + kPorts), DecodeStatus::incomplete);
  for (const char* l4 : {"06", "11", "84", "21"}) {
    const auto proto = std::string("00 05 00 02 ") + l4 + " 00 00 00 ";
    EXPECT_EQ(decode(kAddresses + proto), DecodeStatus::no_ports) << l4;
    EXPECT_EQ(decode(kAddresses + proto + kPorts), DecodeStatus::ok) << l4;
  }
  for (const char* l4 : {"01", "2f", "63", "88"}) {
    EXPECT_EQ(decode(kAddresses + "00 05 00 02 " + l4 + " 00 00 00 "), DecodeStatus::ok) << l4;
  }
}

// The two numbers of protocols without any are zero, so that equal flows are equal tuples.
TEST(DecodeFlow, PortsOfPortlessProtocolsAreDropped) {
  const auto r = decoded(kAddresses + "00 05 00 02 63 00 00 00 " + kPorts);
  EXPECT_EQ(r.flow.orig.src_port, 0);
  EXPECT_FALSE(r.flow.knows(has::kPorts));
  const auto i = decoded(kAddresses + kIsIcmp + kPorts + "00 05 00 16 08 00 00 00 00 06 00 18 34 12 00 00");
  EXPECT_EQ(i.flow.orig.icmp_type(), 8);
  EXPECT_EQ(i.flow.orig.icmp_id(), 0x1234);
}

TEST(DecodeFlow, IcmpPortNatIsIgnored) {
  const std::string nat = "00 06 00 0e 00 00 00 00 00 06 00 0f 01 00 00 00 ";
  EXPECT_EQ(decoded(kAddresses + kIsIcmp + nat).flow.present & has::kNat, 0U);
  EXPECT_EQ(decoded(kAddresses + kIsUdp + kPorts + nat).flow.present & has::kNat, has::kSnatPort | has::kDnatPort);
  EXPECT_EQ(decoded(kAddresses + kIsUdp + kPorts + nat).flow.reply_src_port, 1);
}

TEST(DecodeFlow, NatOfTheOtherFamilyIsIgnored) {
  const std::string snat4 = "00 08 00 0c 01 02 03 04 ";
  EXPECT_EQ(decoded(kAddresses6 + kIsTcp + kPorts + snat4).flow.present & has::kNat, 0U);
  EXPECT_EQ(decoded(kTuple + snat4).flow.present & has::kNat, has::kSnat);
}

TEST(DecodeFlow, UnterminatedHelperNameIsTerminated) {
  const auto r = decoded(kTuple + "00 10 00 1b 74 77 65 6c 76 65 63 68 61 72 73 21");
  EXPECT_STREQ(r.extra.helper.data(), "twelvechars!");
  EXPECT_FALSE(decoded(kTuple + "00 05 00 1b 00 00 00 00").flow.knows(has::kHelper));
}

TEST(DecodeFlow, LabelBitsBeyondThoseOfTheKernelAreDropped) {
  const auto r = decoded(kTuple + "00 18 00 1c 00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 04 00 00 00 05 ");
  EXPECT_EQ(r.extra.labels, (std::array<std::uint32_t, 4>{1, 2, 3, 4}));
  const auto s = decoded(kTuple + "00 08 00 1c 00 00 00 01");
  EXPECT_EQ(s.extra.labels, (std::array<std::uint32_t, 4>{1, 0, 0, 0}));
}

TEST(DecodeFlow, SynproxyZerosNeedNoSideRecord) {
  const auto zeros = decoded(kTuple + "00 10 00 1f 00 00 00 00 00 00 00 00 00 00 00 00");
  EXPECT_TRUE(zeros.flow.knows(has::kSynproxy));
  EXPECT_EQ(zeros.flow.present & has::kExtra, 0U);
  const auto values = decoded(kTuple + "00 10 00 1f 00 00 00 01 00 00 00 02 00 00 00 03");
  EXPECT_TRUE(values.flow.knows(has::kSynproxyValues));
  EXPECT_EQ(values.extra.synproxy_its, 1U);
  EXPECT_EQ(values.extra.synproxy_isn, 2U);
  EXPECT_EQ(values.extra.synproxy_tsoff, 3U);
}

TEST(DecodeFlow, MasterNeedsAddressesAndProtocol) {
  const std::string addresses = "00 0c 00 08 0a 4d 01 02 0a 4d 02 02 ";
  const std::string ports = "00 08 00 0b ab e1 00 15 ";
  EXPECT_EQ(decoded(kTuple + addresses + ports).flow.present & has::kExtra, 0U);
  EXPECT_EQ(decoded(kTuple + ports).flow.present & has::kExtra, 0U);
  const auto r = decoded(kTuple + addresses + "00 05 00 0a 06 00 00 00 " + ports);
  EXPECT_TRUE(has_complete_master(r.flow));
  EXPECT_EQ(r.extra.master.src_port, 44001);
}

TEST(DecodeFlow, ValuesAreTakenAsTheyAre) {
  const auto r = decoded(kTuple + "00 05 00 04 c8 00 00 00 00 08 00 05 ff ff ff ff");
  EXPECT_EQ(r.flow.proto_state, 200);
  EXPECT_EQ(r.flow.status, 0xffffffffU);
}

TEST(DecodeFlow, ARecordIsUsedAgainWithoutLeftovers) {
  FlowRecord r;
  ASSERT_EQ(decode(kTuple + "00 08 00 07 00 00 00 01 00 08 00 0c 01 02 03 04", r), DecodeStatus::ok);
  ASSERT_EQ(decode(kAddresses + kIsIcmp, r), DecodeStatus::ok);
  EXPECT_EQ(r.flow.present, 0U);
  EXPECT_EQ(r.flow.orig.src_port, 0);
  EXPECT_EQ(r.flow.reply_dst, Address{});
}

// --- Peers up to conntrackd 1.4.6 ---

FlowRecord decoded_message(const Bytes& message) {
  FlowRecord r;
  EXPECT_EQ(decode_flow(std::span(message).subspan(kHeaderSize), r), DecodeStatus::ok);
  return r;
}

// The four bytes of attributes 12 and 13 are in the opposite order, and nothing else differs.
TEST(OldPeers, NatAddressesAreTurnedBothWays) {
  auto both = tcp(41002, 80, 3, 0x1be, 432000, kClient, {10, 77, 1, 200});
  both.flow.reply_dst = {203, 0, 113, 9};
  both.flow.reply_dst_port = 50880;
  both.flow.reply_src = kServer;
  both.flow.reply_src_port = 5000;
  auto old = encode(both);
  const auto turn = [&old](const Bytes& header, const Bytes& address) {
    auto at = std::search(old.begin(), old.end(), header.begin(), header.end());
    ASSERT_NE(at, old.end());
    at += static_cast<std::ptrdiff_t>(header.size());
    ASSERT_TRUE(std::equal(address.begin(), address.end(), at));
    std::copy(address.rbegin(), address.rend(), at);
  };
  turn({0, 8, 0, 12}, {203, 0, 113, 9});
  turn({0, 8, 0, 13}, {10, 77, 2, 2});
  EXPECT_EQ(encode(both, MsgType::flow_update, 0, {.swap_nat = true}), old);

  auto got = decoded_message(old);
  EXPECT_EQ(got.flow.reply_dst, (Address{9, 113, 0, 203}));
  swap_nat_addresses(got.flow);
  EXPECT_EQ(got.flow.reply_dst, both.flow.reply_dst);
  EXPECT_EQ(got.flow.reply_src, kServer);
  EXPECT_EQ(got.flow.reply_src_port, 5000);
}

TEST(OldPeers, OtherAddressesAreLeftAlone) {
  auto snat66 = tcp(41021, 5000, 3, 0x19e, 432000, kClient6, kServer6);
  snat66.flow.reply_dst = {0xfd, 0x77, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  expect_written(wire_test::kSnat66, snat66, {.swap_nat = true});
  auto got = decoded_message(hex(wire_test::kSnat66));
  swap_nat_addresses(got.flow);
  EXPECT_EQ(got.flow.reply_dst, snat66.flow.reply_dst);
  auto plain = decoded_message(hex(wire_test::kEstablished));
  swap_nat_addresses(plain.flow);
  EXPECT_EQ(plain.flow.reply_dst, Address{});
  expect_written(wire_test::kEstablished, tcp(40002, 5000, 3, 0xe, 432000), {.swap_nat = true});
}

// --- FlowPrint ---

FlowPrint print(const FlowRecord& r, bool window_scale = true) { return print_of(r.flow, &r.extra, window_scale); }

FlowRecord as_the_peer_has_it(const FlowRecord& r, const EncodeOptions& options) {
  const auto message = encode(r, MsgType::flow_update, 0, options);
  FlowRecord got;
  EXPECT_EQ(decode_flow(std::span(message).subspan(kHeaderSize), got), DecodeStatus::ok);
  return got;
}

// One of each kind, with everything that goes over the wire.
std::vector<FlowRecord> rich_flows() {
  std::vector<FlowRecord> flows{
      tcp(1, 80, 3, 0xe, 100),          icmp(kIcmp, 8, 0x1234, 0xa, kClient, kServer), kernel_flow(kGre, 0, 0, 0x8, 30),
      kernel_flow(kGre, 5, 6, 0x8, 30), kernel_flow(kUdpLite, 7, 8, 0x8, 30),          kernel_flow(99, 0, 0, 0x8, 30)};
  auto& r = flows.emplace_back(tcp(2, 80, 3, 0x18e | status::kSrcNat | status::kDstNat, 100, kClient6, kServer6));
  r.flow.reply_dst = kServer6;
  r.flow.reply_src = kClient6;
  r.flow.reply_dst_port = 99;
  r.flow.reply_src_port = 98;
  auto& x = flows.emplace_back(tcp(3, 80, 3, 0xe | status::kOffload, 100));
  x.flow.present |= has::kMark | has::kZone | has::kWscaleOrig | has::kWscaleReply | has::kLabels | has::kHelper |
                    has::kSeqAdjOrig | has::kSeqAdjReply | has::kMaster | has::kMasterPorts | has::kSynproxy |
                    has::kSynproxyValues;
  x.flow.mark = 5;
  x.flow.orig.zone = 9;
  x.flow.wscale_orig = 7;
  x.flow.wscale_reply = 8;
  x.extra.labels = {1, 0, 0, 0x80000000};
  x.extra.helper = {'f', 't', 'p'};
  x.extra.seqadj_orig = {1, 2, 3};
  x.extra.seqadj_reply = {4, 5, 6};
  x.extra.master = tcp(4, 21, 3, 0, 0).flow.orig;
  x.extra.synproxy_isn = 1;
  x.extra.synproxy_its = 2;
  x.extra.synproxy_tsoff = 3;
  auto& sctp = flows.emplace_back(kernel_flow(kSctp, 5001, 5002, 0xe, 210));
  sctp.flow.present |= has::kProtoState | has::kSctpTags;
  sctp.flow.proto_state = 4;
  sctp.extra.sctp_vtag_orig = 0x55667788;
  sctp.extra.sctp_vtag_reply = 0x11223344;
  auto& dccp = flows.emplace_back(kernel_flow(kDccp, 1, 2, 0xe, 210));
  dccp.flow.present |= has::kProtoState | has::kDccpRole;
  dccp.flow.proto_state = 2;
  dccp.extra.dccp_role = 1;
  auto& nat_icmp = flows.emplace_back(icmp(kIcmp, 8, 1, 0x18a | status::kSrcNat, kClient, kServer));
  nat_icmp.flow.reply_dst = {1, 2, 3, 4};
  nat_icmp.flow.reply_dst_port = 77;
  return flows;
}

// Else the two would be compared, and repaired, for ever.
TEST(FlowPrint, AHelperThatIsTooLongForTheWireDoesNotCount) {
  for (const std::string_view name : {"elevenchars", "twelve-chars", "fifteen-letters"}) {
    FlowRecord r = tcp(1, 80, 3, 0xe, 100);
    r.extra = {};
    std::ranges::copy(name, r.extra.helper.begin());
    r.flow.present |= has::kHelper;
    const auto got = as_the_peer_has_it(r, {});
    EXPECT_EQ(got.flow.knows(has::kHelper), name.size() <= kMaxWireHelperName) << name;
    EXPECT_EQ(print(got), print(r)) << name;
  }
}

TEST(FlowPrint, IsTheSameAtBothEnds) {
  for (const bool window_scale : {false, true}) {
    for (const auto& r : rich_flows()) {
      const auto got = as_the_peer_has_it(r, {.send_timeout = false, .window_scale = window_scale});
      EXPECT_EQ(print(got), print(r, window_scale)) << r.flow.orig.src_port << " protocol " << int{r.flow.orig.l4};
    }
  }
}

TEST(FlowPrint, IsOfWhatIsSentAlone) {
  for (const auto left_out : {has::kMark, has::kLabels, has::kMark | has::kLabels}) {
    for (const auto& r : rich_flows()) {
      const auto got = as_the_peer_has_it(r, {.left_out = left_out});
      EXPECT_EQ(got.flow.present & left_out, 0U);
      EXPECT_EQ(got.flow.present & (has::kMark | has::kLabels),
                r.flow.present & (has::kMark | has::kLabels) & ~left_out);
      EXPECT_EQ(print(got, false), print_of(r.flow, &r.extra, false, left_out)) << r.flow.orig.src_port;
    }
  }
}

TEST(FlowPrint, LabelsWithNoBitSetAreNone) {
  auto r = tcp(1, 2, 3, 0xe, 0);
  const auto without = print(r);
  r.flow.present |= has::kLabels;
  r.extra.labels = {};
  EXPECT_EQ(print(r), without);
}

// What the wire carries, and nothing else, makes another number; another bucket comes from the original tuple alone.
TEST(FlowPrint, DiffersByWhatTheWireCarries) {
  const auto base = rich_flows()[7];
  const auto changed = [&](auto&& change) {
    auto r = base;
    change(r);
    return print(r);
  };
  const auto same_bucket = [&](auto&& change) {
    EXPECT_EQ(changed(change).bucket, print(base).bucket);
    EXPECT_NE(changed(change).number, print(base).number);
  };
  same_bucket([](FlowRecord& r) { r.flow.mark = 6; });
  same_bucket([](FlowRecord& r) { r.flow.present &= ~has::kMark; });
  same_bucket([](FlowRecord& r) { r.flow.status |= status::kSeqAdjust; });
  same_bucket([](FlowRecord& r) { r.flow.proto_state = 4; });
  same_bucket([](FlowRecord& r) { r.flow.wscale_reply = 9; });
  same_bucket([](FlowRecord& r) { r.extra.labels[1] = 1; });
  same_bucket([](FlowRecord& r) { r.extra.helper = {'s', 'i', 'p'}; });
  same_bucket([](FlowRecord& r) { r.extra.seqadj_reply.offset_after = 7; });
  same_bucket([](FlowRecord& r) { r.extra.master.dst_port = 22; });
  same_bucket([](FlowRecord& r) { r.extra.synproxy_tsoff = 4; });
  EXPECT_NE(changed([](FlowRecord& r) { r.flow.orig.src_port = 4; }).number, print(base).number);
  EXPECT_EQ(changed([](FlowRecord& r) { r.flow.timeout = 5; }), print(base));
  EXPECT_EQ(changed([](FlowRecord& r) { r.flow.id = 5; }), print(base));
  EXPECT_EQ(changed([](FlowRecord& r) { r.flow.status &= ~status::kOffload; }), print(base));
}

// Nodes of other versions and machines have to compute the same.
TEST(FlowPrint, IsWhatItAlwaysWas) {
  EXPECT_EQ(print(rich_flows()[0]), (FlowPrint{.bucket = 0x4fe, .number = 0xcce09bc51b6de8bc}));
  EXPECT_EQ(print(rich_flows()[7]), (FlowPrint{.bucket = 0xb66, .number = 0x3eae2cd277ee0ab6}));
}

}  // namespace
}  // namespace ctsync::wire
