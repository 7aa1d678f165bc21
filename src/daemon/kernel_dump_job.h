// SPDX-License-Identifier: GPL-2.0-or-later
// `-i` with the internal cache disabled: the kernel's table through the filter, in the form of `conntrack -L`
// (spec cli.md 8.1). As fast as the client reads, in slices.
#pragma once

#include <memory>
#include <string>

#include "ctsync/base/event_loop.h"
#include "ctsync/control/client_handle.h"
#include "ctsync/control/render_flow.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::daemon {

class KernelDumpJob final : public Job, private kernel::DumpHandler {
 public:
  KernelDumpJob(kernel::KernelTable& kernel, const FlowFilter& filter, control::Client client);
  ~KernelDumpJob() override;
  KernelDumpJob(const KernelDumpJob&) = delete;
  KernelDumpJob& operator=(const KernelDumpJob&) = delete;

  State step(TimePoint budget_end) override;

 private:
  void on_flow(FlowRecord& record) override;

  kernel::KernelTable& kernel_;
  const FlowFilter& filter_;
  control::Client client_;
  std::unique_ptr<kernel::Dump> dump_;
  control::FlowRenderer renderer_;
  std::string text_;
};

}  // namespace ctsync::daemon
