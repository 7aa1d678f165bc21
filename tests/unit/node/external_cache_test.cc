// SPDX-License-Identifier: GPL-2.0-or-later
#include "external_cache.h"

#include <fmt/format.h>

#include "fixture.h"
#include "injection.h"

namespace ctsync::node::test {
namespace {

using table::FlowState;
using wire::MsgType;

class ExternalCacheTest : public testing::Test {
 protected:
  const Flow* cached(std::uint16_t n) const {
    const auto id = flows_.find(wire_flow(n).flow.orig);
    return id == table::kNoFlow ? nullptr : &flows_.slot(id).flow;
  }

  static void flush(ExternalCache& cache, Scope scope) {
    cache.begin_flush(scope);
    Walk walk;
    EXPECT_TRUE(cache.flush(walk, TimePoint::max()));
  }

  ManualClock clock_;
  table::FlowTable flows_{3, 0, 1};
  table::ExpectationTable expectations_{100, 2};
  ExternalCache cache_{flows_, &expectations_, Picture::part, std::nullopt, clock_};
};

// --- CacheTimeout of ALARM, spec replication.md 3.4 ---

TEST(Expiry, DropsWhatIsNotRepeated) {
  TimePoint now{std::chrono::seconds(100)};
  Expiry expiry(std::chrono::seconds(20), now);
  std::vector<std::uint32_t> gone;
  const auto pass = [&](Duration d) {
    now += d;
    expiry.on_timer(now, 1000, [&](std::uint32_t id) { gone.push_back(id); });
  };
  expiry.touched(1, now);
  expiry.touched(2, now);
  expiry.touched(3, now);
  pass(std::chrono::seconds(15));
  EXPECT_EQ(expiry.seconds_left(100, now), 5U);
  expiry.touched(2, now);
  expiry.removed(3);
  pass(std::chrono::milliseconds(5100));
  EXPECT_EQ(gone, std::vector<std::uint32_t>{1});
  pass(std::chrono::seconds(15));
  EXPECT_EQ(gone, (std::vector<std::uint32_t>{1, 2}));
  EXPECT_FALSE(expiry.next_deadline().has_value());
}

// --- Spec replication.md 4.3 ---

TEST_F(ExternalCacheTest, NewReplacesAndUpdateMerges) {
  cache_.take(MsgType::flow_new, with_mark(wire_flow(1), 7));
  cache_.take(MsgType::flow_update, wire_flow(1));
  ASSERT_NE(cached(1), nullptr);
  EXPECT_TRUE(cached(1)->knows(has::kMark));
  EXPECT_EQ(flows_.stats().updated, 1U);
  cache_.take(MsgType::flow_new, wire_flow(1));
  EXPECT_FALSE(cached(1)->knows(has::kMark));
  EXPECT_EQ(flows_.stats().created, 2U);
  EXPECT_EQ(flows_.stats().destroyed, 1U);
}

// A port was used again before the peer could tell of it: the update of the later flow was merged into the earlier one,
// and a take-over translated the flow as the earlier one was.
TEST_F(ExternalCacheTest, NothingOfAnEarlierFlowStaysInTheLaterOne) {
  ExternalCache cache(flows_, &expectations_, Picture::whole, std::nullopt, clock_);
  auto earlier = with_mark(wire_flow(1), 7);
  earlier.flow.present |= has::kSnat | has::kLabels;
  earlier.flow.reply_dst = {192, 0, 2, 1};
  earlier.extra.labels = {1, 2, 3, 4};
  cache.take(MsgType::flow_new, earlier);
  cache.take(MsgType::flow_update, wire_flow(1));
  ASSERT_NE(cached(1), nullptr);
  EXPECT_EQ(cached(1)->present, wire_flow(1).flow.present);
  EXPECT_EQ(cached(1)->status, wire_flow(1).flow.status);
  EXPECT_EQ(flows_.stats().updated, 1U);
}

TEST_F(ExternalCacheTest, UpdateOfAnUnknownFlowInserts) {
  cache_.take(MsgType::flow_update, wire_flow(1));
  EXPECT_NE(cached(1), nullptr);
}

TEST_F(ExternalCacheTest, DeleteRemovesAndIgnoresWhatItDoesNotKnow) {
  cache_.take(MsgType::flow_new, wire_flow(1));
  cache_.take(MsgType::flow_delete, wire_flow(2));
  EXPECT_EQ(flows_.stats().destroyed, 0U);
  cache_.take(MsgType::flow_delete, wire_flow(1));
  EXPECT_EQ(flows_.total(), 0U);
}

TEST_F(ExternalCacheTest, LimitHolds) {
  for (std::uint16_t n = 1; n <= 5; ++n) cache_.take(MsgType::flow_update, wire_flow(n));
  EXPECT_EQ(flows_.live(), 3U);
  EXPECT_EQ(flows_.stats().create_no_space, 2U);
  cache_.take(MsgType::flow_new, wire_flow(2));
  EXPECT_EQ(flows_.live(), 3U) << "a replacement needs no room";
  cache_.take(MsgType::flow_delete, wire_flow(1));
  cache_.take(MsgType::flow_update, wire_flow(5));
  EXPECT_NE(cached(5), nullptr);
}

TEST_F(ExternalCacheTest, ExpectationsLikewise) {
  cache_.take(MsgType::expect_new, expectation(1, 20));
  auto renewed = expectation(1, 20);
  renewed.timeout = 5;
  cache_.take(MsgType::expect_update, renewed);
  ASSERT_EQ(expectations_.live(), 1U);
  EXPECT_EQ(expectations_.slot(expectations_.find(renewed)).expect.timeout, 5U);
  cache_.take(MsgType::expect_update, expectation(1, 21));
  cache_.take(MsgType::expect_delete, expectation(1, 20));
  cache_.take(MsgType::expect_delete, expectation(1, 22));
  EXPECT_EQ(expectations_.live(), 1U);
  flush(cache_, {.flows = false, .expectations = true});
  EXPECT_EQ(expectations_.total(), 0U);
}

TEST_F(ExternalCacheTest, WithoutExpectationSyncExpectationsAreNotKept) {
  ExternalCache cache(flows_, nullptr, Picture::whole, std::nullopt, clock_);
  cache.take(MsgType::expect_new, expectation(1, 20));
  flush(cache, {.flows = false, .expectations = true});
  EXPECT_EQ(expectations_.total(), 0U);
}

// --- ALARM, spec 3.4 ---

TEST_F(ExternalCacheTest, WhatIsNotRepeatedExpires) {
  ExternalCache cache(flows_, &expectations_, Picture::whole, std::chrono::seconds(180), clock_);
  EXPECT_FALSE(cache.next_deadline());
  const auto wait = [&](int seconds) {
    clock_.advance(std::chrono::seconds(seconds));
    cache.on_timer();
  };
  cache.take(MsgType::flow_new, wire_flow(1));
  cache.take(MsgType::flow_new, wire_flow(2));
  cache.take(MsgType::expect_new, expectation(1, 20));
  wait(100);
  cache.take(MsgType::flow_update, wire_flow(1));
  ASSERT_TRUE(cache.next_deadline());
  EXPECT_LE(*cache.next_deadline() - clock_.now(), std::chrono::seconds(81));
  wait(90);
  EXPECT_NE(cached(1), nullptr);
  EXPECT_EQ(cached(2), nullptr);
  EXPECT_EQ(expectations_.live(), 0U);
  wait(100);
  EXPECT_EQ(flows_.total(), 0U);
  EXPECT_FALSE(cache.next_deadline());
}

TEST_F(ExternalCacheTest, WhatWasFlushedDoesNotExpireInTheNameOfItsSuccessor) {
  ExternalCache cache(flows_, &expectations_, Picture::whole, std::chrono::seconds(180), clock_);
  cache.take(MsgType::flow_new, wire_flow(1));
  clock_.advance(std::chrono::seconds(100));
  flush(cache, {});
  cache.take(MsgType::flow_new, wire_flow(2));  // in the same slot
  clock_.advance(std::chrono::seconds(100));
  cache.on_timer();
  EXPECT_NE(cached(2), nullptr);
}

// What a peer tells during a flush belongs to the time after it, whatever the walk has reached.
TEST_F(ExternalCacheTest, FlushInSlicesIsAsOneAtOnce) {
  table::FlowTable flows(1000, 0, 1);
  ExternalCache cache(flows, nullptr, Picture::whole, std::nullopt, clock_);
  for (std::uint16_t n = 1; n <= 300; ++n) cache.take(MsgType::flow_new, with_mark(wire_flow(n), 7));
  cache.begin_flush({});
  Walk walk;
  EXPECT_FALSE(cache.flush(walk, TimePoint::min())) << "its time was over";
  EXPECT_GT(flows.total(), 200U);
  EXPECT_FALSE(cache.shows(flows.slot(flows.find(wire_flow(298).flow.orig)))) << "no commit writes it any more";
  cache.take(MsgType::flow_update, wire_flow(299));  // not merged into what is flushed
  cache.take(MsgType::flow_delete, wire_flow(300));
  cache.take(MsgType::flow_new, wire_flow(301));
  while (!cache.flush(walk, TimePoint::min())) {
  }
  EXPECT_EQ(flows.total(), 2U);
  const auto id = flows.find(wire_flow(299).flow.orig);
  ASSERT_NE(id, table::kNoFlow);
  EXPECT_FALSE(flows.slot(id).flow.knows(has::kMark));
  EXPECT_TRUE(cache.shows(flows.slot(id)));
  EXPECT_NE(flows.find(wire_flow(301).flow.orig), table::kNoFlow);
}

// A peer dies: all that it told expires at once, but not in one turn.
TEST_F(ExternalCacheTest, ManyExpireInSlices) {
  table::FlowTable flows(20000, 0, 1);
  ExternalCache cache(flows, nullptr, Picture::whole, std::chrono::seconds(180), clock_);
  for (std::uint16_t n = 1; n <= 10000; ++n) cache.take(MsgType::flow_new, wire_flow(n));
  clock_.advance(std::chrono::seconds(181));
  int turns = 0;
  while (cache.next_deadline() && *cache.next_deadline() <= clock_.now() && turns < 100) {
    const auto before = flows.total();
    cache.on_timer();
    EXPECT_LE(before - flows.total(), 2000U);
    ++turns;
  }
  EXPECT_EQ(flows.total(), 0U);
  EXPECT_GE(turns, 5);
}

// --- Direct injection, spec 5.5 and cli.md 6.3 ---

class InjectionTest : public testing::Test {
 protected:
  void take(MsgType type, const FlowRecord& r) {
    injection_.take(type, r);
    injection_.end_turn();
  }
  void fail(FakeKernel::Step step, int code) {
    kernel_.fault = [=](FakeKernel::Step s, const Flow&) { return s == step ? code : 0; };
  }

