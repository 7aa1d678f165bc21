// SPDX-License-Identifier: GPL-2.0-or-later
// Requests to the kernel against the table of spec replication.md 5.2 and 5.5.
#include "encode.h"

#include <gtest/gtest.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

#include <vector>

#include "ctsync/kernel/decode.h"
#include "netlink_message.h"

namespace ctsync::kernel::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <typename Encode>
Bytes encoded(Encode encode) {
  Bytes room(kMaxRequest);
  const std::size_t size = encode(std::span(room));
  EXPECT_NE(0U, size);
  EXPECT_EQ(0U, size % 4);
  room.resize(size);
  return room;
}
Bytes create(const FlowRecord& r, bool be_liberal = true) {
  return encoded([&](std::span<std::uint8_t> room) { return encode_create(room, 42, r, be_liberal); });
}
Bytes update(const FlowRecord& r) {
  return encoded([&](std::span<std::uint8_t> room) { return encode_update(room, 42, r, true); });
}

Message parse(const Bytes& bytes) {
  Messages messages(bytes);
  Message m;
  EXPECT_TRUE(messages.next(m));
  EXPECT_EQ(bytes.size(), m.whole.size());
  return m;
}

// The data of the attribute found by going down `path`; empty and a failure if it is not there.
bool find(std::span<const std::uint8_t> data, std::initializer_list<unsigned> path, Bytes& out) {
  for (const auto type : path) {
    bool found = false;
    for_each_attribute(data, [&](const Attribute& a) {
      if (a.type != type) return true;
      data = a.data;
      found = true;
      return false;
    });
    if (!found) return false;
  }
  out.assign(data.begin(), data.end());
  return true;
}
bool has_attr(const Bytes& request, std::initializer_list<unsigned> path) {
  Bytes ignored;
  return find(std::span(request).subspan(20), path, ignored);
}
Bytes attr_of(const Bytes& request, std::initializer_list<unsigned> path) {
  Bytes out;
  EXPECT_TRUE(find(std::span(request).subspan(20), path, out));
  return out;
}

FlowRecord wire_flow(std::uint8_t l4) {
  FlowRecord r;
  auto& f = r.flow;
  f.orig.family = Family::ipv4;
  f.orig.l4 = l4;
  f.orig.src = {10, 0, 0, 1};
  f.orig.dst = {10, 0, 1, 2};
  f.orig.src_port = 0x1234;
  f.orig.dst_port = 80;
  f.status = status::kExpected | status::kSeenReply | status::kSrcNat | status::kDstNat | status::kDying;
  f.timeout = 77;
  f.proto_state = 3;
  f.present = has::kPorts | has::kStatus | has::kTimeout | has::kProtoState;
  return r;
}

FlowRecord full_flow() {
  auto r = wire_flow(kTcp);
  auto& f = r.flow;
  f.orig.family = Family::ipv6;
  f.orig.zone = 5;
  f.mark = 9;
  f.wscale_orig = 7;
  f.wscale_reply = 8;
  f.reply_src = {1};
  f.reply_dst = {2};
  f.reply_src_port = 8080;
  f.reply_dst_port = 40000;
  f.present |= has::kMark | has::kWscaleOrig | has::kWscaleReply | has::kZone | has::kNat | has::kSynproxy |
               has::kSynproxyValues | has::kLabels | has::kHelper | has::kSeqAdjOrig | has::kSeqAdjReply |
               has::kMaster | has::kMasterPorts;
  auto& e = r.extra;
  e.labels = {1, 2, 3, 4};
  e.helper = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o'};
  e.seqadj_orig = {1, 2, 3};
  e.seqadj_reply = {4, 5, 6};
  e.master = f.orig;
  e.synproxy_isn = 1;
  e.synproxy_its = 2;
  e.synproxy_tsoff = 3;
  return r;
}

