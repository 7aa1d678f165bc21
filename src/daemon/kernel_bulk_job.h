// SPDX-License-Identifier: GPL-2.0-or-later
// Bulk send with the internal cache disabled (spec replication.md 3.3): every kernel flow that passes the filter is
// handed to `send`, then every expectation to `send_expectation` (which may be empty: none), about 500 a millisecond,
// so that the peer's socket buffer is not overrun.
#pragma once

#include <functional>
#include <memory>

#include "ctsync/base/event_loop.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::daemon {

class KernelBulkJob final : public Job, private kernel::DumpHandler {
 public:
  KernelBulkJob(EventLoop& loop, kernel::KernelTable& kernel, const FlowFilter& filter,
                std::function<void(const FlowRecord&)> send, std::function<void(const Expectation&)> send_expectation,
                std::function<void()> on_done);
  ~KernelBulkJob() override { on_done_(); }

  State step(TimePoint budget_end) override;

 private:
  void on_flow(FlowRecord& record) override;
  void on_expectation(Expectation& e) override { send_expectation_(e); }

  kernel::KernelTable& kernel_;
  const FlowFilter& filter_;
  std::function<void(const FlowRecord&)> send_;
  std::function<void(const Expectation&)> send_expectation_;
  std::function<void()> on_done_;
  kernel::DumpWhat what_ = kernel::DumpWhat::flows;
  std::unique_ptr<kernel::Dump> dump_;
  Timer pace_;
};

}  // namespace ctsync::daemon
