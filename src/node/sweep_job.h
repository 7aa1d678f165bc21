// SPDX-License-Identifier: GPL-2.0-or-later
// Removes from an external store what has ended at a peer, in slices, after a bulk of that peer has arrived as a whole.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

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

  Sweeper(Jobs& jobs, ExternalStore& store, LastOf last_of, OnDone on_done)
      : jobs_(jobs), store_(store), last_of_(std::move(last_of)), on_done_(std::move(on_done)) {}

  void start(Told told) {
    if (!told.buckets) std::erase_if(waiting_, [&](const Told& t) { return t.from.owner == told.from.owner; });
    if (waiting_.size() == kMost) return;
    waiting_.push_back(std::move(told));
    if (!running_) {
      running_ = true;
      jobs_.add(std::make_unique<SweepJob>(*this));
    }
  }

 private:
  class SweepJob final : public Job {
   public:
    explicit SweepJob(Sweeper& sweeper) : s_(sweeper) {}
    State step(TimePoint budget_end) override {
      if (!now_) {
        now_ = s_.waiting_.front();
        s_.waiting_.erase(s_.waiting_.begin());
        walk_ = {};
        removed_ = 0;
      }
      // What it tells while this goes on is not old.
      const auto last = s_.last_of_(now_->from.owner);
      now_->last = last.value_or(0);
      if (last && !s_.store_.sweep(*now_, walk_, budget_end, removed_)) return State::more;
      s_.on_done_(now_->from.owner, removed_);
      now_.reset();
      s_.running_ = !s_.waiting_.empty();
      return s_.running_ ? State::more : State::done;
    }

   private:
    Sweeper& s_;
    std::optional<Told> now_;
    Walk walk_;
    std::uint32_t removed_ = 0;
  };

  Jobs& jobs_;
  ExternalStore& store_;
  LastOf last_of_;
  OnDone on_done_;
  bool running_ = false;
  static constexpr std::size_t kMost = 256;  // what is not swept today a later word of the peer sweeps
  std::vector<Told> waiting_;
};

}  // namespace ctsync::node
