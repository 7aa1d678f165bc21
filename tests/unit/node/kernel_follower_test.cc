// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_follower.h"

#include <vector>

#include "follower_fixture.h"

namespace ctsync::node::test {
namespace {

using table::FlowState;
using Numbers = std::vector<std::uint16_t>;

FlowRecord with_state(FlowRecord r, std::uint8_t state) {
  r.flow.proto_state = state;
  return r;
}

FlowRecord with_id(FlowRecord r, std::uint32_t id) {
  r.flow.id = id;
  return r;
}

FlowRecord without_id(FlowRecord r) {
  r.flow.present &= ~has::kId;
  return r;
}

// --- The event table of spec replication.md 4.3 ---

TEST_F(FollowerTest, NewAndUpdateOfAnUnknownFlowInsert) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::update, kernel_flow(2));
  EXPECT_EQ(state_of(1), FlowState::new_);
  EXPECT_EQ(state_of(2), FlowState::new_);
  EXPECT_EQ(sent(), (Lines{"NEW 1", "NEW 2"}));
}

TEST_F(FollowerTest, UpdateOfALiveFlowMerges) {
  auto marked = kernel_flow(1);
  marked.flow.mark = 7;
  marked.flow.present |= has::kMark;
  event(EventType::new_, marked);
  event(EventType::update, with_state(kernel_flow(1), 4));
  EXPECT_EQ(state_of(1), FlowState::alive);
  EXPECT_EQ(cached(1).proto_state, 4);
  EXPECT_TRUE(cached(1).knows(has::kMark));
  EXPECT_EQ(sent(), Lines{"UPD 1"});
}

TEST_F(FollowerTest, NewOfALiveFlowReplaces) {
  auto marked = kernel_flow(1);
  marked.flow.mark = 7;
  marked.flow.present |= has::kMark;
  event(EventType::new_, marked);
  event(EventType::new_, kernel_flow(1));
  EXPECT_EQ(state_of(1), FlowState::new_);
  EXPECT_FALSE(cached(1).knows(has::kMark));
  EXPECT_EQ(sent(), Lines{"NEW 1"});
}

TEST_F(FollowerTest, DestroyOfALiveFlowIsKeptUntilItIsAcknowledged) {
  event(EventType::new_, kernel_flow(1));
  sent();
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(state_of(1), FlowState::dead);
  EXPECT_EQ(sent(), Lines{"DEL 1"});
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{});
  acknowledge();
  EXPECT_EQ(flows_.total(), 0U);
}

TEST_F(FollowerTest, DestroyOfAnUnknownFlowIsIgnored) {
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(flows_.total(), 0U);
  EXPECT_EQ(flows_.stats().destroyed, 0U);
  EXPECT_EQ(sent(), Lines{});
}

TEST_F(FollowerTest, EventOfADeadFlowBeginsAnother) {
  for (const auto type : {EventType::new_, EventType::update}) {
    event(EventType::new_, kernel_flow(1));
    sent();
    event(EventType::destroy, kernel_flow(1));
    EXPECT_EQ(sent(), Lines{"DEL 1"});
    event(type, with_id(kernel_flow(1), 5));
    EXPECT_EQ(state_of(1), FlowState::new_);
    EXPECT_EQ(cached(1).id, 5U);
    EXPECT_EQ(sent(), Lines{"NEW 1"});
    event(EventType::destroy, with_id(kernel_flow(1), 5));
    sent();
    acknowledge();
    ASSERT_EQ(flows_.total(), 0U);
  }
}

// --- Origins, spec 4.4 ---

TEST_F(FollowerTest, WhatCommitAndFlushChangeIsCachedAndNotSent) {
  for (const auto origin : {Origin::commit, Origin::flush}) {
    event(EventType::new_, kernel_flow(1), origin);
    EXPECT_TRUE(is_cached(1));
    event(EventType::update, kernel_flow(1), origin);
    event(EventType::destroy, kernel_flow(1), origin);
    EXPECT_EQ(flows_.total(), 0U);
    EXPECT_EQ(sent(), Lines{});
    store_->caught_up();
  }
}

TEST_F(FollowerTest, WhatTheInjectionChangesIsIgnored) {
  event(EventType::new_, kernel_flow(1), Origin::inject);
  EXPECT_FALSE(is_cached(1));
  event(EventType::new_, kernel_flow(1));
  event(EventType::destroy, kernel_flow(1), Origin::inject);
  EXPECT_TRUE(is_cached(1));
}

// --- Filter, spec 4.6 ---

TEST_F(FollowerTest, FilterRefusesAndCounts) {
  filter_.set_protocols(FilterAction::accept, {kUdp});
  event(EventType::new_, kernel_flow(1));
  auto udp = kernel_flow(2);
  udp.flow.orig.l4 = kUdp;
  event(EventType::new_, udp);
  EXPECT_EQ(flows_.live(), 1U);
  EXPECT_EQ(follower_->stats().filtered, 1U);
}

TEST_F(FollowerTest, StateFilterNeverHidesTheEndOfAFlow) {
  filter_.set_tcp_states(FilterAction::accept, FlowFilter::TcpStates(1U << 3));
  event(EventType::new_, with_state(kernel_flow(1), 1));
  EXPECT_FALSE(is_cached(1));
  event(EventType::update, with_state(kernel_flow(1), 3));
  EXPECT_TRUE(is_cached(1));
  event(EventType::destroy, with_state(kernel_flow(1), 7));
  EXPECT_FALSE(is_cached(1));
  EXPECT_EQ(sent(), Lines{"DEL 1"});
}

// --- Limits and odd events ---

class SmallFollowerTest : public FollowerTest {
 protected:
  SmallFollowerTest() : FollowerTest(2) {}
};

