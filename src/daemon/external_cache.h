// SPDX-License-Identifier: GPL-2.0-or-later
// What the peers have: takes decoded messages into the external cache (spec replication.md 4.3), or, with
// DisableExternalCache, straight into the kernel (5.5). In ALARM mode entries expire.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ctsync/base/log.h"
#include "ctsync/control/render_expectation.h"
#include "ctsync/control/render_flow.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/replication/expiry.h"
#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/wire/header.h"

namespace ctsync::daemon {

class ExternalStore {
 public:
  virtual ~ExternalStore() = default;
  virtual void take(wire::MsgType type, const FlowRecord& record) = 0;
  virtual void take(wire::MsgType type, const Expectation& e) = 0;
  // End of a turn of the loop: what was collected is done.
  virtual void end_turn() {}
};

class ExternalCache final : public ExternalStore {
 public:
  // `expectations` is nullptr without ExpectationSync. `cache_timeout`: ALARM.
  ExternalCache(table::FlowTable& flows, table::ExpectationTable* expectations, std::optional<Duration> cache_timeout,
                const Clock& clock);

  void take(wire::MsgType type, const FlowRecord& record) override;
  void take(wire::MsgType type, const Expectation& e) override;

  void flush_flows();
  void flush_expectations();

  std::optional<TimePoint> next_deadline() const;
  void on_timer();
  std::optional<std::uint32_t> expires_in(table::FlowId id) const;  // seconds; ALARM only

 private:
  void put(wire::MsgType type, const FlowRecord& record, table::FlowId id);
  void release(table::FlowId id);
  void release_expectation(table::ExpectId id);

  table::FlowTable& flows_;
  table::ExpectationTable* expectations_;
  const Clock& clock_;
  std::optional<replication::Expiry> flow_expiry_;
  std::optional<replication::Expiry> expect_expiry_;
};

// Direct injection. A related flow that comes before its master is tried again at the end of the turn.
class KernelInjection final : public ExternalStore, private kernel::WriteHandler {
 public:
  struct Stats {
    std::uint64_t created = 0, create_failed = 0;
    std::uint64_t updated = 0, update_failed = 0;
    std::uint64_t destroyed = 0, destroy_failed = 0;
  };

  KernelInjection(kernel::TableWriter& writer, const Clock& clock, Log& log)
      : writer_(writer), clock_(clock), log_(log) {}

  void take(wire::MsgType type, const FlowRecord& record) override;
  void take(wire::MsgType type, const Expectation& e) override;
  void end_turn() override;

  const Stats& flow_stats() const { return flows_; }
  const Stats& expectation_stats() const { return expectations_; }

 private:
  void on_written(const kernel::WriteResult& result, const FlowRecord& record) override;
  void keep_orphan(kernel::WriteOp op, const FlowRecord& record);
  void warn(const char* text, int error, const std::string& entry);

  kernel::TableWriter& writer_;
  const Clock& clock_;
  Log& log_;
  Stats flows_;
  Stats expectations_;
  bool pending_ = false;
  struct Orphan {
    kernel::WriteOp op;
    FlowRecord record;
  };
  std::vector<Orphan> orphans_;  // of this turn
  bool retrying_ = false;
  RateLimit limit_{std::chrono::seconds(1)};
  control::FlowRenderer flow_text_;
  control::ExpectationRenderer expectation_text_;
};

}  // namespace ctsync::daemon
