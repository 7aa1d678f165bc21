// SPDX-License-Identifier: GPL-2.0-or-later
// `-i` with the internal cache disabled: the kernel's table through the filter, in the form of `conntrack -L` (spec
// cli.md 8.1). As fast as the client reads, in slices. A list that could not be read to its end says so in its last
// line, and in the log.
#pragma once

#include <memory>

#include "ctsync/base/log.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/text/render_flow.h"
#include "list_job.h"

namespace ctsync::node {

class KernelDumpJob final : public ListJob, private kernel::DumpHandler {
 public:
  KernelDumpJob(kernel::KernelTable& kernel, const FlowFilter& filter, Log& log, Client client, Form form);

 private:
  State list(TimePoint budget_end) override;
  void on_flow(FlowRecord& record, std::span<const std::uint8_t> attributes) override;
  State fail_with(const Error& error);

  kernel::KernelTable& kernel_;
  const FlowFilter& filter_;
  Log& log_;
  std::unique_ptr<kernel::Dump> dump_;
  text::FlowRenderer renderer_;
};

}  // namespace ctsync::node