TEST_F(SmallFollowerTest, FullTableGivesUpAFlowThatOnlyWaitsForAcknowledgement) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::new_, kernel_flow(2));
  event(EventType::new_, kernel_flow(3));
  EXPECT_FALSE(is_cached(3));
  EXPECT_EQ(flows_.stats().create_no_space, 1U);
  sent();
  event(EventType::destroy, kernel_flow(1));
  sent();
  event(EventType::new_, kernel_flow(3));
  EXPECT_TRUE(is_cached(2));
  EXPECT_TRUE(is_cached(3));
}

TEST_F(FollowerTest, BadEventsAreCountedAndLoggedNowAndThen) {
  for (int i = 0; i < 5; ++i) follower_->on_bad_event(kernel::DecodeStatus::no_addresses);
  clock_.advance(std::chrono::seconds(11));
  follower_->on_bad_event(kernel::DecodeStatus::no_family);
  EXPECT_EQ(follower_->stats().filtered, 6U);
  EXPECT_EQ(log_.lines, (Lines{"[ERROR] kernel event without addresses",
                               "[ERROR] kernel event without layer 3 protocol", "[ERROR] 4 more such events"}));
}

// Lost events: the end of one flow and the beginning of the next with its tuple. The update of that was merged into the
// earlier flow, whose NAT stayed for good.
TEST_F(FollowerTest, UpdateOfALaterFlowReplacesTheEarlierOne) {
  event(EventType::new_, kernel_flow(1));
  auto later = kernel_flow(1);
  later.flow.id = 77;
  later.flow.reply_dst = {192, 0, 2, 1};
  event(EventType::update, later);
  EXPECT_EQ(cached(1).id, 77U);
  EXPECT_EQ(cached(1).reply_dst, later.flow.reply_dst);
}

TEST_F(FollowerTest, OverrunIsLoggedAndTold) {
  int overruns = 0;
  follower_->overrun = [&] { ++overruns; };
  follower_->on_overrun(kernel::BufferGrowth::doubled, 425984);
  follower_->on_overrun(kernel::BufferGrowth::refused, 425984);
  follower_->on_overrun(kernel::BufferGrowth::refused, 425984);
  EXPECT_EQ(overruns, 3);
  ASSERT_EQ(log_.lines.size(), 2U);
  EXPECT_EQ(log_.lines[0], "[notice] netlink event socket buffer size has been doubled to 425984 bytes");
  EXPECT_TRUE(log_.lines[1].starts_with("[warning] netlink event socket buffer size cannot be doubled further"));
  // Not once for ever, but not for each overrun either.
  clock_.advance(std::chrono::seconds(61));
  follower_->on_overrun(kernel::BufferGrowth::refused, 425984);
  ASSERT_EQ(log_.lines.size(), 4U);
  EXPECT_EQ(log_.lines[2], log_.lines[1]);
  EXPECT_EQ(log_.lines[3], "[warning] kernel events were lost 1 more times since the last warning");
}

// --- Tuples that are used again ---

// Reliable events are repeated until there is room: the end of a flow may be told after its successor began.
TEST_F(FollowerTest, LateEndOfAnEarlierFlowDoesNotEndTheLaterOne) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::new_, with_id(kernel_flow(1), 6));
  event(EventType::destroy, with_id(kernel_flow(1), 5));
  EXPECT_TRUE(is_cached(1));
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  event(EventType::destroy, with_id(kernel_flow(1), 6));
  EXPECT_EQ(sent(), Lines{"DEL 1"});
}

// What our own flush deletes is told at once, while earlier events of that flow may still wait in the socket.
TEST_F(FollowerTest, EventFromBeforeTheFlushDoesNotBringAFlowBack) {
  event(EventType::new_, kernel_flow(1));
  sent();
  event(EventType::destroy, kernel_flow(1), Origin::flush);
  event(EventType::destroy, kernel_flow(2), Origin::flush);  // deleted before its first event was read
  event(EventType::update, kernel_flow(1));
  event(EventType::new_, kernel_flow(2));
  EXPECT_EQ(flows_.live(), 0U);
  EXPECT_EQ(sent(), Lines{});
  event(EventType::new_, with_id(kernel_flow(1), 5));  // the packet after the flush
  EXPECT_TRUE(is_cached(1));
  event(EventType::update, with_id(kernel_flow(1), 5));
  EXPECT_EQ(state_of(1), FlowState::alive);
}

TEST_F(FollowerTest, FlushTheKernelDidBeforeTheNextFlowDoesNotEndThatOne) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::new_, with_id(kernel_flow(1), 6));
  event(EventType::destroy, with_id(kernel_flow(1), 5), Origin::flush);
  EXPECT_TRUE(is_cached(1));
}

TEST_F(FollowerTest, CommittedFlowHasNoIdUntilTheKernelTellsIt) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::new_, without_id(kernel_flow(1)), Origin::commit);  // destroyed and created again
  event(EventType::destroy, with_id(kernel_flow(1), 6));
  EXPECT_FALSE(is_cached(1));
}

// Events of the flow that a commit replaced may still wait in the socket, its end among them.
TEST_F(FollowerTest, EventsFromBeforeTheCommitAreNotOfTheFlowThatItMade) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::new_, without_id(kernel_flow(1)), Origin::commit);
  auto late = with_id(kernel_flow(1), 5);
  late.flow.mark = 7;
  late.flow.present |= has::kMark;
  event(EventType::update, late);
  EXPECT_FALSE(cached(1).knows(has::kMark));
  event(EventType::destroy, late);
  EXPECT_TRUE(is_cached(1));
  event(EventType::update, with_id(kernel_flow(1), 6));
  event(EventType::destroy, with_id(kernel_flow(1), 6));
  EXPECT_FALSE(is_cached(1));
}

