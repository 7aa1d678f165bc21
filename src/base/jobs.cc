// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/jobs.h"

#include <algorithm>
#include <utility>

namespace ctsync {

Job* Jobs::add(std::unique_ptr<Job> job) {
  jobs_.push_back(std::move(job));
  return jobs_.back().get();
}

void Jobs::cancel(const Job* job) {
  if (job == running_) {
    cancelled_while_running_ = job != nullptr;
    return;
  }
  drop(job);
}

// The job goes after its place in the list: its destructor may add and cancel other jobs.
void Jobs::drop(const Job* job) {
  const auto it = std::ranges::find_if(jobs_, [job](const auto& j) { return j.get() == job; });
  if (it == jobs_.end()) return;
  if (static_cast<std::size_t>(it - jobs_.begin()) < next_) --next_;
  const auto dropped = std::move(*it);
  jobs_.erase(it);
}

void Jobs::cancel_all() {
  while (!jobs_.empty()) drop(jobs_.back().get());
}

bool Jobs::ready() const {
  return std::ranges::any_of(jobs_, [](const auto& j) { return !j->waiting_; });
}

void Jobs::step(TimePoint turn_began) {
  rest_ = {};
  auto ready = std::ranges::count_if(jobs_, [](const auto& j) { return !j->waiting_; });
  if (ready == 0) return;
  const auto start = clock_.now();
  const auto end = start + kTurnBudget;
  for (auto places = jobs_.size(); places > 0 && !jobs_.empty(); --places) {
    if (next_ >= jobs_.size()) next_ = 0;
    const auto now = clock_.now();
    if (now >= end) break;
    Job* job = jobs_[next_++].get();
    if (job->waiting_) continue;
    run(job, now + (end - now) / std::max<std::ptrdiff_t>(ready--, 1));
  }
  account(turn_began, start, clock_.now());
}

void Jobs::run(Job* job, TimePoint budget_end) {
  running_ = job;
  job->waiting_ = true;  // so that a wake() during the step counts
  const auto state = job->step(budget_end);
  running_ = nullptr;
  const bool cancelled = std::exchange(cancelled_while_running_, false);
  if (state == Job::State::done || cancelled) {
    drop(job);
  } else if (state == Job::State::more) {
    job->waiting_ = false;
  }
}

void Jobs::account(TimePoint turn_began, TimePoint start, TimePoint end) {
  if (start - last_worked_ > std::chrono::seconds(1)) worked_ = {};
  last_worked_ = end;
  worked_ += end - start;
  if (worked_ > kSprint) rest_ = std::min((end - turn_began) / kRestPart, kLongestRest);
}

}  // namespace ctsync
