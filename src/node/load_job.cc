// SPDX-License-Identifier: GPL-2.0-or-later
#include "load_job.h"

namespace ctsync::node {

LoadJob::LoadJob(kernel::KernelTable& kernel, KernelFollower& follower, InternalStore& store, Load load, Scope scope,
                 OnDone on_done)
    : kernel_(kernel),
      follower_(follower),
      store_(store),
      load_(load),
      scope_(scope),
      on_done_(std::move(on_done)),
      phase_(scope.flows ? Phase::flows : Phase::expectations) {
  store_.begin_load(load_);
}

LoadJob::~LoadJob() {
  if (phase_ != Phase::done) store_.end_load();
}

Job::State LoadJob::step(TimePoint budget_end) {
  switch (phase_) {
    case Phase::flows:
      return step_dump(kernel::DumpWhat::flows, budget_end);
    case Phase::expectations:
      return step_dump(kernel::DumpWhat::expectations, budget_end);
    case Phase::sweep:
      return store_.sweep(swept_, scope_, budget_end) ? finish(nullptr) : State::more;
    case Phase::done:
      break;
  }
  return State::done;
}

Job::State LoadJob::step_dump(kernel::DumpWhat what, TimePoint budget_end) {
  if (!dump_) {
    auto dump = kernel_.dump(what);
    if (!dump) return finish(&dump.error());
    dump_ = std::move(*dump);
  }
  switch (dump_->step(*this, budget_end)) {
    // The kernel makes the next part of a dump inside the read, so "waiting" does not last.
    case kernel::DumpState::more:
    case kernel::DumpState::waiting:
      return State::more;
    case kernel::DumpState::interrupted:  // only of a dump that is not repeatable
    case kernel::DumpState::failed:
      return finish(&dump_->error());
    case kernel::DumpState::done:
      break;
  }
  dump_.reset();
  if (what == kernel::DumpWhat::flows && scope_.expectations) {
    phase_ = Phase::expectations;
  } else if (sweeps(load_)) {
    phase_ = Phase::sweep;
  } else {
    return finish(nullptr);
  }
  return State::more;
}

Job::State LoadJob::finish(const Error* error) {
  phase_ = Phase::done;
  store_.end_load();  // `on_done_` may begin the next one
  if (on_done_) on_done_(error);
  return State::done;
}

}  // namespace ctsync::node
