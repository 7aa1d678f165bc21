// SPDX-License-Identifier: GPL-2.0-or-later
// The jobs that read and flush the kernel's table.
#include <array>
#include <optional>

#include "bulk_job.h"
#include "flush_kernel_job.h"
#include "follower_fixture.h"
#include "load_job.h"

namespace ctsync::node::test {
namespace {

int run(Job& job) {
  int turns = 1;
  while (job.step(TimePoint::min()) != Job::State::done && turns < 10000) ++turns;
  return turns;
}

class LoadJobTest : public FollowerTest {
 protected:
  // The error text, "" if all went well.
  std::string load(Load load, Scope scope = {.flows = true, .expectations = true}) {
    std::optional<std::string> outcome;
    LoadJob job(kernel_, *follower_, *store_, load, scope, [&](const Error* error) {
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

// The kernel reads a part of a dump ahead. What happened since came in an event, and was overwritten for good.
TEST_F(LoadJobTest, DumpDoesNotUndoWhatAnEventTold) {
  kernel_.dump_part = 1;
  auto r = kernel_flow(2);
  r.flow.present |= has::kMark | has::kLabels;
  r.flow.mark = 1;
  r.extra.labels = {1, 0, 0, 0};
  for (std::uint16_t n = 1; n <= 4; ++n) kernel_.put(kernel_flow(n));
  kernel_.put(r);
  for (const auto load : {Load::merge, Load::mend}) {
    LoadJob job(kernel_, *follower_, *store_, load, {}, {});
    job.step(TimePoint::min());  // hands over 1, reads 2
    auto changed = r;
    changed.flow.mark = 2;
    changed.flow.present &= ~has::kLabels;  // did not change
    event(EventType::update, changed);
    run(job);
    EXPECT_EQ(cached(2).mark, 2U);
    EXPECT_TRUE(cached(2).knows(has::kLabels)) << "what the event did not tell";
  }
}

TEST_F(LoadJobTest, DumpDoesNotBringBackAnEarlierFlow) {
  kernel_.dump_part = 1;
  for (std::uint16_t n = 1; n <= 4; ++n) kernel_.put(kernel_flow(n));
  LoadJob job(kernel_, *follower_, *store_, Load::merge, {}, {});
  job.step(TimePoint::min());  // hands over 1, reads 2
  auto later = kernel_flow(2);
  later.flow.id = 77;
  event(EventType::destroy, kernel_flow(2));
  event(EventType::new_, later);
  run(job);
  EXPECT_EQ(cached(2).id, 77U);
}

// Of two flows that ended during the dump only the end of the later one was remembered, and the earlier one came back.
TEST_F(LoadJobTest, DumpDoesNotBringBackAnEarlierFlowOfTwoThatEnded) {
  kernel_.dump_part = 1;
  for (std::uint16_t n = 1; n <= 4; ++n) kernel_.put(kernel_flow(n));
  LoadJob job(kernel_, *follower_, *store_, Load::mend, {}, {});
  job.step(TimePoint::min());  // hands over 1, reads 2
  auto later = kernel_flow(2);
  later.flow.id = 77;
  event(EventType::destroy, kernel_flow(2));
  event(EventType::new_, later);
  event(EventType::destroy, later);
  run(job);
  EXPECT_FALSE(is_cached(2));
}

TEST_F(LoadJobTest, JobThatIsDroppedEndsItsDump) {
  kernel_.dump_part = 1;
  for (std::uint16_t n = 1; n <= 3; ++n) kernel_.put(kernel_flow(n));
  {
    LoadJob job(kernel_, *follower_, *store_, Load::merge, {}, {});
    job.step(TimePoint::min());
    event(EventType::destroy, kernel_flow(3));
  }
  store_->caught_up();
  event(EventType::update, kernel_flow(3));  // no longer held against it
  EXPECT_TRUE(is_cached(3));
}

// --- Comparing the cache with the kernel ---

class CompareKernelTest : public LoadJobTest {
 protected:
  CompareKernelTest() {
    for (std::uint16_t n = 1; n <= 4; ++n) {
      event(EventType::new_, kernel_flow(n));
      kernel_.put(kernel_flow(n));
    }
    sent();
    acknowledge();
    store_->caught_up();
  }
  std::array<std::uint64_t, 4> compared() const {
    const auto c = store_->compared();
    return {c.flows, c.missing, c.left_over, c.differed};
  }
  using Numbers = std::array<std::uint64_t, 4>;
};

TEST_F(CompareKernelTest, WhatNoEventToldIsMendedToldAndCounted) {
  kernel_.put(kernel_flow(2)).flow.proto_state = 4;
  kernel_.flows.erase(kernel_flow(3).flow.orig);
  kernel_.put(kernel_flow(4)).flow.id = 77;  // another flow with this tuple
  kernel_.put(kernel_flow(5));
  EXPECT_EQ(load(Load::mend), "");
  EXPECT_EQ(sent(), (Lines{"UPD 2", "NEW 4", "NEW 5", "DEL 3"}));
  store_->caught_up();
  EXPECT_EQ(compared(), (Numbers{4, 1, 1, 2}));
  EXPECT_EQ(load(Load::mend), "");
  EXPECT_EQ(sent(), Lines{});
  EXPECT_EQ(compared(), (Numbers{4, 0, 0, 0})) << "of the last one alone";
}

// The events of what the kernel has done last wait in the socket while it is read.
TEST_F(CompareKernelTest, WhatAnEventOnItsWayTellsIsNoDifference) {
  auto changed = kernel_flow(2);
  changed.flow.proto_state = 4;
  kernel_.put(changed);
  kernel_.flows.erase(kernel_flow(3).flow.orig);
  kernel_.put(kernel_flow(5));
  kernel_.put(kernel_flow(6));
  EXPECT_EQ(load(Load::mend), "");
  EXPECT_EQ(compared(), (Numbers{5, 2, 1, 1}));
  event(EventType::update, changed);
  event(EventType::destroy, kernel_flow(3));
  event(EventType::new_, kernel_flow(5));
  EXPECT_EQ(compared(), (Numbers{5, 1, 0, 0}));
  store_->caught_up();
  event(EventType::destroy, kernel_flow(6));  // has happened later
  EXPECT_EQ(compared(), (Numbers{5, 1, 0, 0}));
  EXPECT_TRUE(is_cached(5) && !is_cached(3));
}

// Nor what an event has told since the entry was read: neither counted nor undone.
TEST_F(CompareKernelTest, WhatAnEventToldSinceIsNoDifference) {
  kernel_.dump_part = 1;
  LoadJob job(kernel_, *follower_, *store_, Load::mend, {}, {});
  job.step(TimePoint::min());  // hands over 1, reads 2
  auto changed = kernel_flow(2);
  changed.flow.proto_state = 4;
  event(EventType::update, changed);
  event(EventType::destroy, kernel_flow(3));
  event(EventType::new_, kernel_flow(0));  // where the dump has passed
  kernel_.put(changed);
  kernel_.flows.erase(kernel_flow(3).flow.orig);
  store_->caught_up();
  run(job);
  store_->caught_up();
  EXPECT_EQ(compared(), (Numbers{3, 0, 0, 0}));
  EXPECT_EQ(cached(2).proto_state, 4);
  EXPECT_TRUE(is_cached(0) && !is_cached(3));
}

// The filter hides the later states of a flow, and with them what a dump shows of it: it was taken for gone.
TEST_F(CompareKernelTest, WhatTheKernelHasIsNotTakenForGone) {
  filter_.set_tcp_states(FilterAction::accept, FlowFilter::TcpStates{}.set(3));
  kernel_.put(kernel_flow(2)).flow.proto_state = 4;
  auto& other = kernel_.put(kernel_flow(3)).flow;
  other.proto_state = 4;
  other.id = 77;
  EXPECT_EQ(load(Load::mend), "");
  EXPECT_EQ(sent(), Lines{"DEL 3"});
  EXPECT_TRUE(is_cached(2));
  EXPECT_EQ(compared(), (Numbers{2, 0, 1, 0}));
}

// Offloading is a matter of one kernel: peers are not told of it, so it is no difference.
TEST_F(CompareKernelTest, WhatPeersAreNotToldIsNoDifference) {
  kernel_.put(kernel_flow(2)).flow.status |= status::kOffload;
  kernel_.put(kernel_flow(3)).flow.timeout = 5;
  EXPECT_EQ(load(Load::mend), "");
  EXPECT_EQ(sent(), Lines{});
  EXPECT_EQ(compared(), (Numbers{4, 0, 0, 0}));
}

class FlushJobTest : public FollowerTest {
 protected:
  std::string flush(bool told = true) {
    std::optional<std::string> outcome;
    const auto on_deleted = [this](FlowRecord& r) { follower_->on_flow(EventType::destroy, r, Origin::flush); };
    FlushKernelJob job(kernel_, filter_, spared_, told ? std::function<void(FlowRecord&)>(on_deleted) : nullptr,
                       [&](const Error* error) { outcome = error != nullptr ? error->text : ""; });
    turns_ = run(job);
    return outcome.value_or("not told");
  }
  int turns_ = 0;
  std::function<bool(const Tuple&)> spared_ = [](const Tuple&) { return false; };
};

TEST_F(FlushJobTest, LeavesAloneWhatIsSpared) {
  kernel_.put(kernel_flow(1));
  kernel_.put(kernel_flow(2));
  spared_ = [](const Tuple& t) { return t == kernel_flow(2).flow.orig; };
  EXPECT_EQ(flush(), "");
  EXPECT_FALSE(kernel_.has_flow(kernel_flow(1)));
  EXPECT_TRUE(kernel_.has_flow(kernel_flow(2)));
}

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
  FlushKernelJob job(kernel_, filter_, spared_, {}, {});
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

class BulkJobTest : public FollowerTest {
 protected:
  class Sink final : public wire::DatagramSink {
   public:
    void send(std::span<const std::span<const std::uint8_t>>) override {}
    bool congested() const override { return congested_; }
    bool congested_ = false;
  };

  BulkJob job(bool with_expectations = true) {
    BulkJob::Context c{.kernel = kernel_,
                       .filter = filter_,
                       .sink = sink_,
                       .clock = clock_,
                       .send = [this](const FlowRecord&) { ++flows_sent_; },
                       .send_expectation = {},
                       .on_done = [this](const Error* e) { outcome_ = e != nullptr ? e->text : ""; }};
    if (with_expectations) c.send_expectation = [this](const Expectation&) { ++expectations_sent_; };
    return BulkJob(std::move(c));
  }
  // As the node does: steps when the job wants to be woken, the time moves on. Turns taken.
  int run_to_end(BulkJob& job) {
    int turns = 1;
    while (job.step(TimePoint::max()) != Job::State::done && turns < 1000) {
      ++turns;
      EXPECT_GT(*job.wake_at(), clock_.now()) << "paced";
      clock_.advance(*job.wake_at() - clock_.now());
    }
    return turns;
  }
  Sink sink_;
  int flows_sent_ = 0;
  int expectations_sent_ = 0;
  std::optional<std::string> outcome_;
};

TEST_F(BulkJobTest, PassesTheFilterAndIsPaced) {
  kernel_.dump_part = 2;
  for (std::uint16_t n = 1; n <= 5; ++n) kernel_.put(kernel_flow(n));
  auto udp = kernel_flow(9);
  udp.flow.orig.l4 = kUdp;
  kernel_.put(udp);
  kernel_.expectations = {expectation(1, 20)};
  filter_.set_protocols(FilterAction::accept, {kTcp});
  auto bulk = job();
  EXPECT_EQ(bulk.step(TimePoint::max()), Job::State::waiting);
  EXPECT_EQ(flows_sent_, 2);
  EXPECT_FALSE(outcome_);
  run_to_end(bulk);
  EXPECT_EQ(outcome_, "");
  EXPECT_EQ(flows_sent_, 5);
  EXPECT_EQ(expectations_sent_, 1);
}

// A TCP peer that stops reading for a while: what it cannot take is not read from the kernel either.
TEST_F(BulkJobTest, WaitsWhileTheLinkIsCongested) {
  for (std::uint16_t n = 1; n <= 5; ++n) kernel_.put(kernel_flow(n));
  sink_.congested_ = true;
  auto bulk = job(false);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(bulk.step(TimePoint::max()), Job::State::waiting);
    clock_.advance(*bulk.wake_at() - clock_.now());
  }
  EXPECT_EQ(flows_sent_, 0);
  sink_.congested_ = false;
  run_to_end(bulk);
  EXPECT_EQ(flows_sent_, 5);
  EXPECT_EQ(outcome_, "");
}

TEST_F(BulkJobTest, ADumpThatFailsIsBegunAnew) {
  kernel_.dump_part = 2;
  for (std::uint16_t n = 1; n <= 5; ++n) kernel_.put(kernel_flow(n));
  kernel_.dump_error = ENOBUFS;
  auto bulk = job(false);
  run_to_end(bulk);
  EXPECT_EQ(outcome_, "");
  EXPECT_EQ(flows_sent_, 10) << "twice, which does no harm";
}

TEST_F(BulkJobTest, WhatCannotBeReadAtAllIsTold) {
  kernel_.dump_errors_left = 100;
  kernel_.dump_error = ENOBUFS;
  auto bulk = job(false);
  EXPECT_LT(run_to_end(bulk), 50);
  EXPECT_EQ(outcome_, "can't get kernel conntrack table");
}

}  // namespace
}  // namespace ctsync::node::test