TEST_F(FollowerTest, EventsFromBeforeACommitThatCouldNotCreateAgainBringNothingBack) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::destroy, without_id(kernel_flow(1)), Origin::commit);
  event(EventType::update, with_id(kernel_flow(1), 5));
  EXPECT_EQ(flows_.live(), 0U);
}

// The commit ended a flow of which no event had been read, and what it made has ended, too, before that event is read.
TEST_F(FollowerTest, WhatACommitEndedUnheardStaysGone) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::new_, without_id(kernel_flow(1)), Origin::commit);
  event(EventType::destroy, with_id(kernel_flow(1), 5));
  event(EventType::new_, with_id(kernel_flow(1), 6));
  event(EventType::destroy, with_id(kernel_flow(1), 7));
  EXPECT_FALSE(is_cached(1));
}

// It began while new flows were not heard, and the peers know nothing of it. What a commit makes they know.
TEST_F(FollowerTest, WhatACommitMetUnheardIsTold) {
  event(EventType::update, without_id(kernel_flow(1)), Origin::commit);
  event(EventType::new_, without_id(kernel_flow(2)), Origin::commit);
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  store_->caught_up();
  event(EventType::update, without_id(kernel_flow(2)), Origin::commit);
  EXPECT_EQ(sent(), Lines{});
}

// Nor does a dump bring it back that was read before, though a flush has taken it out of the cache.
TEST_F(FollowerTest, WhatACommitEndedDuringADumpStaysGone) {
  store_->begin_load(Load::merge);
  event(EventType::destroy, without_id(kernel_flow(1)), Origin::commit);
  auto before = with_id(kernel_flow(1), 5);
  follower_->load_flow(before, Load::merge);
  EXPECT_FALSE(is_cached(1));
  event(EventType::new_, with_id(kernel_flow(1), 6));
  EXPECT_TRUE(is_cached(1));
  store_->end_load();
}

// The event of a change from before a commit comes after the commit has told what it wrote, and tells less than the kernel
// has by now.
TEST_F(FollowerTest, WhatACommitWroteIsReadAgainWhenEarlierEventsCome) {
  const auto marked = [](std::uint32_t mark, std::uint32_t id) {
    auto r = with_id(kernel_flow(1), id);
    r.flow.mark = mark;
    r.flow.present |= has::kMark;
    return r;
  };
  event(EventType::new_, marked(1, 5));
  kernel_.put(marked(3, 6));
  event(EventType::update, without_id(marked(3, 0)), Origin::commit);
  event(EventType::update, marked(2, 5));
  EXPECT_EQ(cached(1).mark, 3U);
  event(EventType::destroy, marked(2, 5));
  event(EventType::new_, marked(2, 6));
  EXPECT_EQ(cached(1).mark, 3U);
  EXPECT_TRUE(store_->waits_for_events());
  store_->caught_up();
  EXPECT_FALSE(store_->waits_for_events());
  event(EventType::update, marked(4, 6));
  EXPECT_EQ(cached(1).mark, 4U) << "nothing is older any more";
}

// The end of an earlier flow with the tuple made it forget that the later one was flushed: its beginning, told after that,
// brought it back for good.
TEST_F(FollowerTest, WhatAFlushEndedStaysEndedWhateverWasBefore) {
  event(EventType::new_, with_id(kernel_flow(1), 5));
  event(EventType::destroy, with_id(kernel_flow(1), 6), Origin::flush);
  event(EventType::destroy, with_id(kernel_flow(1), 5));
  event(EventType::new_, with_id(kernel_flow(1), 6));
  EXPECT_FALSE(is_cached(1));
}

// Events were lost: the entry that a commit made got the id of a later flow with the tuple, and kept its own translation.
TEST_F(FollowerTest, AFlowThatIsTranslatedOtherwiseIsNotWhatTheCommitMade) {
  const auto translated = [](std::uint8_t last) {
    auto r = kernel_flow(1);
    r.flow.status |= status::kSrcNat | status::kSrcNatDone;
    r.flow.reply_dst = {192, 0, 2, last};
    r.flow.present |= has::kSnat | has::kStatus;
    return r;
  };
  event(EventType::new_, without_id(translated(1)), Origin::commit);
  store_->caught_up();
  event(EventType::update, with_id(translated(2), 6));
  EXPECT_EQ(cached(1).reply_dst[3], 2);
}

// A peer that was told of a flow must not be left with what a commit has changed or replaced since.
TEST_F(FollowerTest, WhatACommitChangesOfAToldFlowIsTold) {
  event(EventType::new_, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  event(EventType::update, kernel_flow(1), Origin::commit);
  EXPECT_EQ(sent(), Lines{}) << "the same";
  event(EventType::update, with_state(kernel_flow(1), 7), Origin::commit);
  EXPECT_EQ(sent(), Lines{"UPD 1"});
  event(EventType::new_, without_id(kernel_flow(1)), Origin::commit);
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  event(EventType::destroy, kernel_flow(1), Origin::commit);
  event(EventType::new_, without_id(kernel_flow(1)), Origin::commit);
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  event(EventType::new_, without_id(kernel_flow(2)), Origin::commit);
  EXPECT_EQ(sent(), Lines{}) << "nobody knows it";
}

class YoungFollowerTest : public FollowerTest {
 protected:
  YoungFollowerTest() : FollowerTest(1000, Kind::sync, {.min_age = std::chrono::seconds(5)}) {}
};

// A peer has told of it, too.
TEST_F(YoungFollowerTest, WhatACommitChangesIsToldAtOnceAndSoIsItsEnd) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::update, with_state(kernel_flow(1), 7));
  EXPECT_EQ(sent(), Lines{});
  event(EventType::update, with_state(kernel_flow(1), 3), Origin::commit);
  EXPECT_EQ(sent(), Lines{"UPD 1"});
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"DEL 1"});
  event(EventType::new_, kernel_flow(2));
  event(EventType::new_, without_id(kernel_flow(2)), Origin::commit);
  event(EventType::destroy, with_id(kernel_flow(2), 77));
  EXPECT_EQ(sent().back(), "DEL 2") << "that of what the commit has put in its place";
}

