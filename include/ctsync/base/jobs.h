// SPDX-License-Identifier: GPL-2.0-or-later
// Long work in small steps. All jobs together get kTurnBudget in a turn of the loop, so that however many there are,
// what else waits for the loop is served soon. They take turns: a turn goes on where the one before it ran out of time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ctsync/base/clock.h"

namespace ctsync {

class Job {
 public:
  enum class State : std::uint8_t {
    more,     // call again in the next turn
    waiting,  // call again after wake()
    done,     // remove me
  };
  virtual ~Job() = default;
  // Works until `budget_end` and tells whether it wants another turn. What it does at a stretch it may finish: a few
  // tens of flows of a table, a batch of writes to the kernel, what one read of a dump brought. That is some hundred
  // microseconds, and more only where the kernel itself has to search long, as NAT does for a free tuple.
  virtual State step(TimePoint budget_end) = 0;
  // After State::waiting: step again in the next turn. Counts too when called during the step that returns waiting.
  void wake() { waiting_ = false; }

 private:
  friend class Jobs;
  bool waiting_ = false;
};

class Jobs {
 public:
  // Time that all jobs together may take in a turn.
  static constexpr Duration kTurnBudget = std::chrono::microseconds(500);
  // Once jobs have worked for kSprint, the loop rests before the next turn, for this part of the time that the turn took
  // in all. Without a rest a long job would starve the processes of ordinary priority on its processor (the daemon has
  // real-time priority), and the kernel, which does not let that happen, would stop the daemon for 50 ms in every
  // second. After a second without jobs they may sprint again.
  static constexpr int kRestPart = 6;
  static constexpr Duration kLongestRest = std::chrono::milliseconds(2);
  static constexpr Duration kSprint = std::chrono::milliseconds(400);

  // The clock must outlive the jobs.
  explicit Jobs(const Clock& clock) : clock_(clock) {}
  ~Jobs() { cancel_all(); }
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // Owns the job from here and drops it when it is done or cancelled. May be called from a step.
  Job* add(std::unique_ptr<Job> job);
  // Drops it, a job that is being stepped after its step. Nothing happens if it is gone already.
  void cancel(const Job* job);
  // To be called before what they work on goes, not from a step.
  void cancel_all();

  bool empty() const { return jobs_.empty(); }
  // Whether one of them wants a step.
  bool ready() const;
  // One turn, which began a while ago with other work: steps those that are ready, once each, as far as the budget goes.
  void step(TimePoint turn_began);
  void step() { step(clock_.now()); }
  // How long to leave the processor to others before the next turn.
  Duration rest() const { return rest_; }

 private:
  void run(Job* job, TimePoint budget_end);
  void drop(const Job* job);
  void account(TimePoint turn_began, TimePoint start, TimePoint end);

  const Clock& clock_;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::size_t next_ = 0;  // whose turn it is
  const Job* running_ = nullptr;
  bool cancelled_while_running_ = false;
  Duration rest_{};
  Duration worked_{};  // since they began to sprint
  TimePoint last_worked_{};
};

}  // namespace ctsync
