// SPDX-License-Identifier: GPL-2.0-or-later
// What is written into the kernel comes back from it, attribute by attribute, as dump, as event and as look-up.
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>

#include "ctsync/base/unique_fd.h"
#include "kernel_messages.h"
#include "live.h"

namespace ctsync::kernel::test {
namespace {

using Live = LiveTest;

void set_helper(FlowRecord& r, const char* name) {
  r.extra.helper = {};
  std::strncpy(r.extra.helper.data(), name, kHelperNameSize - 1);
  r.flow.present |= has::kHelper;
}

// Writes one flow, expects success, and returns it as the kernel has it.
FlowRecord write_and_get(NetlinkTable& table, const FlowRecord& r, WriteOp op = WriteOp::create) {
  Written written;
  auto& writer = table.writer(Origin::commit);
  writer.write(op, r, 1, written);
  writer.finish(written);
  EXPECT_EQ(1U, written.results.size());
  EXPECT_EQ(0, written.of(1).error) << std::strerror(written.of(1).error);
  FlowRecord got;
  const auto found = table.get(r.flow.orig, got);
  EXPECT_TRUE(found) << found.error().text;
  EXPECT_TRUE(found && *found);
  return got;
}

WriteResult write_one(NetlinkTable& table, WriteOp op, const FlowRecord& r, Origin origin = Origin::commit) {
  Written written;
  auto& writer = table.writer(origin);
  writer.write(op, r, 7, written);
  writer.finish(written);
  EXPECT_EQ(1U, written.results.size());
  return written.of(7);
}

// An older picture changes nothing: the entry, which is returned, is the one that was there.
FlowRecord write_and_expect_kept(NetlinkTable& table, WriteOp op, const FlowRecord& older, const FlowRecord& before) {
  const auto result = write_one(table, op, older);
  EXPECT_EQ(0, result.error);
  EXPECT_EQ(WritePhase::kept, result.phase);
  FlowRecord got;
  EXPECT_TRUE(table.get(before.flow.orig, got).value());
  EXPECT_EQ(before.flow.id, got.flow.id);
  return got;
}

TEST_F(Live, EveryProtocolComesBackTheSame) {
  auto& table = open_table();
  std::vector<FlowRecord> flows;
  for (const auto family : {Family::ipv4, Family::ipv6}) {
    for (const auto l4 : {kTcp, kUdp, kSctp, kGre}) flows.push_back(make_flow(l4, family, 1111, 2222));
    flows.push_back(make_flow(50, family, 0, 0));  // ESP: a protocol without numbers
  }
  auto icmp = make_flow(kIcmp, Family::ipv4, 0, 0);
  icmp.flow.orig.set_icmp(8, 0, 0x1234);
  flows.push_back(icmp);
  auto icmp6 = make_flow(kIcmpv6, Family::ipv6, 0, 0);
  icmp6.flow.orig.set_icmp(128, 0, 0x4321);
  flows.push_back(icmp6);
  for (auto& r : flows) {
    if (r.flow.orig.l4 != kSctp) continue;
    r.flow.proto_state = 4;
    r.extra.sctp_vtag_orig = 0x55667788;
    r.extra.sctp_vtag_reply = 0x11223344;
    r.flow.present |= has::kProtoState | has::kSctpTags;
  }
  for (const auto& r : flows) {
    SCOPED_TRACE(int{r.flow.orig.l4});
    const auto got = write_and_get(table, r);
    EXPECT_TRUE(got.flow.orig == r.flow.orig);
    ASSERT_TRUE(got.flow.knows(has::kReply | has::kStatus | has::kTimeout | has::kId));
    EXPECT_TRUE(got.flow.reply() == inverse(r.flow.orig));
    EXPECT_EQ(r.flow.status, got.flow.status & ~(status::kSrcNatDone | status::kDstNatDone));
    EXPECT_NEAR(300, got.flow.timeout, 2);
    EXPECT_EQ(r.flow.proto_state, got.flow.proto_state);
    EXPECT_EQ(r.flow.knows(has::kProtoState), got.flow.knows(has::kProtoState));
    EXPECT_EQ(r.flow.orig.l4 != 50, got.flow.knows(has::kPorts));
    if (r.flow.orig.l4 == kSctp) {
      // The tags must survive (spec replication.md 9, item 6).
      ASSERT_TRUE(got.flow.knows(has::kSctpTags));
      EXPECT_EQ(0x55667788U, got.extra.sctp_vtag_orig);
      EXPECT_EQ(0x11223344U, got.extra.sctp_vtag_reply);
    }
  }
  Entries all;
  dump_all(table, all);
  EXPECT_EQ(flows.size(), all.flows.size());
  EXPECT_EQ(0, all.bad);
  Entries only6;
  dump_all(table, only6, DumpWhat::flows, {.family = Family::ipv6});
  EXPECT_EQ(6U, only6.flows.size());
}

TEST_F(Live, MarkZoneAndSequenceAdjustment) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.mark = 0xdeadbeef;
  r.flow.orig.zone = 77;
  r.extra.seqadj_orig = {1000, 0xfffffff0, 16};
  r.extra.seqadj_reply = {2000, 5, 6};
  r.flow.present |= has::kMark | has::kZone | has::kSeqAdjOrig | has::kSeqAdjReply;
  const auto got = write_and_get(table, r);
  EXPECT_EQ(0xdeadbeefU, got.flow.mark);
  EXPECT_EQ(77, got.flow.orig.zone);
  ASSERT_TRUE(got.flow.knows(has::kZone | has::kSeqAdjOrig | has::kSeqAdjReply));
  EXPECT_EQ(1000U, got.extra.seqadj_orig.correction_pos);
  EXPECT_EQ(0xfffffff0U, got.extra.seqadj_orig.offset_before);
  EXPECT_EQ(16U, got.extra.seqadj_orig.offset_after);
  EXPECT_EQ(2000U, got.extra.seqadj_reply.correction_pos);
  EXPECT_EQ(6U, got.extra.seqadj_reply.offset_after);
  EXPECT_TRUE(got.flow.status & status::kSeqAdjust);
  // The same tuple in no zone is another flow.
  auto plain = r;
  plain.flow.orig.zone = 0;
  plain.flow.present &= ~has::kZone;
  FlowRecord none;
  EXPECT_FALSE(table.get(plain.flow.orig, none).value());
  write_and_get(table, plain);
  EXPECT_EQ(0, write_one(table, WriteOp::destroy, r).error);
  EXPECT_TRUE(table.get(plain.flow.orig, none).value());
}

TEST_F(Live, NatOfBothFamilies) {
  run("nft add table inet t");
  run("nft add chain inet t c '{ type nat hook postrouting priority 100; }'");
  auto& table = open_table();
  auto snat = make_tcp(1);
  snat.flow.reply_dst = v4(192, 0, 2, 9);
  snat.flow.reply_dst_port = 40000;
  snat.flow.status |= status::kSrcNat | status::kSrcNatDone | status::kDstNatDone;
  snat.flow.present |= has::kSnat | has::kSnatPort;
  auto got = write_and_get(table, snat);
  EXPECT_TRUE(got.flow.reply_dst == v4(192, 0, 2, 9));
  EXPECT_EQ(40000, got.flow.reply_dst_port);
  EXPECT_TRUE(got.flow.reply_src == snat.flow.orig.dst);
  const auto view = nat_of(got.flow);
  EXPECT_TRUE(view.snat && view.snat_port && !view.dnat && !view.dnat_port);

  auto both = make_flow(kUdp, Family::ipv6, 5000, 53);
  both.flow.reply_dst = v6(0x99);
  both.flow.reply_src = v6(0x88);
  both.flow.reply_src_port = 5353;
  both.flow.present |= has::kSnat | has::kDnat | has::kDnatPort;
  got = write_and_get(table, both);
  EXPECT_TRUE(got.flow.reply_dst == v6(0x99));
  EXPECT_TRUE(got.flow.reply_src == v6(0x88));
  EXPECT_EQ(5353, got.flow.reply_src_port);
  EXPECT_EQ(5000, got.flow.reply_dst_port);

  // Port NAT of ICMP is noise and must not be written (spec replication.md 2.7).
  auto icmp = make_flow(kIcmp, Family::ipv4, 0, 0);
  icmp.flow.orig.set_icmp(8, 0, 9);
  icmp.flow.present |= has::kSnatPort | has::kDnatPort;
  got = write_and_get(table, icmp);
  EXPECT_TRUE(got.flow.reply() == inverse(icmp.flow.orig));

  // An update and a replacement in place leave the NAT as it is.
  both.flow.timeout = 50;
  const auto id = table.get(both.flow.orig, got).value() ? got.flow.id : 0;
  got = write_and_get(table, both, WriteOp::update);
  EXPECT_EQ(id, got.flow.id);
  EXPECT_TRUE(got.flow.reply_dst == v6(0x99));
  EXPECT_NEAR(50, got.flow.timeout, 2);
}

TEST_F(Live, LabelsOnceTheNamespaceUsesThem) {
  run("nft add table inet t");
  run("nft add chain inet t c '{ type filter hook output priority 0; }'");
  run("nft add rule inet t c ct label set 3");
  auto& table = open_table();
  auto r = make_tcp(1);
  r.extra.labels = {0x00000008, 0, 0x80000000, 0x1};
  r.flow.present |= has::kLabels;
  const auto got = write_and_get(table, r);
  ASSERT_TRUE(got.flow.knows(has::kLabels));
  EXPECT_EQ(r.extra.labels, got.extra.labels);
}

TEST_F(Live, SynproxyZerosNeedNoSideRecord) {
  auto& table = open_table();
  auto got = write_and_get(table, make_tcp(1));
  EXPECT_TRUE(got.flow.knows(has::kSynproxy));
  EXPECT_FALSE(got.flow.present & has::kExtra);
  auto r = make_tcp(2);
  r.extra.synproxy_isn = 11;
  r.extra.synproxy_its = 22;
  r.extra.synproxy_tsoff = 33;
  r.flow.present |= has::kSynproxy | has::kSynproxyValues;
  got = write_and_get(table, r);
  ASSERT_TRUE(got.flow.knows(has::kSynproxyValues));
  EXPECT_EQ(11U, got.extra.synproxy_isn);
  EXPECT_EQ(22U, got.extra.synproxy_its);
  EXPECT_EQ(33U, got.extra.synproxy_tsoff);
}

TEST_F(Live, MasterAndExpectationWithNat) {
  run("nft add table inet t");
  run("nft add chain inet t c '{ type nat hook postrouting priority 100; }'");
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({.expectations = true}));
  auto master = make_flow(kTcp, Family::ipv4, 3333, 21);
  set_helper(master, "ftp");
  auto got = write_and_get(table, master);
  ASSERT_TRUE(got.flow.knows(has::kHelper));
  EXPECT_STREQ("ftp", got.extra.helper.data());