// --- Dumps ---

// A part of a dump is older than what was committed since it was read. With the id of the flow that the commit replaced
// the end of the committed one would be taken for that of another, and it would stay for ever.
TEST_F(FollowerTest, DumpEntryFromBeforeTheCommitIsNotTheFlowThatItMade) {
  for (const bool was_cached : {true, false}) {
    for (const auto load : {Load::merge, Load::mend}) {
      if (was_cached) event(EventType::new_, with_id(kernel_flow(1), 5));
      store_->begin_load(load);
      event(EventType::new_, without_id(kernel_flow(1)), Origin::commit);
      auto old = with_id(kernel_flow(1), 5);
      old.extra.labels = {1, 2, 3, 4};
      old.flow.present |= has::kLabels;
      follower_->load_flow(old, load);
      EXPECT_TRUE(is_cached(1));
      EXPECT_FALSE(cached(1).knows(has::kLabels));
      store_->end_load();
      event(EventType::destroy, with_id(kernel_flow(1), 6), Origin::flush);
      EXPECT_FALSE(is_cached(1));
      store_->caught_up();
    }
  }
}

TEST_F(FollowerTest, FirstDumpFillsTheCacheAndTellsNobody) {
  auto r = kernel_flow(1);
  store_->begin_load(Load::start);
  follower_->load_flow(r, Load::start);
  store_->end_load();
  EXPECT_TRUE(is_cached(1));
  EXPECT_EQ(sent(), Lines{});
}

TEST_F(FollowerTest, DumpEntryFromBeforeTheEndDoesNotBringAFlowBack) {
  event(EventType::new_, kernel_flow(1));
  sent();
  store_->begin_load(Load::mend);
  event(EventType::destroy, kernel_flow(1));
  event(EventType::destroy, kernel_flow(2));  // never cached, but in the dump
  for (const auto n : Numbers{1, 2}) {
    auto r = kernel_flow(n);
    follower_->load_flow(r, Load::mend);
  }
  store_->caught_up();  // of no effect while the dump lasts
  auto again = kernel_flow(2);
  follower_->load_flow(again, Load::mend);
  EXPECT_EQ(flows_.live(), 0U);
  auto other = with_id(kernel_flow(2), 5);  // but another flow may have the tuple
  follower_->load_flow(other, Load::mend);
  EXPECT_TRUE(is_cached(2));
  store_->end_load();
  EXPECT_EQ(sent(), (Lines{"DEL 1", "NEW 2"}));
}

// It was freed at once: tens of milliseconds for a million flows.
TEST_F(FollowerTest, WhatADumpMadeItRememberIsFreedInSlices) {
  store_->begin_load(Load::merge);
  for (std::uint16_t n = 1; n <= 20000; ++n) event(EventType::destroy, kernel_flow(n));
  event(EventType::update, kernel_flow(20001));
  store_->end_load();
  EXPECT_FALSE(store_->has_leftovers()) << "still needed, or not worth it";
  event(EventType::update, kernel_flow(20000));
  EXPECT_FALSE(is_cached(20000)) << "older than its end";
  store_->caught_up();
  event(EventType::update, kernel_flow(20000));
  EXPECT_TRUE(is_cached(20000));
  int slices = 1;
  while (!store_->free_leftovers(TimePoint::min())) ++slices;
  EXPECT_GT(slices, 100);
  EXPECT_FALSE(store_->has_leftovers());
}

TEST_F(FollowerTest, SweepEndsWhatTheDumpDidNotShow) {
  for (const auto n : Numbers{1, 2, 3}) event(EventType::new_, kernel_flow(n));
  sent();
  store_->begin_load(Load::mend);
  event(EventType::new_, kernel_flow(4));  // born during the dump, not in it
  event(EventType::update, kernel_flow(3));
  sent();
  auto seen = kernel_flow(1);
  follower_->load_flow(seen, Load::mend);
  Walk walk;
  EXPECT_TRUE(store_->sweep(walk, {}, TimePoint::max()));
  store_->end_load();
  EXPECT_TRUE(is_cached(1));
  EXPECT_FALSE(is_cached(2));
  EXPECT_TRUE(is_cached(3));
  EXPECT_TRUE(is_cached(4));
  EXPECT_EQ(sent(), Lines{"DEL 2"});
}

TEST_F(FollowerTest, SweepStopsWhenItsTimeIsOver) {
  for (std::uint16_t n = 1; n <= 200; ++n) event(EventType::new_, kernel_flow(n));
  store_->begin_load(Load::mend);
  Walk walk;
  int turns = 1;
  while (!store_->sweep(walk, {}, TimePoint::min())) ++turns;
  store_->end_load();
  EXPECT_EQ(turns, 7);
  EXPECT_EQ(flows_.live(), 0U);
}

