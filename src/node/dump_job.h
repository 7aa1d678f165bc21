// SPDX-License-Identifier: GPL-2.0-or-later
// Dumps a table to a client in slices (spec cli.md 8): renders only as fast as the client reads, stops when the client
// has gone, and lets the loop turn in between. Entries that come or go meanwhile may or may not be in the dump; all
// others are in it exactly once. Finishes the client when it goes. Table and clock must outlive the job.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ctsync/base/clock.h"
#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/text/render_expectation.h"
#include "ctsync/text/render_flow.h"
#include "list_job.h"

namespace ctsync::node {

// What the dumps of all tables have in common.
class DumpJob : public ListJob {
 protected:
  // `end`: ids run up to it. As of the start, so that a growing table does not prolong the dump.
  DumpJob(const Clock& clock, Client client, Form form, std::uint32_t end);

  virtual std::uint32_t table_end() const = 0;
  // Appends the line or element of a live entry to the text, nothing for a hole or a dead entry.
  virtual void render(std::uint32_t id, std::uint32_t now_seconds) = 0;

 private:
  State list(TimePoint budget_end) final;

  const Clock& clock_;
  std::uint32_t next_ = 0;
  std::uint32_t end_;
};

struct FlowDumpOptions {
  Form form = Form::text;
  // Seconds until the entry expires, shown as "[expires in Ns]" (external cache in ALARM mode); empty function: not
  // shown.
  std::function<std::optional<std::uint32_t>(table::FlowId)> expires_in;
};

class FlowDumpJob final : public DumpJob {
 public:
  FlowDumpJob(const table::FlowTable& table, const Clock& clock, Client client, FlowDumpOptions options);

 private:
  std::uint32_t table_end() const override { return table_.end_id(); }
  void render(std::uint32_t id, std::uint32_t now_seconds) override;

  const table::FlowTable& table_;
  FlowDumpOptions options_;
  text::FlowRenderer renderer_;
};

class ExpectationDumpJob final : public DumpJob {
 public:
  ExpectationDumpJob(const table::ExpectationTable& table, const Clock& clock, Client client, Form form);

 private:
  std::uint32_t table_end() const override { return table_.end_id(); }
  void render(std::uint32_t id, std::uint32_t now_seconds) override;

  const table::ExpectationTable& table_;
  text::ExpectationRenderer renderer_;
};

}  // namespace ctsync::node