  auto related = make_flow(kTcp, Family::ipv4, 4444, 20);
  related.extra.master = master.flow.orig;
  related.flow.present |= has::kMaster | has::kMasterPorts;
  related.flow.status |= status::kExpected;  // must be taken off before the create
  got = write_and_get(table, related);
  ASSERT_TRUE(got.flow.knows(has::kMaster | has::kMasterPorts));
  EXPECT_TRUE(got.extra.master == master.flow.orig);
  EXPECT_TRUE(got.flow.status & status::kExpected);

  Expectation e;
  e.master = master.flow.orig;
  e.expected = master.flow.orig;
  e.expected.src_port = 0;
  e.expected.dst_port = 55555;
  e.mask = e.expected;
  e.mask.src.fill(0);
  e.mask.dst.fill(0);
  std::fill_n(e.mask.src.begin(), 4, std::uint8_t{0xff});
  std::fill_n(e.mask.dst.begin(), 4, std::uint8_t{0xff});
  e.mask.src_port = 0;
  e.mask.dst_port = 0xffff;
  e.nat = e.expected;
  e.nat.src = v4(192, 0, 2, 7);
  e.nat.dst = {};
  e.nat.src_port = 1717;
  e.nat.dst_port = 0;
  e.nat_dir = 1;
  e.timeout = 100;
  e.klass = 0;
  std::strcpy(e.helper.data(), "ftp");
  std::strcpy(e.function.data(), "nat-follow-master");
  using namespace expect_has;
  e.present = kMaster | kMasterPorts | kExpected | kExpectedPorts | kMask | kMaskPorts | kTimeout | kFlags | kClass |
              kNat | kNatPorts | kNatDir | kHelper | kFunction;
  auto& writer = table.writer(Origin::commit);
  ASSERT_EQ(0, writer.write_expectation(WriteOp::create, e).error);
  Entries entries;
  dump_all(table, entries, DumpWhat::expectations);
  ASSERT_EQ(1U, entries.expectations.size());
  const auto& x = entries.expectations[0];
  EXPECT_TRUE(x.master == e.master);
  EXPECT_TRUE(x.expected == e.expected);
  EXPECT_EQ(e.mask.src, x.mask.src);
  EXPECT_EQ(0xffff, x.mask.dst_port);
  // What conntrackd loses (spec replication.md 9, item 9).
  ASSERT_TRUE(x.knows(kNat | kNatPorts | kNatDir | kClass | kFunction | kHelper | kFlags | kTimeout));
  EXPECT_TRUE(x.nat.src == e.nat.src);
  EXPECT_EQ(1717, x.nat.src_port);
  EXPECT_EQ(1U, x.nat_dir);
  EXPECT_STREQ("nat-follow-master", x.function.data());
  EXPECT_STREQ("ftp", x.helper.data());
  EXPECT_TRUE(same_key(x, x));

