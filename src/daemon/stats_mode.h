// SPDX-License-Identifier: GPL-2.0-or-later
// Statistics mode (spec replication.md 6): a cache that follows the kernel, and a line in the flow log for every flow
// that ends.
#pragma once

#include "ctsync/table/flow_table.h"
#include "flow_log.h"
#include "kernel_session.h"
#include "mode.h"

namespace ctsync::daemon {

class StatsMode final : public Mode {
 public:
  explicit StatsMode(const ModeContext& context);

  Result<> start() override;
  bool on_request(control::Request request, const control::Client& client) override;
  std::string status() const override { return fmt::format("statistics: {} flows", flows_.live()); }
  void fill_runtime(control::RuntimeNumbers& n) const override { session_.fill_runtime(n); }
  void reopen_logs() override;

 private:
  void end_turn();

  ModeContext c_;
  table::FlowTable flows_;
  KernelSession session_;
  FlowLog flow_log_;
  Timer retry_timer_;
  TurnHook turn_end_;
};

}  // namespace ctsync::daemon
