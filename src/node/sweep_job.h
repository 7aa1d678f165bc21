// SPDX-License-Identifier: GPL-2.0-or-later
// Removes from an external store what has ended at a peer, in slices, after a bulk of that peer has arrived as a whole.
// Each time takes a walk over the whole store, and anybody can say that a bulk has arrived: after each there is a pause.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/jobs.h"
#include "external_store.h"

namespace ctsync::node {

// One job for all peers: who is told again before its turn has come is swept once, after the later word.
class Sweeper {
 public:
  // on_done(owner, entries removed)
  using OnDone = std::function<void(std::uint32_t, std::uint32_t)>;
  // The last number heard of the peer of this owner; nothing: it is gone.
  using LastOf = std::function<std::optional<std::uint32_t>(std::uint32_t)>;

  static constexpr Duration kPause = std::chrono::milliseconds(200);

  Sweeper(Jobs& jobs, ExternalStore& store, const Clock& clock, LastOf last_of, OnDone on_done)
      : jobs_(jobs), store_(store), clock_(clock), last_of_(std::move(last_of)), on_done_(std::move(on_done)) {}

  void start(Told told) {
    if (!told.buckets) std::erase_if(waiting_, [&](const Told& t) { return t.from.owner == told.from.owner; });
    if (waiting_.size() == kMost) return;
    waiting_.push_back(std::move(told));
    on_timer();
  }
  // Whether something of this owner is to be swept yet.
  bool has_left(std::uint32_t owner) const {
    return std::ranges::any_of(waiting_, [&](const Told& t) { return t.from.owner == owner; });
  }
  std::optional<TimePoint> next_deadline() const {
    return running_ || waiting_.empty() ? std::nullopt : std::optional(pause_until_);
  }
  void on_timer() {
    if (const auto at = next_deadline(); !at || clock_.now() < *at) return;
    running_ = true;
    jobs_.add(std::make_unique<SweepJob>(*this));
  }

 private:
  class SweepJob final : public Job {
   public:
    explicit SweepJob(Sweeper& sweeper) : s_(sweeper) {}
    State step(TimePoint budget_end) override {
      if (!now_) {
        now_ = s_.waiting_.front();
        s_.waiting_.erase(s_.waiting_.begin());
      }
      // What it tells while this goes on is not old.
      const auto last = s_.last_of_(now_->from.owner);
      now_->last = last.value_or(0);
      if ((last || now_->nothing_holds) && !s_.store_.sweep(*now_, walk_, budget_end, removed_)) return State::more;
      s_.running_ = false;
      s_.pause_until_ = s_.clock_.now() + kPause;
      s_.on_done_(now_->from.owner, removed_);
      return State::done;
    }

   private:
    Sweeper& s_;
    std::optional<Told> now_;
    Walk walk_;
    std::uint32_t removed_ = 0;
  };

  Jobs& jobs_;
  ExternalStore& store_;
  const Clock& clock_;
  LastOf last_of_;
  OnDone on_done_;
  bool running_ = false;
  TimePoint pause_until_{};
  static constexpr std::size_t kMost = 256;  // what is not swept today a later word of the peer sweeps
  std::vector<Told> waiting_;
};

}  // namespace ctsync::node