  const auto again = writer.write_expectation(WriteOp::create, e);
  EXPECT_EQ(0, again.error);
  EXPECT_EQ(WritePhase::create_again, again.phase);
  EXPECT_EQ(0, writer.write_expectation(WriteOp::destroy, e).error);
  EXPECT_EQ(ENOENT, writer.write_expectation(WriteOp::destroy, e).error);
  // A function this kernel does not know: made without NAT, like conntrackd does.
  auto odd = e;
  odd.expected.dst_port = 55556;
  std::strcpy(odd.function.data(), "no-such-function");
  EXPECT_EQ(0, writer.write_expectation(WriteOp::create, odd).error);
  EXPECT_TRUE(writer.flush_expectations());
  entries.expectations.clear();
  dump_all(table, entries, DumpWhat::expectations);
  EXPECT_TRUE(entries.expectations.empty());

  Events events;
  table.read_events(1000, events);
  ASSERT_GE(events.expectations.size(), 4U);
  EXPECT_EQ(EventType::new_, events.expectations.front().first);
  EXPECT_EQ(55555, events.expectations.front().second.expected.dst_port);
  EXPECT_EQ(Origin::commit, events.expectation_origins.front());
  EXPECT_EQ(0, events.bad);
  // A missing master.
  e.master.src_port = 9;
  EXPECT_EQ(ENOENT, writer.write_expectation(WriteOp::create, e).error);
}

