// SPDX-License-Identifier: GPL-2.0-or-later
// Reads the kernel's table into the internal cache in slices: start, `-R`, the resync after lost events, and polling.
#pragma once

#include <functional>
#include <memory>

#include "ctsync/base/event_loop.h"
#include "ctsync/kernel/kernel_table.h"
#include "kernel_follower.h"

namespace ctsync::daemon {

class KernelLoadJob final : public Job, private kernel::DumpHandler {
 public:
  struct Scope {
    bool flows = true;
    bool expectations = false;
  };
  // `on_done` gets the error if the kernel could not be read to the end; then nothing is taken for gone.
  using OnDone = std::function<void(const Error* error)>;

  KernelLoadJob(kernel::KernelTable& kernel, KernelFollower& follower, KernelFollower::Load load, Scope scope,
                OnDone on_done);
  ~KernelLoadJob() override;
  KernelLoadJob(const KernelLoadJob&) = delete;
  KernelLoadJob& operator=(const KernelLoadJob&) = delete;

  State step(TimePoint budget_end) override;

 private:
  enum class Phase : std::uint8_t { flows, expectations, sweep, done };

  void on_flow(FlowRecord& record) override { follower_.load_flow(record, load_); }
  void on_expectation(Expectation& e) override { follower_.load_expectation(e, load_); }
  void on_bad_entry(kernel::DecodeStatus) override { follower_.count_bad_entry(); }
  State step_dump(kernel::DumpWhat what, TimePoint budget_end);
  State finish(const Error* error);

  kernel::KernelTable& kernel_;
  KernelFollower& follower_;
  const KernelFollower::Load load_;
  const Scope scope_;
  OnDone on_done_;
  Phase phase_ = Phase::flows;
  std::unique_ptr<kernel::Dump> dump_;
  table::FlowId swept_ = 0;
};

}  // namespace ctsync::daemon
