// SPDX-License-Identifier: GPL-2.0-or-later
// Which of two pictures of a flow is the older one.
#include "conflict.h"

#include <gtest/gtest.h>

#include "ctsync/flow/progress.h"

namespace ctsync::kernel::test {
namespace {

constexpr std::uint32_t kUnreplied = status::kConfirmed;
constexpr std::uint32_t kReplied = kUnreplied | status::kSeenReply;
constexpr std::uint32_t kStream = kReplied | status::kAssured;

FlowRecord wire(std::uint8_t l4, std::uint32_t status, std::uint8_t state = 0) {
  FlowRecord r;
  auto& f = r.flow;
  f.orig = {.src = {10, 0, 0, 1},
            .dst = {10, 0, 0, 2},
            .src_port = 1000,
            .dst_port = 80,
            .zone = 0,
            .l4 = l4,
            .family = Family::ipv4};
  f.status = status;
  f.proto_state = state;
  f.present = has::kPorts | has::kStatus | (state != 0 ? has::kProtoState : 0);
  return r;
}

FlowRecord kernel(std::uint8_t l4, std::uint32_t status, std::uint8_t state = 0) {
  auto r = wire(l4, status | status::kSrcNatDone | status::kDstNatDone, state);
  const auto reply = inverse(r.flow.orig);
  r.flow.reply_src = reply.src;
  r.flow.reply_dst = reply.dst;
  r.flow.reply_src_port = reply.src_port;
  r.flow.reply_dst_port = reply.dst_port;
  r.flow.present |= has::kReply;
  return r;
}

Verdict tcp(std::uint32_t there, std::uint8_t there_state, std::uint32_t ours, std::uint8_t our_state) {
  return judge(kernel(kTcp, there, there_state), wire(kTcp, ours, our_state));
}

TEST(Judge, EntryThatIsFurtherOnIsKept) {
  EXPECT_EQ(Verdict::keep, tcp(kStream, 3, kReplied, 2));
  EXPECT_EQ(Verdict::keep, tcp(kStream, 3, kUnreplied, 1));
  EXPECT_EQ(Verdict::keep, tcp(kStream, 4, kStream, 3));   // FIN_WAIT and ESTABLISHED
  EXPECT_EQ(Verdict::keep, tcp(kStream, 3, kReplied, 8));  // an aborted attempt of the past
  EXPECT_EQ(Verdict::keep, judge(kernel(kUdp, kStream), wire(kUdp, kReplied)));
  EXPECT_EQ(Verdict::keep, judge(kernel(kUdp, kReplied), wire(kUdp, kUnreplied)));
  EXPECT_EQ(Verdict::keep, judge(kernel(kSctp, kStream, 4), wire(kSctp, kReplied, 3)));
  EXPECT_EQ(Verdict::keep, judge(kernel(kDccp, kStream, 5), wire(kDccp, kStream, 4)));
}

TEST(Judge, EntryThatIsNotFurtherOnIsMerged) {
  EXPECT_EQ(Verdict::merge, tcp(kStream, 3, kStream, 3));
  EXPECT_EQ(Verdict::merge, tcp(kReplied, 2, kStream, 3));
  EXPECT_EQ(Verdict::merge, tcp(kStream, 3, kStream, 4));
  EXPECT_EQ(Verdict::merge, tcp(kStream, 7, kStream, 8));  // both closed
  EXPECT_EQ(Verdict::merge, judge(kernel(kUdp, kStream), wire(kUdp, kStream)));
  EXPECT_EQ(Verdict::merge, judge(kernel(kUdp, kUnreplied), wire(kUdp, kReplied)));
}

TEST(Judge, ClosedEntryMakesRoomForAFlowThatUsesItsPortsAgain) {
  for (const auto closed : {std::uint8_t{7}, std::uint8_t{8}}) {
    EXPECT_EQ(Verdict::replace, tcp(kStream, closed, kStream, 3)) << int{closed};
    EXPECT_EQ(Verdict::replace, tcp(kStream, closed, kUnreplied, 1)) << int{closed};
  }
  EXPECT_EQ(Verdict::replace, judge(kernel(kSctp, kStream, 7), wire(kSctp, kStream, 4)));
  EXPECT_EQ(Verdict::replace, judge(kernel(kDccp, kStream, 7), wire(kDccp, kStream, 4)));
}

TEST(Judge, EntryWithAnotherTranslationIsAnotherFlow) {
  auto there = kernel(kTcp, kStream, 3);
  there.flow.reply_dst = {192, 0, 2, 9};
  auto ours = wire(kTcp, kReplied, 2);
  // The wire tells no NAT: it may be the same flow, which must not be lost.
  EXPECT_EQ(Verdict::keep, judge(there, ours));
  ours.flow.reply_dst = {192, 0, 2, 8};
  ours.flow.present |= has::kSnat;
  EXPECT_EQ(Verdict::replace, judge(there, ours));
  ours.flow.reply_dst = there.flow.reply_dst;
  EXPECT_EQ(Verdict::keep, judge(there, ours));
  // Not further on, and an update could not take the NAT away.
  EXPECT_EQ(Verdict::replace, judge(there, wire(kTcp, kStream, 3)));
}

TEST(Judge, EntryOfTheOtherDirectionIsAnotherFlow) {
  auto there = kernel(kTcp, kStream, 3);
  there.flow.orig = inverse(there.flow.orig);
  EXPECT_EQ(Verdict::replace, judge(there, wire(kTcp, kReplied, 2)));
}

TEST(Judge, WhatOnlyACreationCanWriteIsCreated) {
  auto there = kernel(kTcp, kStream, 3);
  auto ours = wire(kTcp, kStream, 3);
  ours.extra.helper = {'f', 't', 'p'};
  ours.flow.present |= has::kHelper;
  EXPECT_EQ(Verdict::replace, judge(there, ours));
  there.extra.helper = {'s', 'i', 'p'};
  there.flow.present |= has::kHelper;
  EXPECT_EQ(Verdict::replace, judge(there, ours));
  there.extra.helper = ours.extra.helper;
  EXPECT_EQ(Verdict::merge, judge(there, ours));
  ours.flow.present |= has::kMaster;
  EXPECT_EQ(Verdict::replace, judge(there, ours));
  there.flow.present |= has::kMaster;
  EXPECT_EQ(Verdict::merge, judge(there, ours));
}

TEST(Judge, OffloadedEntryIsEstablished) {
  EXPECT_EQ(Verdict::keep, tcp(kStream | status::kOffload, 0, kReplied, 2));
  EXPECT_EQ(Verdict::merge, tcp(kStream | status::kOffload, 0, kStream, 3));
}

TEST(MayGoOn, UntilAConnectionHasBegunToEnd) {
  EXPECT_TRUE(may_go_on(wire(kTcp, kReplied, 2).flow));
  EXPECT_TRUE(may_go_on(wire(kTcp, kStream, 3).flow));
  EXPECT_TRUE(may_go_on(wire(kTcp, kStream).flow));  // offloaded: established
  EXPECT_TRUE(may_go_on(wire(kSctp, kStream, 4).flow));
  EXPECT_TRUE(may_go_on(wire(kUdp, kReplied).flow));
  EXPECT_FALSE(may_go_on(wire(kTcp, kStream, 4).flow));  // a closed entry is no live one
  EXPECT_FALSE(may_go_on(wire(kTcp, kStream, 7).flow));
  EXPECT_FALSE(may_go_on(wire(kUdp, kStream).flow));
}

TEST(MergedStatus, TakesNothingBackThatTheKernelWillNotGive) {
  EXPECT_EQ(kStream, merged_status(kernel(kTcp, kReplied).flow, wire(kTcp, kStream).flow));
  EXPECT_EQ(kStream, merged_status(kernel(kTcp, kStream).flow, wire(kTcp, kUnreplied).flow));
  EXPECT_EQ(kStream, merged_status(kernel(kTcp, kReplied).flow, wire(kTcp, kStream | status::kExpected).flow));
  EXPECT_EQ(kStream | status::kExpected,
            merged_status(kernel(kTcp, kStream | status::kExpected).flow, wire(kTcp, kStream).flow));
}

}  // namespace
}  // namespace ctsync::kernel::test
