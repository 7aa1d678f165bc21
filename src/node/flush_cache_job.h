// SPDX-License-Identifier: GPL-2.0-or-later
// `-f`: empties a store in slices. What was there when it was asked for counts as gone at once.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "ctsync/base/jobs.h"
#include "internal_store.h"

namespace ctsync::node {

// `Store`: InternalStore or ExternalStore.
template <typename Store>
class FlushCacheJob final : public Job {
 public:
  FlushCacheJob(Store& store, Scope scope, std::function<void()> on_done)
      : store_(store), on_done_(std::move(on_done)) {
    store_.begin_flush(scope);
  }
  State step(TimePoint budget_end) override {
    if (!store_.flush(walk_, budget_end)) return State::more;
    on_done_();
    return State::done;
  }

 private:
  Store& store_;
  std::function<void()> on_done_;
  Walk walk_;
};

// One flush of a store at a time: who asks during one gets one more, from the beginning, and is answered when that is
// through.
template <typename Store>
class CacheFlusher {
 public:
  CacheFlusher(Jobs& jobs, Store& store) : jobs_(jobs), store_(store) {}

  bool running() const { return job_ != nullptr; }

  void start(Scope scope, std::function<void()> on_done) {
    waiters_.push_back(std::move(on_done));
    if (job_ != nullptr) {
      jobs_.cancel(job_);
      scope.flows |= scope_.flows;
      scope.expectations |= scope_.expectations;
    }
    scope_ = scope;
    job_ = jobs_.add(std::make_unique<FlushCacheJob<Store>>(store_, scope, [this] {
      job_ = nullptr;
      for (const auto& on_done_now : std::exchange(waiters_, {})) on_done_now();
    }));
  }

 private:
  Jobs& jobs_;
  Store& store_;
  Job* job_ = nullptr;
  Scope scope_;
  std::vector<std::function<void()>> waiters_;
};

}  // namespace ctsync::node
