// SPDX-License-Identifier: GPL-2.0-or-later
// Reads the kernel's table into the internal store in slices: start, `-R`, the resync after lost events, and polling.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "ctsync/base/jobs.h"
#include "ctsync/kernel/kernel_table.h"
#include "internal_store.h"
#include "kernel_follower.h"

namespace ctsync::node {

class LoadJob final : public Job, private kernel::DumpHandler {
 public:
  // `on_done` gets the error if the kernel could not be read to the end; then nothing is taken for gone. It is not
  // called when the job is cancelled.
  using OnDone = std::function<void(const Error* error)>;

  LoadJob(kernel::KernelTable& kernel, KernelFollower& follower, InternalStore& store, Load load, Scope scope,
          OnDone on_done);
  ~LoadJob() override;
  LoadJob(const LoadJob&) = delete;
  LoadJob& operator=(const LoadJob&) = delete;

  State step(TimePoint budget_end) override;

 private:
  enum class Phase : std::uint8_t { flows, expectations, sweep, done };

  void on_flow(FlowRecord& record, std::span<const std::uint8_t>) override { follower_.load_flow(record, load_); }
  void on_expectation(Expectation& e) override { follower_.load_expectation(e, load_); }
  void on_bad_entry(kernel::DecodeStatus) override { follower_.count_bad_entry(); }
  State step_dump(kernel::DumpWhat what, TimePoint budget_end);
  State finish(const Error* error);

  kernel::KernelTable& kernel_;
  KernelFollower& follower_;
  InternalStore& store_;
  const Load load_;
  const Scope scope_;
  OnDone on_done_;
  Phase phase_;
  std::unique_ptr<kernel::Dump> dump_;
  Walk swept_;
};

}  // namespace ctsync::node
