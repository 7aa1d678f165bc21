// SPDX-License-Identifier: GPL-2.0-or-later
// Bulk send with the internal cache disabled (spec replication.md 3.3): every kernel flow that passes the filter is
// handed to `send`, then every expectation to `send_expectation`, about 500 a millisecond and not while the link is
// congested, so that neither the peer's socket buffer nor our queue is overrun. A dump that fails is begun anew, for it
// does no harm to tell a peer the same twice.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "ctsync/base/jobs.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/wire/datagram_sink.h"

namespace ctsync::node {

class BulkJob final : public Job, private kernel::DumpHandler {
 public:
  struct Context {
    kernel::KernelTable& kernel;
    const FlowFilter& filter;
    const wire::DatagramSink& sink;
    const Clock& clock;
    std::function<void(const FlowRecord&)> send;
    std::function<void(const Expectation&)> send_expectation;  // empty: none
    // Called once: with the error if not everything could be read.
    std::function<void(const Error* error)> on_done;
  };
  explicit BulkJob(Context context) : c_(std::move(context)) {}

  State step(TimePoint budget_end) override;
  // When to wake the job.
  std::optional<TimePoint> wake_at() const { return wake_at_; }

 private:
  static constexpr Duration kPace = std::chrono::microseconds(150);
  static constexpr Duration kCongested = std::chrono::milliseconds(10);
  static constexpr Duration kPauseAfterFailure = std::chrono::seconds(1);
  static constexpr int kTries = 5;

  void on_flow(FlowRecord& record, std::span<const std::uint8_t>) override;
  void on_expectation(Expectation& e) override { c_.send_expectation(e); }
  State wait(Duration d);
  State failed(const Error& error);
  State finish(const Error* error);

  Context c_;
  kernel::DumpWhat what_ = kernel::DumpWhat::flows;
  std::unique_ptr<kernel::Dump> dump_;
  std::optional<TimePoint> wake_at_;
  int tries_left_ = kTries;
};

}  // namespace ctsync::node