TEST_F(FollowerTest, MendingTellsWhatChangedOnly) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::new_, kernel_flow(2));
  event(EventType::new_, kernel_flow(3));
  sent();
  store_->begin_load(Load::mend);
  auto same = kernel_flow(1);
  same.flow.timeout = 100;  // always another
  auto changed = with_state(kernel_flow(2), 4);
  auto other = with_id(kernel_flow(3), 5);
  auto missed = kernel_flow(4);
  for (auto* r : {&same, &changed, &other, &missed}) follower_->load_flow(*r, Load::mend);
  store_->end_load();
  EXPECT_EQ(sent(), (Lines{"UPD 2", "NEW 3", "NEW 4"}));
}

TEST_F(FollowerTest, ResyncMergesAndTellsNobodyAndRepeatTellsAll) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::new_, kernel_flow(2));
  sent();
  for (const auto load : {Load::merge, Load::repeat}) {
    store_->begin_load(load);
    auto known = with_state(kernel_flow(1), 4);
    auto missed = kernel_flow(3);
    follower_->load_flow(known, load);
    follower_->load_flow(missed, load);
    store_->end_load();
    EXPECT_EQ(cached(1).proto_state, 4);
    EXPECT_TRUE(is_cached(3));
    EXPECT_TRUE(is_cached(2)) << "nothing is removed without a sweep";
    EXPECT_EQ(sent(), load == Load::merge ? Lines{} : (Lines{"UPD 1", "UPD 3"}));
  }
}

TEST_F(FollowerTest, FilterHoldsForDumpsToo) {
  filter_.set_protocols(FilterAction::ignore, {kTcp});
  auto r = kernel_flow(1);
  store_->begin_load(Load::start);
  follower_->load_flow(r, Load::start);
  store_->end_load();
  EXPECT_EQ(flows_.total(), 0U);
}

// --- The rest ---

TEST_F(FollowerTest, TrafficOfFlowsThatEndIsCounted) {
  auto r = kernel_flow(1);
  r.flow.present |= has::kCounters;
  r.extra.counters_orig = {.packets = 3, .bytes = 1ULL << 33};
  r.extra.counters_reply = {.packets = 2, .bytes = 5};
  event(EventType::destroy, r);  // not cached: not counted
  EXPECT_EQ(store_->traffic().packets, 0U);
  event(EventType::new_, kernel_flow(1));
  event(EventType::destroy, r);
  EXPECT_EQ(store_->traffic().bytes, (1ULL << 33) + 5);
  EXPECT_EQ(store_->traffic().packets, 5U);
}

TEST_F(FollowerTest, SequenceAdjustmentsAreFetched) {
  auto full = kernel_flow(1);
  full.flow.status |= status::kSeqAdjust;
  auto told = full;
  full.flow.present |= has::kSeqAdjOrig | has::kSeqAdjReply;
  full.extra.seqadj_orig = {.correction_pos = 1, .offset_before = 2, .offset_after = 3};
  full.extra.seqadj_reply = {};
  kernel_.put(full);
  event(EventType::update, told);
  const auto id = flows_.find(told.flow.orig);
  ASSERT_TRUE(flows_.slot(id).flow.knows(has::kSeqAdjOrig));
  EXPECT_EQ(flows_.extra(id)->seqadj_orig.offset_after, 3U);
  EXPECT_EQ(kernel_.queries, 1);
}

TEST_F(FollowerTest, FlushEmptiesTheCachesAndTellsNobody) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::new_, kernel_flow(2));
  event(EventType::new_, expectation(1, 20));
  event(EventType::destroy, kernel_flow(2));
  store_->begin_flush({.flows = true, .expectations = true});
  Walk walk;
  EXPECT_TRUE(store_->flush(walk, TimePoint::max()));
  EXPECT_EQ(flows_.total(), 0U);
  EXPECT_EQ(expectations_.total(), 0U);
  EXPECT_EQ(sent(), Lines{});
}

// From the beginning of a flush on what was there counts as gone, whatever the walk has reached; what comes later
// stays.
TEST_F(FollowerTest, FlushInSlicesIsAsOneAtOnce) {
  for (std::uint16_t n = 1; n <= 250; ++n) event(EventType::new_, kernel_flow(n));
  sent();
  acknowledge();
  store_->begin_flush({});
  Walk walk;
  EXPECT_FALSE(store_->flush(walk, TimePoint::min())) << "its time was over";
  EXPECT_LT(flows_.total(), 250U);
  EXPECT_GT(flows_.total(), 150U);
  event(EventType::destroy, kernel_flow(250));  // was flushed: nothing to tell
  event(EventType::update, kernel_flow(249));   // as after the flush: a flow not known before
  event(EventType::new_, kernel_flow(301));     // in the place of one that is gone
  EXPECT_FALSE(store_->has_flow(kernel_flow(248).flow.orig));
  EXPECT_EQ(sent(), (Lines{"NEW 249", "NEW 301"}));
  int turns = 1;
  while (!store_->flush(walk, TimePoint::min())) ++turns;
  EXPECT_GE(turns, 2);
  EXPECT_EQ(flows_.total(), 2U);
  EXPECT_TRUE(is_cached(249));
  EXPECT_TRUE(is_cached(301));
  EXPECT_EQ(sent(), Lines{});
  event(EventType::destroy, kernel_flow(249));
  EXPECT_EQ(sent(), Lines{"DEL 249"});
}

// --- Expectations ---

TEST_F(FollowerTest, ExpectationsFollowTheSameTable) {
  event(EventType::new_, kernel_flow(1));
  sent();
  event(EventType::new_, expectation(1, 20));
  EXPECT_EQ(sent(), Lines{"EXP_NEW 20"});
  event(EventType::update, expectation(1, 20));
  EXPECT_EQ(sent(), Lines{"EXP_UPD 20"});
  event(EventType::destroy, expectation(1, 20));
  event(EventType::destroy, expectation(1, 20));
  EXPECT_EQ(sent(), Lines{"EXP_DEL 20"});
  event(EventType::update, expectation(1, 20));
  EXPECT_EQ(sent(), Lines{"EXP_NEW 20"});
  event(EventType::new_, expectation(1, 21), Origin::commit);
  EXPECT_EQ(sent(), Lines{});
  event(EventType::new_, expectation(1, 22), Origin::inject);
  EXPECT_EQ(expectations_.live(), 2U);
}

