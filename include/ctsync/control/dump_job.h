// SPDX-License-Identifier: GPL-2.0-or-later
// Dumps a table to a client in slices (spec cli.md 8): renders only as fast as the client reads, stops when the client
// has gone, and lets the loop turn in between. Entries that come or go meanwhile may or may not be in the dump; all
// others are in it exactly once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ctsync/base/clock.h"
#include "ctsync/base/event_loop.h"
#include "ctsync/control/client_handle.h"
#include "ctsync/control/render_flow.h"
#include "ctsync/table/flow_table.h"

namespace ctsync::control {

struct FlowDumpOptions {
  bool xml = false;
  // Seconds until the entry expires, shown as "[expires in Ns]" (external cache in ALARM mode); empty function: not
  // shown.
  std::function<std::optional<std::uint32_t>(table::FlowId)> expires_in;
};

// Live entries of a flow table, by id. Finishes the client at the end. Table and clock must outlive the job.
class FlowDumpJob final : public Job {
 public:
  FlowDumpJob(const table::FlowTable& table, const Clock& clock, Client client, FlowDumpOptions options);
  ~FlowDumpJob() override;
  FlowDumpJob(const FlowDumpJob&) = delete;
  FlowDumpJob& operator=(const FlowDumpJob&) = delete;

  State step(TimePoint budget_end) override;

 private:
  void render(table::FlowId id, std::uint32_t now_seconds);

  const table::FlowTable& table_;
  const Clock& clock_;
  Client client_;
  FlowDumpOptions options_;
  FlowRenderer renderer_;
  std::string text_;  // of the current slice
  table::FlowId next_ = 0;
  table::FlowId end_;  // as of the start, so that a growing table does not prolong the dump
};

}  // namespace ctsync::control