// Written out by hand from the headers; 0x605 = request, create, exclusive; the acknowledgement is asked for per batch.
TEST(EncodeCreate, ByteForByte) {
  auto r = wire_flow(kUdp);
  r.flow.reply_dst = {192, 0, 2, 1};
  r.flow.reply_dst_port = 4000;
  r.flow.present |= has::kSnat | has::kSnatPort;
  const Bytes expected{
      172, 0, 0, 0,    0,    1,    1, 6,    42,   0,    0, 0, 0, 0, 0, 0,                    // header
      2,   0, 0, 0,                                                                          // nfgenmsg
      52,  0, 1, 0x80,                                                                       // original tuple
      20,  0, 1, 0x80, 8,    0,    1, 0,    10,   0,    0, 1, 8, 0, 2, 0, 10,   0,    1, 2,  //
      28,  0, 2, 0x80, 5,    0,    1, 0,    17,   0,    0, 0, 6, 0, 2, 0, 0x12, 0x34, 0, 0,  //
      6,   0, 3, 0,    0,    80,   0, 0,                                                     //
      52,  0, 2, 0x80,  // reply tuple: the inverse, without NAT
      20,  0, 1, 0x80, 8,    0,    1, 0,    10,   0,    1, 2, 8, 0, 2, 0, 10,   0,    0, 1,  //
      28,  0, 2, 0x80, 5,    0,    1, 0,    17,   0,    0, 0, 6, 0, 2, 0, 0,    80,   0, 0,  //
      6,   0, 3, 0,    0x12, 0x34, 0, 0,                                                     //
      8,   0, 3, 0,    0,    0,    0, 0x3a,                    // status: confirmed; not expected, not dying
      32,  0, 6, 0x80, 8,    0,    1, 0,    192,  0,    2, 1,  // source NAT: minimum only
      20,  0, 3, 0x80, 6,    0,    1, 0,    0x0f, 0xa0, 0, 0, 6, 0, 2, 0, 0x0f, 0xa0, 0, 0,  // port range min = max
      8,   0, 7, 0,    0,    0,    0, 77};                                                   // timeout
  if constexpr (std::endian::native == std::endian::little) {
    EXPECT_EQ(expected, create(r));
  }
}

// As a zone of both directions the reply would be looked for in the wrong one.
TEST(EncodeCreate, AZoneOfOneDirectionIsAPartOfItsTuple) {
  auto r = wire_flow(kUdp);
  r.flow.orig.zone = 5;
  FlowRecord back;
  const auto created = create(r);
  ASSERT_EQ(DecodeStatus::ok, decode_flow(parse(created).body, {}, back));
  EXPECT_EQ(5, back.flow.orig.zone);
  EXPECT_FALSE(back.flow.knows(has::kZone));
  r.flow.present |= has::kZone;
  const auto both = create(r);
  ASSERT_EQ(DecodeStatus::ok, decode_flow(parse(both).body, {}, back));
  EXPECT_EQ(5, back.flow.orig.zone);
  EXPECT_TRUE(back.flow.knows(has::kZone));

  r = wire_flow(kUdp);
  r.flow.present |= has::kReplyZone;
  r.extra.reply_zone = 6;
  const auto of_reply = create(r);
  ASSERT_EQ(DecodeStatus::ok, decode_flow(parse(of_reply).body, {}, back));
  EXPECT_EQ(0, back.flow.orig.zone);
  ASSERT_TRUE(back.flow.knows(has::kReplyZone));
  EXPECT_EQ(6, back.extra.reply_zone);
}

TEST(EncodeCreate, WhatDoesNotFitIsNotWritten) {
  const auto whole = create(full_flow());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Bytes room(size + 64, 0xee);
    EXPECT_EQ(0U, encode_create(std::span(room).first(size), 42, full_flow(), true)) << size;
    EXPECT_EQ(Bytes(64, 0xee), Bytes(room.begin() + static_cast<std::ptrdiff_t>(size), room.end())) << size;
  }
}

TEST(EncodeCreate, LargestFlowFits) {
  const auto bytes = create(full_flow());
  EXPECT_LE(bytes.size(), kMaxRequest);
  EXPECT_GT(bytes.size(), 540U);
}

TEST(EncodeCreate, EveryAttributeSurvives) {
  const auto r = full_flow();
  const auto bytes = create(r);
  FlowRecord back;
  ASSERT_EQ(DecodeStatus::ok, decode_flow(parse(bytes).body, {}, back));
  EXPECT_TRUE(back.flow.orig == r.flow.orig);
  EXPECT_TRUE(back.flow.reply() == inverse(r.flow.orig));
  EXPECT_EQ((r.flow.present & ~has::kNat) | has::kReply, back.flow.present);
  EXPECT_EQ(r.extra.labels, back.extra.labels);
  EXPECT_EQ(r.extra.helper, back.extra.helper);
  EXPECT_EQ(6U, back.extra.seqadj_reply.offset_after);
  EXPECT_TRUE(back.extra.master.src == r.extra.master.src);
  EXPECT_EQ(3U, back.extra.synproxy_tsoff);
  EXPECT_EQ(Bytes(r.flow.reply_src.begin(), r.flow.reply_src.end()), attr_of(bytes, {CTA_NAT_DST, CTA_NAT_V6_MINIP}));
  EXPECT_EQ((Bytes{0x1f, 0x90}), attr_of(bytes, {CTA_NAT_DST, CTA_NAT_PROTO, CTA_PROTONAT_PORT_MIN}));
  EXPECT_EQ((Bytes{0x9c, 0x40}), attr_of(bytes, {CTA_NAT_SRC, CTA_NAT_PROTO, CTA_PROTONAT_PORT_MAX}));
  EXPECT_FALSE(has_attr(bytes, {CTA_NAT_SRC, CTA_NAT_V6_MAXIP}));
  EXPECT_FALSE(has_attr(bytes, {CTA_ID}));
}