TEST_F(FollowerTest, ExpectationOfAnotherHelperIsRefused) {
  helpers_ = HelperFilter({"SIP", "ft"});
  event(EventType::new_, kernel_flow(1));
  event(EventType::new_, expectation(1, 20));
  EXPECT_EQ(expectations_.live(), 1U) << "the beginning of the name decides, in any case";
  helpers_ = HelperFilter({"h323"});
  event(EventType::new_, expectation(1, 21));
  auto nameless = expectation(1, 22);
  nameless.present &= ~expect_has::kHelper;
  event(EventType::new_, nameless);
  EXPECT_EQ(expectations_.live(), 1U);
  EXPECT_EQ(follower_->stats().filtered, 2U);
}

TEST_F(FollowerTest, ExpectationWaitsForItsMaster) {
  event(EventType::new_, expectation(1, 20));
  event(EventType::new_, expectation(1, 21));
  event(EventType::new_, expectation(2, 22));
  event(EventType::destroy, expectation(1, 21));
  EXPECT_EQ(expectations_.live(), 0U);
  EXPECT_GT(later_, 0);
  event(EventType::new_, kernel_flow(1));
  EXPECT_TRUE(follower_->catch_up(TimePoint::max()));
  EXPECT_EQ(sent(), (Lines{"NEW 1", "EXP_NEW 20"}));
  event(EventType::new_, kernel_flow(2));
  EXPECT_TRUE(follower_->catch_up(TimePoint::max()));
  EXPECT_EQ(expectations_.live(), 1U) << "it waits once only";
}

TEST_F(FollowerTest, ExpectationsOfADump) {
  event(EventType::new_, kernel_flow(1));
  for (const auto n : Numbers{20, 21}) event(EventType::new_, expectation(1, n));
  sent();
  store_->begin_load(Load::mend);
  event(EventType::destroy, expectation(1, 22));
  for (const auto n : Numbers{20, 22, 23}) {
    auto e = expectation(1, n);
    follower_->load_expectation(e, Load::mend);
  }
  Walk walk;
  store_->sweep(walk, {.flows = false, .expectations = true}, TimePoint::max());
  store_->end_load();
  EXPECT_EQ(expectations_.live(), 2U);
  EXPECT_EQ(sent(), (Lines{"EXP_NEW 23", "EXP_DEL 21"}));
}

// --- Without internal cache ---

class BypassTest : public FollowerTest {
 protected:
  BypassTest() : FollowerTest(1000, Kind::bypass) {}
};

TEST_F(BypassTest, ForeignEventsAreHandedOn) {
  event(EventType::new_, kernel_flow(1));
  event(EventType::update, kernel_flow(1));
  event(EventType::destroy, kernel_flow(1));
  for (const auto origin : {Origin::commit, Origin::flush, Origin::inject})
    event(EventType::new_, kernel_flow(2), origin);
  EXPECT_EQ(sent(), (Lines{"NEW 1", "UPD 1", "DEL 1"}));
  const auto n = std::get<text::BypassNumbers>(store_->flow_numbers());
  EXPECT_EQ(n.created, 1U);
  EXPECT_EQ(n.updated, 1U);
  EXPECT_EQ(n.destroyed, 1U);
}

TEST_F(BypassTest, MastersOfExpectationsAreLookedUpInTheKernel) {
  kernel_.put(kernel_flow(1));
  event(EventType::new_, expectation(1, 20));
  event(EventType::new_, expectation(2, 21));
  event(EventType::destroy, expectation(1, 20));
  EXPECT_EQ(sent(), (Lines{"EXP_NEW 20", "EXP_DEL 20"}));
}

// A copy that a peer gave us runs out in our kernel, which sees none of its packets, while the flow lives on over
// there.
TEST_F(BypassTest, TheEndOfACopyIsNobodysBusiness) {
  copies_.given(kernel_flow(1).flow);
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{});
  event(EventType::new_, kernel_flow(1));  // the tuple is used again, here
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), (Lines{"NEW 1", "DEL 1"}));
}

// The event that the first copy has run out came after the second had been written: that one was taken for a flow of
// this node, and its end ended the live flow of the peer.
TEST_F(BypassTest, ACopyThatIsGivenAgainStaysOne) {
  copies_.given(kernel_flow(1).flow);
  store_->caught_up();
  kernel_.put(kernel_flow(1));
  copies_.given(kernel_flow(1).flow);
  event(EventType::destroy, kernel_flow(1));
  store_->caught_up();
  kernel_.flows.clear();
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{});
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"DEL 1"}) << "it is remembered no longer than it lasts";
}

TEST_F(BypassTest, ACopyThatPacketsTouchIsALiveFlow) {
  copies_.given(kernel_flow(1).flow);
  event(EventType::update, kernel_flow(1));
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), (Lines{"UPD 1", "DEL 1"}));
  copies_.given(kernel_flow(2).flow);
  copies_.forget(kernel_flow(2).flow.orig);
  event(EventType::destroy, kernel_flow(2));
  EXPECT_EQ(sent(), Lines{"DEL 2"});
}

// --- DisableExternalCache, with an internal cache ---

class InjectingTest : public FollowerTest {
 protected:
  using Wanted = Injection::Wanted;

