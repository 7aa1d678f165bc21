// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/flow.h"

#include <gtest/gtest.h>

#include <bit>

#include "ctsync/flow/expectation.h"

namespace ctsync {
namespace {

const Address kA{10, 77, 1, 2};
const Address kB{10, 77, 2, 2};
const Address kC{10, 77, 2, 100};
const Address kD{10, 77, 1, 200};

Tuple tuple(std::uint8_t l4, std::uint16_t sport, std::uint16_t dport) {
  Tuple t;
  t.family = Family::ipv4;
  t.l4 = l4;
  t.src = kA;
  t.dst = kB;
  t.src_port = sport;
  t.dst_port = dport;
  t.zone = 3;
  return t;
}

Flow kernel_flow(const Tuple& t, std::uint32_t status_bits) {
  Flow f;
  f.orig = t;
  const auto r = inverse(t);
  f.reply_src = r.src;
  f.reply_dst = r.dst;
  f.reply_src_port = r.src_port;
  f.reply_dst_port = r.dst_port;
  f.present = has::kPorts | has::kReply | has::kStatus;
  f.status = status_bits;
  return f;
}

TEST(Inverse, SwapsEndsAndKeepsTheRest) {
  const auto r = inverse(tuple(kTcp, 1000, 80));
  EXPECT_EQ(r.src, kB);
  EXPECT_EQ(r.dst, kA);
  EXPECT_EQ(r.src_port, 80);
  EXPECT_EQ(r.dst_port, 1000);
  EXPECT_EQ(r.zone, 3);
  EXPECT_EQ(r.l4, kTcp);
  EXPECT_EQ(r.family, Family::ipv4);
}

TEST(Inverse, IcmpTypeBecomesThatOfTheAnswer) {
  struct Case {
    std::uint8_t l4, type, answer;
  };
  for (const auto& c : {Case{kIcmp, 8, 0}, Case{kIcmp, 13, 14}, Case{kIcmp, 15, 16}, Case{kIcmp, 17, 18},
                        Case{kIcmp, 3, 3}, Case{kIcmpv6, 128, 129}, Case{kIcmpv6, 139, 140}, Case{kIcmpv6, 1, 1}}) {
    auto t = tuple(c.l4, 0, 0);
    t.set_icmp(c.type, 5, 0x1234);
    const auto r = inverse(t);
    EXPECT_EQ(r.icmp_type(), c.answer);
    EXPECT_EQ(r.icmp_code(), 5);
    EXPECT_EQ(r.icmp_id(), 0x1234);
    EXPECT_EQ(inverse(r), t);
  }
}

TEST(NatOf, NothingWithoutNat) {
  const auto v = nat_of(kernel_flow(tuple(kTcp, 1000, 80), 0x18e));
  EXPECT_FALSE(v.snat || v.dnat || v.snat_port || v.dnat_port);
}

TEST(NatOf, ComesFromTheTuplesOfKernelFlows) {
  auto f = kernel_flow(tuple(kTcp, 1000, 80), 0x18e);
  f.reply_dst = kC;
  EXPECT_TRUE(nat_of(f).snat);
  EXPECT_FALSE(nat_of(f).snat_port);
  f.reply_dst_port = 2000;
  EXPECT_TRUE(nat_of(f).snat_port);
  EXPECT_FALSE(nat_of(f).dnat);
  f.reply_src = kD;
  f.reply_src_port = 8080;
  EXPECT_TRUE(nat_of(f).dnat);
  EXPECT_TRUE(nat_of(f).dnat_port);
}

TEST(NatOf, NeedsTheSetUpBitOfItsSideOrNoStatus) {
  auto f = kernel_flow(tuple(kTcp, 1000, 80), status::kSrcNatDone);
  f.reply_dst = kC;
  f.reply_src = kD;
  EXPECT_TRUE(nat_of(f).snat);
  EXPECT_FALSE(nat_of(f).dnat);
  f.status = status::kDstNatDone | status::kSrcNat;
  EXPECT_FALSE(nat_of(f).snat);
  EXPECT_TRUE(nat_of(f).dnat);
  f.present &= ~has::kStatus;
  EXPECT_TRUE(nat_of(f).snat);
  EXPECT_TRUE(nat_of(f).dnat);
}

TEST(NatOf, IcmpEchoHasBogusPortNatWithHooks) {
  auto t = tuple(kIcmp, 0, 0);
  t.set_icmp(8, 0, 0x1234);
  const auto v = nat_of(kernel_flow(t, 0x18a));
  EXPECT_TRUE(v.snat_port && v.dnat_port);
  EXPECT_FALSE(v.snat || v.dnat);
}

TEST(NatOf, OfWireFlowsIsWhatTheyAnnounce) {
  Flow f;
  f.orig = tuple(kTcp, 1000, 80);
  f.present = has::kPorts | has::kSnat | has::kDnatPort;
  const auto v = nat_of(f);
  EXPECT_TRUE(v.snat && v.dnat_port);
  EXPECT_FALSE(v.dnat || v.snat_port);
}

TEST(Merge, KnownOverwritesUnknownStays) {
  auto to = kernel_flow(tuple(kTcp, 1000, 80), 0x8);
  to.present |= has::kMark | has::kTimeout;
  to.mark = 7;
  to.timeout = 120;
  Flow from;
  from.orig = to.orig;
  from.present = has::kStatus | has::kTimeout | has::kProtoState | has::kWscaleOrig | has::kWscaleReply | has::kId;
  from.status = 0xe;
  from.timeout = 432000;
  from.proto_state = 3;
  from.wscale_orig = 7;
  from.wscale_reply = 8;
  from.id = 99;
  from.mark = 1;  // not announced
  merge(to, from);
  EXPECT_EQ(to.mark, 7U);
  EXPECT_EQ(to.status, 0xeU);
  EXPECT_EQ(to.timeout, 432000U);
  EXPECT_EQ(to.proto_state, 3);
  EXPECT_EQ(to.wscale_orig, 7);
  EXPECT_EQ(to.wscale_reply, 8);
  EXPECT_EQ(to.id, 99U);
  EXPECT_TRUE(to.knows(has::kMark | has::kReply | has::kProtoState));
}

TEST(Merge, TuplesStay) {
  auto to = kernel_flow(tuple(kTcp, 1000, 80), 0x8);
  auto from = kernel_flow(tuple(kTcp, 1000, 80), 0x8);
  from.reply_dst = kC;
  from.orig.src = kD;
  merge(to, from);
  EXPECT_EQ(to.reply_dst, kA);
  EXPECT_EQ(to.orig.src, kA);
}

TEST(Merge, ReplyTupleThatWasMissingIsTaken) {
  Flow to;
  to.orig = tuple(kTcp, 1000, 80);
  merge(to, kernel_flow(to.orig, 0x8));
  EXPECT_TRUE(to.knows(has::kReply));
  EXPECT_EQ(to.reply(), inverse(to.orig));
}

TEST(Merge, WireNatIsAnAttributeLikeAnyOther) {
  Flow to;
  to.orig = tuple(kTcp, 1000, 80);
  to.present = has::kSnat | has::kDnatPort;
  to.reply_dst = kC;
  to.reply_src_port = 8080;
  Flow from;
  from.orig = to.orig;
  from.present = has::kDnat | has::kSnatPort;
  from.reply_src = kD;
  from.reply_dst_port = 5;
  merge(to, from);
  EXPECT_EQ(to.present, has::kNat);
  EXPECT_EQ(to.reply_dst, kC);
  EXPECT_EQ(to.reply_src, kD);
  EXPECT_EQ(to.reply_src_port, 8080);
  EXPECT_EQ(to.reply_dst_port, 5);
}

// "Known" without values means zeros; the values before must not be sent on.
TEST(Merge, SynproxyOfZerosReplacesValues) {
  Flow to;
  to.present = has::kSynproxy | has::kSynproxyValues;
  Flow from;
  merge(to, from);
  EXPECT_TRUE(to.knows(has::kSynproxyValues));
  from.present = has::kSynproxy;
  merge(to, from);
  EXPECT_EQ(to.present, has::kSynproxy);
}

TEST(CopyExtra, CopiesWhatIsNamedAndNothingElse) {
  FlowExtra from{};
  from.labels = {1, 2, 3, 4};
  from.helper = {'f', 't', 'p'};
  from.seqadj_orig = {1, 2, 3};
  from.seqadj_reply = {4, 5, 6};
  from.master = tuple(kTcp, 1, 2);
  from.synproxy_isn = from.synproxy_its = from.synproxy_tsoff = 9;
  from.sctp_vtag_orig = from.sctp_vtag_reply = 8;
  from.dccp_role = 1;
  from.counters_orig = {10, 11};
  from.counters_reply = {12, 13};
  const auto differences = [](const FlowExtra& x) {
    return (x.labels[3] != 0) + (x.helper[0] != 0) * 2 + (x.seqadj_orig.offset_after != 0) * 4 +
           (x.seqadj_reply.offset_after != 0) * 8 + (x.master.l4 != 0) * 16 + (x.synproxy_tsoff != 0) * 32 +
           (x.sctp_vtag_reply != 0) * 64 + (x.dccp_role != 0) * 128 + (x.counters_reply.bytes != 0) * 256;
  };
  int seen = 0;
  for (const auto bit : {has::kLabels, has::kHelper, has::kSeqAdjOrig, has::kSeqAdjReply, has::kMaster,
                         has::kSynproxyValues, has::kSctpTags, has::kDccpRole, has::kCounters}) {
    FlowExtra to{};
    copy_extra(to, from, bit);
    EXPECT_EQ(std::popcount(static_cast<unsigned>(differences(to))), 1);
    seen |= differences(to);
  }
  EXPECT_EQ(seen, 511);
  FlowExtra to{};
  copy_extra(to, from, ~has::kExtra);
  EXPECT_EQ(differences(to), 0);
}

TEST(CompleteMaster, NeedsItsPorts) {
  Flow f;
  f.present = has::kMaster;
  EXPECT_FALSE(has_complete_master(f));
  f.present |= has::kMasterPorts;
  EXPECT_TRUE(has_complete_master(f));
}

TEST(Expectation, KeyLeavesOutTimeoutAndNat) {
  Expectation a;
  a.master = tuple(kTcp, 1, 21);
  a.expected = tuple(kTcp, 0, 30000);
  a.helper = {'f', 't', 'p'};
  auto b = a;
  b.timeout = 5;
  b.nat = tuple(kTcp, 1, 1);
  b.nat_dir = 1;
  b.present = 77;
  EXPECT_TRUE(same_key(a, b));
  for (int i = 0; i < 8; ++i) {
    auto c = a;
    if (i == 0) c.master.zone = 9;
    if (i == 1) c.expected.dst_port = 9;
    if (i == 2) c.mask.l4 = 9;
    if (i == 3) c.flags = 9;
    if (i == 4) c.klass = 9;
    if (i == 5) c.helper[0] = 'x';
    if (i == 6) c.function[0] = 'x';
    if (i == 7) c.zone = 9;
    EXPECT_FALSE(same_key(a, c)) << i;
  }
}

}  // namespace
}  // namespace ctsync