TEST_F(Live, EventsTellTypeAndOrigin) {
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({}));
  ASSERT_GE(table.events_fd(), 0);
  const auto r = make_tcp(5);
  for (const auto origin : {Origin::commit, Origin::flush, Origin::inject}) {
    SCOPED_TRACE(static_cast<int>(origin));
    EXPECT_EQ(0, write_one(table, WriteOp::create, r, origin).error);
    auto changed = r;
    changed.flow.proto_state = 4;
    EXPECT_EQ(0, write_one(table, WriteOp::update, changed, origin).error);
    EXPECT_EQ(0, write_one(table, WriteOp::destroy, r, origin).error);
    Events events;
    table.read_events(100, events);
    ASSERT_EQ(3U, events.flows.size());
    EXPECT_EQ(EventType::new_, events.flows[0].type);
    EXPECT_EQ(EventType::update, events.flows[1].type);
    EXPECT_EQ(EventType::destroy, events.flows[2].type);
    for (const auto& e : events.flows) {
      EXPECT_EQ(origin, e.origin);
      EXPECT_TRUE(e.record.flow.orig == r.flow.orig);
    }
    EXPECT_EQ(3, events.flows[0].record.flow.proto_state);
    EXPECT_EQ(4, events.flows[1].record.flow.proto_state);
    EXPECT_TRUE(events.flows[2].record.flow.status & status::kDying);
  }
  // Somebody else's socket.
  Injector other({});
  ASSERT_TRUE(other.open());
  Written written;
  other.write(WriteOp::create, r, 1, written);
  other.finish(written);
  Events events;
  table.read_events(100, events);
  ASSERT_EQ(1U, events.flows.size());
  EXPECT_EQ(Origin::foreign, events.flows[0].origin);
  EXPECT_EQ(10U, table.event_stats().received);
  EXPECT_EQ(0U, table.event_stats().catch_failed);
}