  ManualClock clock_;
  RecordingLog log_;
  FakeKernel kernel_;
  Injection injection_{kernel_.writer(kernel::Origin::inject), clock_, log_};
};

TEST_F(InjectionTest, MessagesBecomeEntries) {
  take(MsgType::flow_new, wire_flow(1));
  take(MsgType::flow_new, wire_flow(1));     // there is one: made anew
  take(MsgType::flow_update, wire_flow(2));  // there is none: made
  take(MsgType::flow_update, with_mark(wire_flow(1), 7));
  EXPECT_EQ(kernel_.flows.size(), 2U);
  EXPECT_EQ(kernel_.flows.at(wire_flow(1).flow.orig).flow.mark, 7U);
  take(MsgType::flow_delete, wire_flow(1));
  take(MsgType::flow_delete, wire_flow(1));  // not counted
  EXPECT_EQ(kernel_.flows.size(), 1U);
  const auto s = std::get<text::InjectNumbers>(injection_.flow_numbers());
  EXPECT_EQ(s.created, 2U);
  EXPECT_EQ(s.updated, 2U);
  EXPECT_EQ(s.destroyed, 1U);
  EXPECT_EQ(s.create_failed + s.update_failed + s.destroy_failed, 0U);
  EXPECT_TRUE(log_.lines.empty());
}

TEST_F(InjectionTest, EntryThatIsFurtherOnInTheKernelIsLeftAlone) {
  auto live = wire_flow(1);
  live.flow.status |= status::kSeenReply | status::kAssured;
  live.flow.mark = 7;
  kernel_.put(live);
  auto older = wire_flow(1);
  older.flow.status &= ~status::kAssured;
  injection_.take(MsgType::flow_new, older);
  injection_.take(MsgType::flow_update, older);
  injection_.end_turn();
  EXPECT_EQ(kernel_.flows.at(live.flow.orig).flow.mark, 7U);
  EXPECT_TRUE(log_.lines.empty());
}

TEST_F(InjectionTest, WhatWasWrittenIsTold) {
  std::vector<std::string> told;
  injection_.written = [&](const kernel::WriteResult& r, const Flow& f) {
    told.push_back(fmt::format("{} {}", r.op == kernel::WriteOp::destroy ? "out" : "in", f.orig.src_port));
  };
  take(MsgType::flow_new, wire_flow(1));
  take(MsgType::flow_update, wire_flow(2));
  take(MsgType::flow_delete, wire_flow(1));
  take(MsgType::flow_delete, wire_flow(1));  // it is gone already
  fail(FakeKernel::Step::create, ENOMEM);
  take(MsgType::flow_new, wire_flow(3));
  EXPECT_EQ(told, (std::vector<std::string>{"in 1", "in 2", "out 1"}));
}

TEST_F(InjectionTest, WhatIsNotWantedIsNotWritten) {
  injection_.judge = [](MsgType, const Flow& f) {
    return f.orig.src_port == 1 ? Injection::Wanted::no : Injection::Wanted::yes;
  };
  take(MsgType::flow_new, wire_flow(1));
  take(MsgType::flow_new, wire_flow(2));
  EXPECT_FALSE(kernel_.has_flow(wire_flow(1)));
  EXPECT_TRUE(kernel_.has_flow(wire_flow(2)));
}

TEST_F(InjectionTest, WhatIsWantedAnewReplacesEvenWhatIsFurtherOn) {
  kernel_.put(kernel_flow(1));
  injection_.judge = [](MsgType, const Flow&) { return Injection::Wanted::anew; };
  auto begun = wire_flow(1);
  begun.flow.status &= ~(status::kAssured | status::kSeenReply);
  take(MsgType::flow_new, begun);
  EXPECT_EQ(kernel_.flows.at(begun.flow.orig).flow.status & status::kAssured, 0U);
}

// Two words of a flow in one turn: whether the second is wanted depends on what the first has done.
TEST_F(InjectionTest, IsAskedWhenWhatCameBeforeIsWritten) {
  int written = 0;
  injection_.written = [&](const kernel::WriteResult&, const Flow&) { ++written; };
  std::vector<int> before;
  injection_.judge = [&](MsgType, const Flow&) {
    before.push_back(written);
    return Injection::Wanted::yes;
  };
  injection_.take(MsgType::flow_new, wire_flow(1));
  injection_.take(MsgType::flow_new, wire_flow(2));
  injection_.take(MsgType::flow_delete, wire_flow(1));
  injection_.end_turn();
  EXPECT_EQ(before, (std::vector<int>{0, 0, 2}));
  EXPECT_FALSE(kernel_.has_flow(wire_flow(1)));
}

TEST_F(InjectionTest, OneBatchATurn) {
  for (std::uint16_t n = 1; n <= 100; ++n) injection_.take(MsgType::flow_new, wire_flow(n));
  injection_.end_turn();
  injection_.end_turn();
  EXPECT_EQ(kernel_.batches, 1);
  EXPECT_EQ(kernel_.flows.size(), 100U);
}

TEST_F(InjectionTest, RelatedFlowBeforeItsMasterIsTriedAgain) {
  injection_.take(MsgType::flow_new, related(wire_flow(2), wire_flow(1)));
  injection_.take(MsgType::flow_new, wire_flow(1));
  injection_.end_turn();
  EXPECT_EQ(kernel_.flows.size(), 2U);
  EXPECT_TRUE(log_.lines.empty());
}

TEST_F(InjectionTest, RelatedFlowWithoutMasterFailsOnce) {
  take(MsgType::flow_new, related(wire_flow(2), wire_flow(1)));
  take(MsgType::flow_new, wire_flow(3));
  EXPECT_EQ(std::get<text::InjectNumbers>(injection_.flow_numbers()).create_failed, 1U);
  ASSERT_EQ(log_.lines.size(), 2U);
  EXPECT_EQ(log_.lines[0], "[warning] could not add new ct entry: No such file or directory");
}

TEST_F(InjectionTest, RelatedFlowThatEndsInTheSameTurnIsNotMade) {
  injection_.take(MsgType::flow_new, related(wire_flow(2), wire_flow(1)));
  injection_.take(MsgType::flow_delete, wire_flow(2));
  injection_.take(MsgType::flow_new, wire_flow(1));
  injection_.end_turn();
  EXPECT_FALSE(kernel_.has_flow(wire_flow(2)));
}

TEST_F(InjectionTest, TextOfEachFailure) {
  const auto text = [this] {
    EXPECT_EQ(log_.lines.size(), 2U);
    const auto line = log_.lines.empty() ? std::string() : log_.lines[0];
    EXPECT_TRUE(log_.lines.size() < 2 || log_.lines[1].starts_with("tcp      6 432000 ESTABLISHED src=10.77.1.2"));
    log_.lines.clear();
    clock_.advance(std::chrono::seconds(2));
    return line;
  };
  using Step = FakeKernel::Step;
  fail(Step::create, EOPNOTSUPP);
  take(MsgType::flow_new, wire_flow(1));
  EXPECT_EQ(text(), "[warning] could not add new ct entry: Operation not supported");
  take(MsgType::flow_update, wire_flow(1));
  EXPECT_EQ(text(), "[warning] could not update ct entry, even if creating it instead: Operation not supported");
  kernel_.put(kernel_flow(1));
  take(MsgType::flow_new, wire_flow(1));
  EXPECT_EQ(text(), "[warning] could not add new ct entry, even when deleting it first: Operation not supported");
  kernel_.put(kernel_flow(1));
  kernel_.fault = [](Step s, const Flow&) { return s == Step::destroy ? 0 : EBUSY; };
  take(MsgType::flow_update, wire_flow(1));
  EXPECT_EQ(text(), "[warning] could not update ct entry, even when deleting it first: Device or resource busy");
  kernel_.put(kernel_flow(1));
  fail(Step::destroy, EPERM);
  take(MsgType::flow_delete, wire_flow(1));
  EXPECT_EQ(text(), "[warning] could not destroy ct entry: Operation not permitted");
  const auto s = std::get<text::InjectNumbers>(injection_.flow_numbers());
  EXPECT_EQ(s.create_failed, 2U);
  EXPECT_EQ(s.update_failed, 2U);
  EXPECT_EQ(s.destroy_failed, 1U);
}

TEST_F(InjectionTest, TextOfEachFailureOfExpectations) {
  const auto text = [this] {
    const auto line = log_.lines.empty() ? std::string() : log_.lines[0];
    log_.lines.clear();
    clock_.advance(std::chrono::seconds(2));
    return line;
  };
  injection_.take(MsgType::expect_new, expectation(1, 20));
  injection_.take(MsgType::expect_update, expectation(1, 20));
  EXPECT_EQ(std::get<text::InjectNumbers>(injection_.expectation_numbers()).created, 2U);
  kernel_.expectation_fault = [](FakeKernel::Step, const Expectation&) { return EPERM; };
  injection_.take(MsgType::expect_new, expectation(1, 20));
  EXPECT_EQ(text(), "[warning] could not add new exp entry, even when deleting it first: Operation not permitted");
  injection_.take(MsgType::expect_new, expectation(1, 21));
  EXPECT_EQ(text(), "[warning] could not add new exp entry: Operation not permitted");
  injection_.take(MsgType::expect_delete, expectation(1, 21));
  EXPECT_EQ(text(), "[warning] could not delete exp entry: Operation not permitted");
  kernel_.expectation_fault = [](FakeKernel::Step, const Expectation&) { return 0; };
  injection_.take(MsgType::expect_delete, expectation(1, 21));
  EXPECT_TRUE(log_.lines.empty());
  EXPECT_EQ(std::get<text::InjectNumbers>(injection_.expectation_numbers()).destroy_failed, 1U);
}

TEST_F(InjectionTest, ManyFailuresDoNotFloodTheLog) {
  fail(FakeKernel::Step::create, ENOMEM);
  for (std::uint16_t n = 1; n <= 1000; ++n) take(MsgType::flow_new, wire_flow(n));
  EXPECT_EQ(log_.lines.size(), 2U);
  clock_.advance(std::chrono::seconds(2));
  take(MsgType::flow_new, wire_flow(1));
  ASSERT_EQ(log_.lines.size(), 5U);
  EXPECT_EQ(log_.lines.back(), "[warning] 999 more entries could not be injected");
}

}  // namespace
}  // namespace ctsync::node::test
