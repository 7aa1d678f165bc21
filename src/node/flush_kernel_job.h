// SPDX-License-Identifier: GPL-2.0-or-later
// `-F` and the scheduled purge of `-t`: deletes the kernel's flows that pass the filter, in batches, in slices. The
// events that follow have the origin "flush", so peers are told nothing.
#pragma once

#include <functional>
#include <memory>

#include "ctsync/base/jobs.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::node {

class FlushKernelJob final : public Job, private kernel::DumpHandler, private kernel::WriteHandler {
 public:
  using OnDone = std::function<void(const Error* error)>;

  // Leaves alone what is `spared`. `on_deleted` is called for each flow that is gone; may be empty, if events tell.
  FlushKernelJob(kernel::KernelTable& kernel, const FlowFilter& filter, std::function<bool(const Tuple&)> spared,
                 std::function<void(FlowRecord&)> on_deleted, OnDone on_done);

  State step(TimePoint budget_end) override;

 private:
  void on_flow(FlowRecord& record, std::span<const std::uint8_t>) override;
  void on_written(const kernel::WriteResult& result, const FlowRecord& record) override;
  State finish(const Error* error);

  kernel::KernelTable& kernel_;
  kernel::TableWriter& writer_;
  const FlowFilter& filter_;
  std::function<bool(const Tuple&)> spared_;
  std::function<void(FlowRecord&)> on_deleted_;
  OnDone on_done_;
  FlowRecord deleted_;
  std::unique_ptr<kernel::Dump> dump_;
};

}  // namespace ctsync::node