TEST_F(Live, PacketsMakeForeignEventsWithCounters) {
  run("ip link set lo up");
  run("nft add table inet t");
  run("nft add chain inet t c '{ type filter hook output priority 0; }'");
  run("nft add rule inet t c ct state new accept");
  run("sysctl -qw net.netfilter.nf_conntrack_acct=1");  // of this namespace alone
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({.counters = true}));
  run("ping -c1 -W1 127.0.0.1 > /dev/null");
  Entries there;
  dump_all(table, there);
  for (const auto& r : there.flows) EXPECT_EQ(0, write_one(table, WriteOp::destroy, r, Origin::flush).error);
  Events events;
  table.read_events(100, events);
  ASSERT_GE(events.flows.size(), 2U);
  EXPECT_EQ(EventType::new_, events.flows.front().type);
  EXPECT_EQ(Origin::foreign, events.flows.front().origin);
  EXPECT_EQ(kIcmp, events.flows.front().record.flow.orig.l4);
  EXPECT_EQ(8, events.flows.front().record.flow.orig.icmp_type());
  const auto& last = events.flows.back();
  EXPECT_EQ(EventType::destroy, last.type);
  EXPECT_EQ(Origin::flush, last.origin);
  ASSERT_TRUE(last.record.flow.knows(has::kCounters));
  EXPECT_EQ(1U, last.record.extra.counters_orig.packets);
  EXPECT_EQ(84U, last.record.extra.counters_reply.bytes);
}

// Netlink sockets of other processes with the privilege can write to ours.
TEST_F(Live, EventsOfAnotherProcessAreNotBelieved) {
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({}));
  sockaddr_nl address{};
  socklen_t size = sizeof address;
  ASSERT_EQ(0, ::getsockname(table.events_fd(), reinterpret_cast<sockaddr*>(&address), &size));
  const UniqueFd forger(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  ASSERT_TRUE(forger);
  std::vector<std::uint8_t> event;
  for (std::size_t i = 0; i + 1 < std::strlen(kPingNew); i += 2) {
    event.push_back(static_cast<std::uint8_t>(std::stoi(std::string(kPingNew + i, 2), nullptr, 16)));
  }
  address.nl_groups = 0;
  ASSERT_EQ(static_cast<ssize_t>(event.size()), ::sendto(forger.get(), event.data(), event.size(), 0,
                                                         reinterpret_cast<sockaddr*>(&address), sizeof address));
  const auto r = make_tcp(1);
  EXPECT_EQ(0, write_one(table, WriteOp::create, r).error);
  Events events;
  table.read_events(100, events);
  ASSERT_EQ(1U, events.flows.size());
  EXPECT_TRUE(events.flows[0].record.flow.orig == r.flow.orig);
  EXPECT_EQ(0, events.bad);
}

TEST_F(Live, ExistingEntryOfTheSameFlowIsUpdatedInPlace) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.mark = 5;
  r.flow.present |= has::kMark;
  const auto before = write_and_get(table, r);
  r.flow.mark = 6;
  const auto again = write_one(table, WriteOp::create, r);
  EXPECT_EQ(0, again.error);
  EXPECT_EQ(WritePhase::update, again.phase);
  FlowRecord got;
  ASSERT_TRUE(table.get(r.flow.orig, got).value());
  EXPECT_EQ(6U, got.flow.mark);
  EXPECT_EQ(before.flow.id, got.flow.id);
  EXPECT_EQ(WritePhase::update, write_one(table, WriteOp::replace, r).phase);
}

