// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/jobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "fake_clock.h"
#include "function_job.h"

namespace ctsync {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
using test::FunctionJob;
using test::ManualClock;

class JobsTest : public testing::Test {
 protected:
  ManualClock clock_;
  Jobs jobs_{clock_};
};

// Works for all the time that it is given.
class BudgetJob final : public Job {
 public:
  BudgetJob(ManualClock& clock, std::vector<Duration>& shares) : clock_(clock), shares_(shares) {}
  State step(TimePoint budget_end) override {
    shares_.push_back(budget_end - clock_.now());
    clock_.advance(shares_.back());
    return State::more;
  }

 private:
  ManualClock& clock_;
  std::vector<Duration>& shares_;
};

class CountingJob final : public Job {
 public:
  CountingJob(std::vector<State> states, int& steps, bool& gone)
      : states_(std::move(states)), steps_(steps), gone_(gone) {}
  ~CountingJob() override { gone_ = true; }
  State step(TimePoint) override { return states_[static_cast<std::size_t>(steps_++)]; }

 private:
  std::vector<State> states_;
  int& steps_;
  bool& gone_;
};

TEST_F(JobsTest, JobIsSteppedOnceATurnUntilDone) {
  int steps = 0;
  bool gone = false;
  using enum Job::State;
  jobs_.add(std::make_unique<CountingJob>(std::vector{more, more, done}, steps, gone));
  jobs_.step();
  EXPECT_EQ(steps, 1);
  jobs_.step();
  EXPECT_FALSE(gone);
  jobs_.step();
  jobs_.step();
  EXPECT_EQ(steps, 3);
  EXPECT_TRUE(gone);
}

TEST_F(JobsTest, WaitingJobIsSteppedAfterItsWake) {
  int steps = 0;
  bool gone = false;
  using enum Job::State;
  auto* job = jobs_.add(std::make_unique<CountingJob>(std::vector{waiting, done}, steps, gone));
  for (int i = 0; i < 3; ++i) jobs_.step();
  EXPECT_EQ(steps, 1);
  job->wake();
  jobs_.step();
  EXPECT_EQ(steps, 2);
  EXPECT_TRUE(gone);
}

// What a job waits for may have come while it was still deciding to wait.
TEST_F(JobsTest, WakeDuringTheStepIsNotLost) {
  int steps = 0;
  jobs_.add(std::make_unique<FunctionJob>([&](FunctionJob& self) {
    ++steps;
    if (steps > 1) return Job::State::done;
    self.wake();
    return Job::State::waiting;
  }));
  jobs_.step();
  jobs_.step();
  EXPECT_EQ(steps, 2);
}

TEST_F(JobsTest, JobMayCancelItselfAndOthers) {
  int steps = 0;
  int other_steps = 0;
  bool other_gone = false;
  using enum Job::State;
  auto* other = jobs_.add(std::make_unique<CountingJob>(std::vector(10, more), other_steps, other_gone));
  Job* self = nullptr;
  self = jobs_.add(std::make_unique<FunctionJob>([&](FunctionJob&) {
    ++steps;
    jobs_.cancel(other);
    jobs_.cancel(self);
    return more;
  }));
  for (int i = 0; i < 3; ++i) jobs_.step();
  EXPECT_EQ(steps, 1);
  EXPECT_EQ(other_steps, 1);
  EXPECT_TRUE(other_gone);
}

TEST_F(JobsTest, JobMayAddJobs) {
  int steps = 0;
  jobs_.add(std::make_unique<FunctionJob>([&](FunctionJob&) {
    for (int i = 0; i < 20; ++i) {
      jobs_.add(std::make_unique<FunctionJob>([&](FunctionJob&) {
        ++steps;
        return Job::State::done;
      }));
    }
    return Job::State::done;
  }));
  jobs_.step();
  jobs_.step();
  EXPECT_EQ(steps, 20);
}

TEST_F(JobsTest, JobMayAddAndCancelJobsWhenItGoes) {
  // Calls `f` when it goes.
  class LastWords final : public Job {
   public:
    explicit LastWords(std::function<void()> f) : f_(std::move(f)) {}
    ~LastWords() override { f_(); }
    State step(TimePoint) override { return State::done; }

   private:
    std::function<void()> f_;
  };
  int steps = 0;
  bool gone = false;
  Job* idle = nullptr;
  jobs_.add(std::make_unique<LastWords>([&] {
    jobs_.cancel(idle);
    for (int i = 0; i < 100; ++i) {
      jobs_.add(std::make_unique<FunctionJob>([&](FunctionJob&) {
        ++steps;
        return Job::State::done;
      }));
    }
  }));
  int idle_steps = 0;
  idle = jobs_.add(std::make_unique<CountingJob>(std::vector(10, Job::State::more), idle_steps, gone));
  jobs_.step();
  jobs_.step();
  EXPECT_TRUE(gone);
  EXPECT_EQ(steps, 100);
}

TEST_F(JobsTest, AllJobsCanBeDropped) {
  int steps = 0;
  std::array<bool, 3> gone{};
  for (auto& g : gone) {
    jobs_.add(std::make_unique<CountingJob>(std::vector(10, Job::State::more), steps, g));
  }
  jobs_.cancel_all();
  EXPECT_EQ(gone, (std::array{true, true, true}));
  jobs_.step();
  EXPECT_EQ(steps, 0);
}

// Sixty-four clients that ask at once cost a turn no more than one, and none of them is forgotten.
TEST_F(JobsTest, AllTogetherKeepTheBudgetOfATurnAndTakeTurns) {
  constexpr std::size_t kJobs = 64;
  constexpr Duration kStep = microseconds(100);
  std::vector<int> steps(kJobs);
  for (std::size_t i = 0; i < kJobs; ++i) {
    jobs_.add(std::make_unique<FunctionJob>([&, i](FunctionJob&) {
      ++steps[i];
      clock_.advance(kStep);
      return Job::State::more;
    }));
  }
  for (int turn = 0; turn < 128; ++turn) {
    const auto start = clock_.now();
    jobs_.step();
    EXPECT_LE(clock_.now() - start, Jobs::kTurnBudget + kStep);
  }
  const auto [least, most] = std::ranges::minmax(steps);
  EXPECT_GE(least, 8);
  EXPECT_LE(most - least, 1);
}

TEST_F(JobsTest, TheBudgetIsSharedBetweenThoseThatAreReady) {
  std::vector<Duration> shares;
  for (int i = 0; i < 3; ++i) {
    jobs_.add(std::make_unique<BudgetJob>(clock_, shares));
  }
  jobs_.step();
  ASSERT_EQ(shares.size(), 3U);
  for (const auto share : shares) EXPECT_LE(std::chrono::abs(share - Jobs::kTurnBudget / 3), Duration(1));
}

}  // namespace
}  // namespace ctsync