TEST(EncodeCreate, LiberalFlagsForTcpAlone) {
  const Bytes liberal{IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL};
  const auto tcp = create(wire_flow(kTcp));
  EXPECT_EQ(liberal, attr_of(tcp, {CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL}));
  EXPECT_EQ(liberal, attr_of(tcp, {CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_FLAGS_REPLY}));
  EXPECT_FALSE(
      has_attr(create(wire_flow(kTcp), false), {CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_FLAGS_REPLY}));
  EXPECT_FALSE(has_attr(create(wire_flow(kUdp)), {CTA_PROTOINFO}));
  auto sctp = wire_flow(kSctp);
  EXPECT_FALSE(has_attr(create(sctp), {CTA_PROTOINFO}));  // without tags the kernel would refuse it
  sctp.extra.sctp_vtag_orig = 0x55667788;
  sctp.extra.sctp_vtag_reply = 1;
  sctp.flow.present |= has::kSctpTags;
  EXPECT_EQ((Bytes{0x55, 0x66, 0x77, 0x88}),
            attr_of(create(sctp), {CTA_PROTOINFO, CTA_PROTOINFO_SCTP, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL}));
  auto dccp = wire_flow(kDccp);
  EXPECT_FALSE(has_attr(create(dccp), {CTA_PROTOINFO}));
  dccp.extra.dccp_role = 1;
  dccp.flow.present |= has::kDccpRole;
  EXPECT_EQ(Bytes{1}, attr_of(create(dccp), {CTA_PROTOINFO, CTA_PROTOINFO_DCCP, CTA_PROTOINFO_DCCP_ROLE}));
}

TEST(EncodeCreate, IcmpHasNoPortNatAndItsAnswerTypeInReply) {
  auto r = wire_flow(kIcmp);
  r.flow.orig.set_icmp(8, 0, 0x77);
  r.flow.present |= has::kSnatPort | has::kDnatPort;
  const auto bytes = create(r);
  EXPECT_FALSE(has_attr(bytes, {CTA_NAT_SRC}));
  EXPECT_FALSE(has_attr(bytes, {CTA_NAT_DST}));
  EXPECT_EQ(Bytes{0}, attr_of(bytes, {CTA_TUPLE_REPLY, CTA_TUPLE_PROTO, CTA_PROTO_ICMP_TYPE}));
}

TEST(EncodeCreate, GreKeysAndNoNumbersForOthers) {
  auto gre = wire_flow(kGre);
  EXPECT_EQ((Bytes{0x12, 0x34}), attr_of(create(gre), {CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT}));
  EXPECT_FALSE(has_attr(create(wire_flow(50)), {CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT}));
}

TEST(EncodeCreate, StatusNeverReceivedIsNotWritten) {
  auto r = wire_flow(kUdp);
  r.flow.present &= ~has::kStatus;
  EXPECT_FALSE(has_attr(create(r), {CTA_STATUS}));
}

// From the kernel of a firewall with a flow table: status 0x418e, no protocol part, no timeout.
TEST(EncodeCreate, OffloadedFlowIsEstablishedAndNotOffloaded) {
  auto r = wire_flow(kTcp);
  r.flow.present &= ~(has::kProtoState | has::kTimeout);
  r.flow.proto_state = 0;
  r.flow.status = status::kSeenReply | status::kAssured | status::kConfirmed | status::kSrcNatDone |
                  status::kDstNatDone | status::kOffload | status::kHwOffload;
  for (const auto& bytes : {create(r), update(r)}) {
    EXPECT_EQ((Bytes{0, 0, 0x01, 0x8e}), attr_of(bytes, {CTA_STATUS}));
    EXPECT_EQ(Bytes{3}, attr_of(bytes, {CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE}));
    EXPECT_EQ((Bytes{0, 0x06, 0x97, 0x80}), attr_of(bytes, {CTA_TIMEOUT}));
  }
  // Without the bit that says so nothing is made up.
  r.flow.status &= ~status::kAssured;
  EXPECT_FALSE(has_attr(create(r), {CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE}));
  EXPECT_EQ((Bytes{0, 0, 0, 60}), attr_of(create(r), {CTA_TIMEOUT}));
}