TEST_F(Live, WhatIsOnlyCreatedLeavesWhateverIsThereAlone) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.mark = 5;
  r.flow.present |= has::kMark;
  const auto first = write_one(table, WriteOp::create_only, r);
  EXPECT_EQ(0, first.error);
  EXPECT_EQ(WritePhase::create, first.phase);
  r.flow.mark = 6;
  const auto again = write_one(table, WriteOp::create_only, r);
  EXPECT_EQ(EEXIST, again.error);
  EXPECT_EQ(WritePhase::create, again.phase);
  FlowRecord got;
  ASSERT_TRUE(table.get(r.flow.orig, got).value());
  EXPECT_EQ(5U, got.flow.mark);
}

TEST_F(Live, AdoptionLooksFirstAndShortensNothing) {
  auto& table = open_table();
  for (const std::uint8_t state : {std::uint8_t{3}, std::uint8_t{4}, std::uint8_t{7}, std::uint8_t{8}}) {
    auto there = make_tcp(state);
    there.flow.proto_state = state;
    there.flow.timeout = state == 3 ? 5000 : 10;
    write_and_get(table, there);
    auto told = make_tcp(state);
    told.flow.timeout = 1000;
    EXPECT_EQ(0, write_one(table, WriteOp::adopt, told).error);
    FlowRecord now;
    ASSERT_TRUE(table.get(there.flow.orig, now).value());
    EXPECT_EQ(now.flow.proto_state, state);
    EXPECT_NEAR(now.flow.timeout, there.flow.timeout, 1);
  }
  auto fresh = make_tcp(9);
  fresh.flow.timeout = 1000;
  EXPECT_EQ(WritePhase::create_instead, write_one(table, WriteOp::adopt, fresh).phase);
  auto shorter = make_tcp(10);
  shorter.flow.timeout = 600;
  write_and_get(table, shorter);
  shorter.flow.timeout = 3000;
  EXPECT_EQ(WritePhase::update, write_one(table, WriteOp::adopt, shorter).phase);
  FlowRecord now;
  ASSERT_TRUE(table.get(shorter.flow.orig, now).value());
  EXPECT_NEAR(now.flow.timeout, 3000U, 1);
}

// Live, further on: ESTABLISHED, assured, mark 7, 4000 s. The other node's picture is of the handshake.
TEST_F(Live, OlderPictureLeavesALiveEntryAlone) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.timeout = 4000;
  r.flow.mark = 7;
  r.flow.present |= has::kMark;
  const auto before = write_and_get(table, r);
  auto older = make_tcp(1);
  older.flow.status = status::kConfirmed | status::kSeenReply;
  older.flow.proto_state = 2;
  older.flow.timeout = 60;
  older.flow.mark = 0;
  older.flow.present |= has::kMark;
  ASSERT_TRUE(table.open_events({}));
  for (const auto op : {WriteOp::create, WriteOp::update, WriteOp::replace}) {
    SCOPED_TRACE(static_cast<int>(op));
    const auto got = write_and_expect_kept(table, op, older, before);
    EXPECT_EQ(3, got.flow.proto_state);
    EXPECT_EQ(7U, got.flow.mark);
    EXPECT_NEAR(4000, got.flow.timeout, 3);
    EXPECT_TRUE(got.flow.status & status::kAssured);
  }
  Events events;
  table.read_events(100, events);
  EXPECT_TRUE(events.flows.empty());
}

// An update with the same status bits is not refused by the kernel: the entry would live for five days more.
TEST_F(Live, UpdateFromBeforeTheEndOfAConnectionLeavesItAlone) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.proto_state = 4;  // FIN_WAIT
  r.flow.timeout = 120;
  const auto before = write_and_get(table, r);
  for (const auto op : {WriteOp::create, WriteOp::update}) {
    SCOPED_TRACE(static_cast<int>(op));
    auto older = make_tcp(1);
    older.flow.timeout = 432000;
    const auto got = write_and_expect_kept(table, op, older, before);
    EXPECT_EQ(4, got.flow.proto_state);
    EXPECT_NEAR(120, got.flow.timeout, 3);
  }
  r.flow.proto_state = 6;  // LAST_ACK: the later picture
  EXPECT_EQ(WritePhase::update, write_one(table, WriteOp::update, r).phase);
}

