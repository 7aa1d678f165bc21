// SPDX-License-Identifier: GPL-2.0-or-later
// The jobs that read and flush the kernel's table.
#include <optional>

#include "follower_fixture.h"
#include "kernel_bulk_job.h"
#include "kernel_flush_job.h"
#include "kernel_load_job.h"

namespace ctsync::daemon::test {
namespace {

using Load = KernelFollower::Load;

int run(Job& job) {
  int turns = 1;
  while (job.step(TimePoint::min()) != Job::State::done && turns < 10000) ++turns;
  return turns;
}

class LoadJobTest : public FollowerTest {
 protected:
  // The error text, "" if all went well.
  std::string load(Load load, KernelLoadJob::Scope scope = {.flows = true, .expectations = true}) {
    std::optional<std::string> outcome;
    KernelLoadJob job(kernel_, *follower_, load, scope, [&](const Error* error) {
      EXPECT_FALSE(outcome) << "told twice";
      outcome = error != nullptr ? error->text : "";
    });
    run(job);
    return outcome.value_or("not told");
  }
};

TEST_F(LoadJobTest, StartReadsAll) {
  kernel_.dump_part = 2;
  for (std::uint16_t n = 1; n <= 5; ++n) kernel_.put(kernel_flow(n));
  kernel_.expectations = {expectation(1, 20), expectation(9, 21)};
  EXPECT_EQ(load(Load::start), "");
  EXPECT_EQ(flows_.live(), 5U);
  EXPECT_EQ(expectations_.live(), 1U) << "the other's master is unknown";
  EXPECT_EQ(sent(), Lines{});
}

TEST_F(LoadJobTest, MendingRemovesWhatIsGone) {
  for (std::uint16_t n = 1; n <= 3; ++n) event(EventType::new_, kernel_flow(n));
  event(EventType::new_, expectation(1, 20));
  sent();
  kernel_.put(kernel_flow(1));
  kernel_.put(kernel_flow(4));
  EXPECT_EQ(load(Load::mend), "");
  EXPECT_EQ(sent(), (Lines{"NEW 4", "DEL 2", "DEL 3", "EXP_DEL 20"}));
}

TEST_F(LoadJobTest, ResyncRemovesNothing) {
  event(EventType::new_, kernel_flow(1));
  sent();
  kernel_.put(kernel_flow(2));
  EXPECT_EQ(load(Load::merge), "");
  EXPECT_EQ(flows_.live(), 2U);
  EXPECT_EQ(sent(), Lines{});
}

TEST_F(LoadJobTest, ScopeIsKept) {
  kernel_.put(kernel_flow(1));
  kernel_.expectations = {expectation(1, 20)};
  EXPECT_EQ(load(Load::merge, {.flows = true, .expectations = false}), "");
  EXPECT_EQ(expectations_.live(), 0U);
  kernel_.put(kernel_flow(2));
  EXPECT_EQ(load(Load::merge, {.flows = false, .expectations = true}), "");
  EXPECT_EQ(flows_.live(), 1U);
  EXPECT_EQ(expectations_.live(), 1U);
}

TEST_F(LoadJobTest, NothingIsTakenForGoneWhenTheDumpFails) {
  event(EventType::new_, kernel_flow(1));
  sent();
  kernel_.dump_error = EIO;
  EXPECT_EQ(load(Load::mend), "can't get kernel conntrack table");
  EXPECT_EQ(flows_.live(), 1U);
  EXPECT_EQ(sent(), Lines{});
}

TEST_F(LoadJobTest, TwoAtOnceDoNotDisturbEachOther) {
  kernel_.dump_part = 1;
  for (std::uint16_t n = 1; n <= 6; ++n) {
    kernel_.put(kernel_flow(n));
    event(EventType::new_, kernel_flow(n));
  }
  sent();
  int done = 0;
  const auto on_done = [&](const Error* error) { done += error == nullptr ? 1 : 100; };
  KernelLoadJob mend(kernel_, *follower_, Load::mend, {}, on_done);
  mend.step(TimePoint::min());
  KernelLoadJob merge(kernel_, *follower_, Load::merge, {}, on_done);
  for (int i = 0; i < 3; ++i) mend.step(TimePoint::min()), merge.step(TimePoint::min());
  event(EventType::destroy, kernel_flow(6));
  run(mend);
  run(merge);
  EXPECT_EQ(done, 2);
  EXPECT_EQ(flows_.live(), 5U);
  EXPECT_EQ(sent(), Lines{"DEL 6"});
}

TEST_F(LoadJobTest, JobThatIsDroppedEndsItsDump) {
  kernel_.dump_part = 1;
  for (std::uint16_t n = 1; n <= 3; ++n) kernel_.put(kernel_flow(n));
  {
    KernelLoadJob job(kernel_, *follower_, Load::merge, {}, {});
    job.step(TimePoint::min());
    event(EventType::destroy, kernel_flow(3));
  }
  follower_->caught_up();
  event(EventType::update, kernel_flow(3));  // no longer held against it
  EXPECT_TRUE(is_cached(3));
}

class FlushJobTest : public FollowerTest {
 protected:
  std::string flush(bool told = true) {
    std::optional<std::string> outcome;
    const auto on_deleted = [this](FlowRecord& r) { follower_->on_flow(EventType::destroy, r, Origin::flush); };
    KernelFlushJob job(kernel_, filter_, told ? std::function<void(FlowRecord&)>(on_deleted) : nullptr,
                       [&](const Error* error) { outcome = error != nullptr ? error->text : ""; });
    turns_ = run(job);
    return outcome.value_or("not told");
  }
  int turns_ = 0;
};

TEST_F(FlushJobTest, DeletesWhatPassesTheFilter) {
  auto udp = kernel_flow(9);
  udp.flow.orig.l4 = kUdp;
  kernel_.put(udp);
  kernel_.dump_part = 2;
  for (std::uint16_t n = 1; n <= 5; ++n) {
    kernel_.put(kernel_flow(n));
    event(EventType::new_, kernel_flow(n));
  }
  sent();
  acknowledge();
  filter_.set_protocols(FilterAction::ignore, {kUdp});
  EXPECT_EQ(flush(), "");
  EXPECT_EQ(kernel_.flows.size(), 1U);
  EXPECT_EQ(flows_.total(), 0U);
  EXPECT_EQ(sent(), Lines{}) << "peers are told nothing";
  EXPECT_GE(turns_, 3);
}

TEST_F(FlushJobTest, OnlyTheFlowThatWasInTheDump) {
  kernel_.dump_part = 1;
  kernel_.put(kernel_flow(1));
  kernel_.put(kernel_flow(2));
  KernelFlushJob job(kernel_, filter_, {}, {});
  job.step(TimePoint::min());
  auto next = kernel_flow(2);
  next.flow.id = 5;
  kernel_.put(next);
  run(job);
  EXPECT_TRUE(kernel_.has_flow(next));
  EXPECT_FALSE(kernel_.has_flow(kernel_flow(1)));
}

TEST_F(FlushJobTest, WhatCouldNotBeDeletedStaysCached) {
  kernel_.put(kernel_flow(1));
  event(EventType::new_, kernel_flow(1));
  kernel_.fault = [](FakeKernel::Step, const Flow&) { return EBUSY; };
  EXPECT_EQ(flush(), "");
  EXPECT_TRUE(is_cached(1));
}

TEST_F(FlushJobTest, FailureIsTold) {
  kernel_.dump_error = EIO;
  EXPECT_EQ(flush(false), "can't get kernel conntrack table");
}

TEST_F(FollowerTest, BulkOfTheKernelPassesTheFilterAndIsPaced) {
  EventLoop loop(clock_);
  kernel_.dump_part = 2;
  for (std::uint16_t n = 1; n <= 5; ++n) kernel_.put(kernel_flow(n));
  kernel_.expectations = {expectation(1, 20)};
  filter_.set_protocols(FilterAction::accept, {kTcp});
  int flows = 0;
  int expectations = 0;
  bool done = false;
  {
    KernelBulkJob job(
        loop, kernel_, filter_, [&](const FlowRecord&) { ++flows; }, [&](const Expectation&) { ++expectations; },
        [&] { done = true; });
    EXPECT_EQ(job.step(TimePoint::max()), Job::State::waiting);
    EXPECT_EQ(flows, 2);
    EXPECT_FALSE(done);
    run(job);
  }
  EXPECT_TRUE(done);
  EXPECT_EQ(flows, 5);
  EXPECT_EQ(expectations, 1);
}

}  // namespace
}  // namespace ctsync::daemon::test