  InjectingTest() : FollowerTest(1000, Kind::injecting) {}

  // The word of a peer, and what came of it.
  Wanted hear(wire::MsgType type, const FlowRecord& r, kernel::WritePhase phase = kernel::WritePhase::update) {
    const auto wanted = cache_->judge(type, r.flow);
    const auto op = type == wire::MsgType::flow_delete   ? kernel::WriteOp::destroy
                    : type == wire::MsgType::flow_update ? kernel::WriteOp::update
                                                         : kernel::WriteOp::create;
    if (wanted != Wanted::no) cache_->written({.cookie = 0, .op = op, .phase = phase, .error = 0}, r.flow);
    return wanted;
  }
  void hear_copy(std::uint16_t n) {
    hear(wire::MsgType::flow_new, wire_flow(n), kernel::WritePhase::create);
    store_->caught_up();
  }
  // A dump that shows these.
  void dump(std::vector<FlowRecord> shown, Load load) {
    store_->begin_load(load);
    for (auto& r : shown) follower_->load_flow(r, load);
    store_->end_load();
    Walk walk;
    while (sweeps(load) && !store_->sweep(walk, {}, TimePoint::max())) {
    }
    store_->caught_up();
  }
};

TEST_F(InjectingTest, ADumpTakesNoCopy) {
  hear_copy(1);
  for (const auto load : {Load::merge, Load::mend, Load::repeat}) {
    dump({kernel_flow(1), kernel_flow(2)}, load);
    EXPECT_FALSE(is_cached(1));
    EXPECT_TRUE(is_cached(2));
  }
  EXPECT_EQ(sent(), Lines{"UPD 2"});
  dump({kernel_flow(1), kernel_flow(2)}, Load::mend);
  EXPECT_TRUE(store_->compared().all_same());
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{});
  event(EventType::new_, kernel_flow(1));  // the tuple is used again, here
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"DEL 1"});
}

TEST_F(InjectingTest, ACopyThatPacketsTouchLivesHere) {
  hear_copy(1);
  event(EventType::update, with_mark(kernel_flow(1), 7));
  EXPECT_EQ(sent(), Lines{"UPD 1"}) << "an update, for the peers know it";
  dump({with_mark(kernel_flow(1), 7)}, Load::mend);
  EXPECT_TRUE(store_->compared().all_same());
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"DEL 1"});
}

TEST_F(InjectingTest, ADumpShowsThatPacketsHaveTouchedACopy) {
  hear_copy(1);
  dump({with_mark(kernel_flow(1), 7)}, Load::mend);
  EXPECT_EQ(store_->compared().missing, 1U);
  EXPECT_EQ(sent(), Lines{"UPD 1"});
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"DEL 1"});
}

// What a part of a dump shows may be older than what a peer has said since it was read.
TEST_F(InjectingTest, ADumpUnderWayDoesNotUndoWhatAPeerSaid) {
  hear_copy(1);
  store_->begin_load(Load::mend);
  hear(wire::MsgType::flow_delete, wire_flow(1), kernel::WritePhase::destroy);
  hear(wire::MsgType::flow_update, with_mark(wire_flow(2), 7), kernel::WritePhase::create_instead);
  for (const auto n : Numbers{1, 2}) {
    auto r = kernel_flow(n);
    follower_->load_flow(r, Load::mend);
  }
  store_->end_load();
  EXPECT_EQ(flows_.live(), 0U);
  EXPECT_EQ(sent(), Lines{});
}

// Whether they are copies nobody knows. They are told, for the peers may lack them; their ends are not, for the peers may
// have them alive.
TEST_F(InjectingTest, WhatWasThereAtTheStartMayBeACopy) {
  dump({kernel_flow(1), kernel_flow(2), kernel_flow(3), kernel_flow(4)}, Load::start);
  engine_->start_bulk(clock_.now());
  EXPECT_EQ(sent(), (Lines{"NEW 1", "NEW 2", "NEW 3", "NEW 4"}));
  acknowledge();
  dump({kernel_flow(1), kernel_flow(2), kernel_flow(3), kernel_flow(4)}, Load::merge);
  event(EventType::destroy, kernel_flow(1));
  EXPECT_FALSE(is_cached(1));
  dump({kernel_flow(3), kernel_flow(4)}, Load::mend);
  EXPECT_FALSE(is_cached(2));
  EXPECT_EQ(sent(), Lines{});
  EXPECT_EQ(hear(wire::MsgType::flow_delete, wire_flow(4), kernel::WritePhase::destroy), Wanted::yes);
  EXPECT_FALSE(is_cached(4));
  event(EventType::update, with_mark(kernel_flow(3), 7));
  EXPECT_EQ(hear(wire::MsgType::flow_delete, wire_flow(3)), Wanted::no) << "it lives here";
  event(EventType::destroy, kernel_flow(3));
  EXPECT_EQ(sent(), Lines{"DEL 3"});
}

TEST_F(InjectingTest, APeerDoesNotEndWhatLivesHere) {
  event(EventType::new_, kernel_flow(1));
  EXPECT_EQ(hear(wire::MsgType::flow_delete, wire_flow(1)), Wanted::no);
  EXPECT_TRUE(is_cached(1));
  hear_copy(2);
  EXPECT_EQ(hear(wire::MsgType::flow_delete, wire_flow(2), kernel::WritePhase::destroy), Wanted::yes);
  EXPECT_EQ(hear(wire::MsgType::flow_delete, wire_flow(3), kernel::WritePhase::destroy), Wanted::yes);
}