TEST_F(Live, YoungerPictureUpdatesAnEntryOfTheHandshake) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.status = status::kConfirmed;
  r.flow.proto_state = 1;
  const auto before = write_and_get(table, r);
  for (const auto op : {WriteOp::create, WriteOp::update}) {
    SCOPED_TRACE(static_cast<int>(op));
    r.flow.status |= op == WriteOp::create ? status::kSeenReply : status::kAssured;
    r.flow.proto_state = op == WriteOp::create ? 2 : 3;
    EXPECT_EQ(WritePhase::update, write_one(table, op, r).phase);
    FlowRecord got;
    ASSERT_TRUE(table.get(r.flow.orig, got).value());
    EXPECT_EQ(before.flow.id, got.flow.id);
    EXPECT_EQ(r.flow.proto_state, got.flow.proto_state);
    EXPECT_EQ(r.flow.status, got.flow.status & r.flow.status);
  }
}

TEST_F(Live, PortsUsedAgainAndOtherTranslationsReplaceTheEntry) {
  run("nft add table inet t");
  run("nft add chain inet t c '{ type nat hook postrouting priority 100; }'");
  auto& table = open_table();
  auto closed = make_tcp(1);
  closed.flow.proto_state = 7;
  write_and_get(table, closed);
  auto young = make_tcp(1);
  young.flow.proto_state = 1;
  young.flow.status = status::kConfirmed;
  EXPECT_EQ(WritePhase::create_again, write_one(table, WriteOp::create, young).phase);
  FlowRecord got;
  ASSERT_TRUE(table.get(young.flow.orig, got).value());
  EXPECT_EQ(1, got.flow.proto_state);
  EXPECT_FALSE(got.flow.status & status::kAssured);
  // An update that meets a closed entry.
  write_and_get(table, closed, WriteOp::update);
  EXPECT_EQ(WritePhase::create_again, write_one(table, WriteOp::update, young).phase);

  auto translated = make_tcp(1);
  translated.flow.reply_dst = v4(192, 0, 2, 9);
  translated.flow.present |= has::kSnat;
  EXPECT_EQ(WritePhase::create_again, write_one(table, WriteOp::create, translated).phase);
  ASSERT_TRUE(table.get(young.flow.orig, got).value());
  EXPECT_TRUE(got.flow.reply_dst == v4(192, 0, 2, 9));
}

TEST_F(Live, UpdateAndDestroyOfNothing) {
  auto& table = open_table();
  const auto r = make_tcp(1);
  EXPECT_EQ(ENOENT, write_one(table, WriteOp::destroy, r).error);
  const auto updated = write_one(table, WriteOp::update, r);
  EXPECT_EQ(0, updated.error);
  EXPECT_EQ(WritePhase::create_instead, updated.phase);
  EXPECT_EQ(WritePhase::create_instead, write_one(table, WriteOp::replace, make_tcp(2)).phase);
  // By id: another entry with that tuple stays.
  auto other = r;
  FlowRecord got;
  ASSERT_TRUE(table.get(r.flow.orig, got).value());
  other.flow.id = got.flow.id + 1;
  other.flow.present |= has::kId;
  EXPECT_EQ(ENOENT, write_one(table, WriteOp::destroy, other).error);
  EXPECT_EQ(0, write_one(table, WriteOp::destroy, got).error);
  EXPECT_FALSE(table.get(r.flow.orig, got).value());
}

TEST_F(Live, FlowWithoutTimeoutGetsTheProtocolsDefault) {
  auto& table = open_table();
  auto r = make_tcp(1);
  r.flow.present &= ~has::kTimeout;
  EXPECT_NEAR(432000, write_and_get(table, r).flow.timeout, 2);
}

}  // namespace
}  // namespace ctsync::kernel::test