TEST(EncodeUpdate, CarriesNoNatHelperMasterOrReply) {
  auto r = full_flow();
  const auto bytes = update(r);
  EXPECT_EQ(NLM_F_REQUEST, parse(bytes).flags);
  for (const unsigned type : {CTA_TUPLE_REPLY, CTA_TUPLE_MASTER, CTA_NAT_SRC, CTA_NAT_DST, CTA_HELP}) {
    EXPECT_FALSE(has_attr(bytes, {type})) << type;
  }
  for (const unsigned type : {CTA_TUPLE_ORIG, CTA_TIMEOUT, CTA_MARK, CTA_PROTOINFO, CTA_LABELS, CTA_ZONE}) {
    EXPECT_TRUE(has_attr(bytes, {type})) << type;
  }
  // Expected is kept, confirmed set, the NAT bits are not for an update.
  EXPECT_EQ((Bytes{0, 0, 0, 0x0b}), attr_of(bytes, {CTA_STATUS}));
}

TEST(EncodeDestroy, AlwaysHasATuple) {
  const auto r = full_flow();
  const std::uint32_t id = 0x01020304;
  auto bytes = encoded([&](std::span<std::uint8_t> room) { return encode_destroy(room, 1, r.flow.orig, &id); });
  EXPECT_TRUE(has_attr(bytes, {CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V6_SRC}));
  EXPECT_EQ((Bytes{1, 2, 3, 4}), attr_of(bytes, {CTA_ID}));
  EXPECT_EQ((Bytes{0, 5}), attr_of(bytes, {CTA_ZONE}));
  bytes = encoded([&](std::span<std::uint8_t> room) { return encode_destroy(room, 1, r.flow.orig, nullptr); });
  EXPECT_FALSE(has_attr(bytes, {CTA_ID}));
  EXPECT_EQ(kFlowDelete, parse(bytes).type);
  EXPECT_FALSE(encodable(Tuple{}));
}

TEST(EncodeExpectation, MinimalLeavesOutWhatConntrackdLeavesOut) {
  Expectation e;
  e.master = e.expected = e.mask = e.nat = full_flow().flow.orig;
  e.expected.zone = 3;
  e.present = (1U << 14) - 1;
  e.klass = 2;
  e.nat_dir = 1;
  e.helper = {'s', 'i', 'p'};
  e.function = {'f', 'n'};
  const auto encode = [&](bool minimal) {
    return encoded([&](std::span<std::uint8_t> room) { return encode_expect_create(room, 1, e, minimal); });
  };
  const auto whole = encode(false);
  const auto minimal = encode(true);
  for (const unsigned type : {CTA_EXPECT_CLASS, CTA_EXPECT_NAT, CTA_EXPECT_FN}) {
    EXPECT_TRUE(has_attr(whole, {type})) << type;
    EXPECT_FALSE(has_attr(minimal, {type})) << type;
  }
  EXPECT_EQ((Bytes{0, 0, 0, 1}), attr_of(whole, {CTA_EXPECT_NAT, CTA_EXPECT_NAT_DIR}));
  EXPECT_EQ((Bytes{'s', 'i', 'p', 0}), attr_of(minimal, {CTA_EXPECT_HELP_NAME}));
  EXPECT_EQ((Bytes{0, 3}), attr_of(minimal, {CTA_EXPECT_ZONE}));
  const auto destroy = encoded([&](std::span<std::uint8_t> room) { return encode_expect_destroy(room, 1, e); });
  EXPECT_TRUE(has_attr(destroy, {CTA_EXPECT_TUPLE}));
  EXPECT_EQ(kExpectDelete, parse(destroy).type);
}

TEST(EncodeCreate, WithoutTimeoutWritesTheDefault) {
  auto r = wire_flow(kUdp);
  r.flow.present &= ~has::kTimeout;
  EXPECT_EQ((Bytes{0, 0, 0, 30}), attr_of(create(r), {CTA_TIMEOUT}));
}

}  // namespace
}  // namespace ctsync::kernel::test