TEST_F(InjectingTest, AFlowThatEndsWhereItHasMovedToEndsHere) {
  event(EventType::new_, kernel_flow(1));
  auto last = wire_flow(1);
  last.flow.proto_state = 7;  // TIME_WAIT: packets have passed there, though their word was not sent before the end
  EXPECT_EQ(hear(wire::MsgType::flow_delete, last, kernel::WritePhase::destroy), Wanted::yes);
  EXPECT_FALSE(is_cached(1));
  EXPECT_EQ(sent(), Lines{});
}

// There and back again.
TEST_F(InjectingTest, AFlowMovesToThePeerAndBack) {
  event(EventType::new_, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  acknowledge();
  EXPECT_EQ(hear(wire::MsgType::flow_update, with_mark(wire_flow(1), 7)), Wanted::yes);
  EXPECT_FALSE(is_cached(1)) << "it is the peer's";
  event(EventType::update, with_mark(kernel_flow(1), 8));
  EXPECT_EQ(hear(wire::MsgType::flow_update, with_mark(wire_flow(1), 9)), Wanted::no) << "said before it knew";
  EXPECT_EQ(sent(), Lines{"UPD 1"});
  acknowledge();
  EXPECT_EQ(hear(wire::MsgType::flow_update, with_mark(wire_flow(1), 7)), Wanted::no) << "no news";
  EXPECT_EQ(hear(wire::MsgType::flow_delete, wire_flow(1)), Wanted::no);
  EXPECT_TRUE(is_cached(1));
  EXPECT_EQ(hear(wire::MsgType::flow_update, with_mark(wire_flow(1), 9)), Wanted::yes);
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{}) << "the peer's again";
}

TEST_F(InjectingTest, ACreationDoesNotTakeAwayWhatLivesHere) {
  event(EventType::new_, kernel_flow(1));
  EXPECT_EQ(hear(wire::MsgType::flow_new, with_mark(wire_flow(1), 7)), Wanted::no);
  auto closed = kernel_flow(1);
  closed.flow.proto_state = 7;  // TIME_WAIT
  event(EventType::update, closed);
  EXPECT_EQ(hear(wire::MsgType::flow_new, with_mark(wire_flow(1), 7)), Wanted::no);
  auto begun = wire_flow(1);
  begun.flow.proto_state = 1;
  begun.flow.status = status::kConfirmed;
  EXPECT_EQ(hear(wire::MsgType::flow_new, begun, kernel::WritePhase::create_again), Wanted::yes) << "used again, there";
  EXPECT_FALSE(is_cached(1));
}

// Where the packets pass nobody knows then, until one passes here.
TEST_F(InjectingTest, AnOlderPictureOfWhatLivesHereIsNotTaken) {
  auto older = wire_flow(1);
  older.flow.status &= ~status::kAssured;
  for (const bool passes : {true, false}) {
    event(EventType::new_, kernel_flow(1));
    sent();
    acknowledge();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(hear(wire::MsgType::flow_update, older), Wanted::no);
    EXPECT_TRUE(is_cached(1));
    if (passes) event(EventType::update, kernel_flow(1));
    event(EventType::destroy, kernel_flow(1));
    EXPECT_EQ(sent(), passes ? Lines{"DEL 1"} : Lines{});
    acknowledge();
  }
}

// It may be older than what was in the kernel at the start, and that may live here.
TEST_F(InjectingTest, WhatMayLiveHereIsNotReplaced) {
  dump({kernel_flow(1)}, Load::start);
  auto begun = wire_flow(1);
  begun.flow.status = status::kConfirmed;
  EXPECT_EQ(cache_->judge(wire::MsgType::flow_new, begun.flow), Wanted::no);
  EXPECT_EQ(cache_->judge(wire::MsgType::flow_update, begun.flow), Wanted::no);
  EXPECT_TRUE(is_cached(1));
}

TEST_F(InjectingTest, ALaterFlowWithTheTupleOfACopyReplacesIt) {
  hear_copy(1);
  auto begun = wire_flow(1);
  begun.flow.status = status::kConfirmed;
  EXPECT_EQ(cache_->judge(wire::MsgType::flow_new, begun.flow), Wanted::anew);
  EXPECT_EQ(cache_->judge(wire::MsgType::flow_delete, begun.flow), Wanted::yes);
}

// A bulk of a peer that has not heard of the end yet would bring the flow back, and take its end with it.
TEST_F(InjectingTest, WhatHasEndedHereIsNotMadeAgainBeforeThePeerKnows) {
  event(EventType::new_, kernel_flow(1));
  EXPECT_EQ(sent(), Lines{"NEW 1"});
  acknowledge();
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(hear(wire::MsgType::flow_new, wire_flow(1)), Wanted::no);
  EXPECT_EQ(sent(), Lines{"DEL 1"});
}

// --- Statistics mode ---

class StatisticsTest : public FollowerTest {
 protected:
  StatisticsTest() : FollowerTest(1000, Kind::statistics) {}
};

TEST_F(StatisticsTest, EveryFlowThatEndsIsToldOnce) {
  event(EventType::destroy, kernel_flow(9));
  event(EventType::new_, kernel_flow(1));
  event(EventType::destroy, kernel_flow(1));
  event(EventType::destroy, kernel_flow(1));
  EXPECT_EQ(flows_.total(), 0U) << "nobody has to acknowledge";
  event(EventType::new_, kernel_flow(2));
  event(EventType::new_, with_id(kernel_flow(2), 5));  // the end of the first was missed
  event(EventType::new_, kernel_flow(3));
  store_->begin_load(Load::mend);
  Walk walk;
  store_->sweep(walk, {}, TimePoint::max());
  store_->end_load();
  EXPECT_EQ(ended_, (std::vector{1, 2, 2, 3}));
}

}  // namespace
}  // namespace ctsync::node::test
