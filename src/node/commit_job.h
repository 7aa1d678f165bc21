// SPDX-License-Identifier: GPL-2.0-or-later
// `-c`: writes the external cache into the kernel (spec replication.md 5.1 to 5.4), flows without master first, then
// related ones, then again those whose master was not there yet (a master may be a related flow itself; a few rounds at
// most), then expectations. Works in slices between events; the caches may change meanwhile. The answer to the client
// comes at the end, so that the command blocks until all is done. A commit that is cut short says so in the log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "ctsync/base/jobs.h"
#include "ctsync/base/log.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/text/render_expectation.h"
#include "ctsync/text/render_flow.h"
#include "external_cache.h"
#include "id_set.h"

namespace ctsync::node {

// Seconds to give an entry in the kernel that was told `timeout` seconds `age` seconds ago (spec replication.md 5.3):
// CommitTimeout if configured (not 0), else what is left, and 60 if nothing is.
std::uint32_t commit_timeout(std::uint32_t configured, std::uint32_t timeout, std::uint32_t age);

// The kernel's entry after `record`, a flow that came over the wire, was created: its reply tuple follows from the NAT
// values.
void make_kernel_flow(FlowRecord& out, const FlowRecord& record);

class CommitJob final : public Job, private kernel::WriteHandler {
 public:
  struct Context {
    const table::FlowTable& internal;  // what the kernel has: decides whether an entry can be updated in place
    ExternalCache& external;
    kernel::TableWriter& writer;
    const Clock& clock;
    Log& log;
    // Whether `internal` has heard of everything that happened to what it holds. Then what was committed before, lives
    // still and was told no more of since is left alone.
    bool internal_is_whole;
    std::uint32_t configured_timeout;  // CommitTimeout, seconds; 0 = estimate
    // WarmStandby: the flows to write, of those in `external`; nullptr: all.
    const IdSet* only = nullptr;
    std::uint64_t already = 0;  // that many others count as committed
    // What is written are copies, which become this node's own: a matter of their timeouts.
    bool adopts = false;
    std::function<bool()> read_events = [] { return true; };  // then: whether all were read
    // Called once, when so many flows are written that the commit is a large one.
    std::size_t many = SIZE_MAX;
    std::function<void()> on_many = [] {};
    // What has become of the kernel's entry: new, updated, or destroyed when it could not be created again. Empty if
    // events tell.
    std::function<void(kernel::EventType, FlowRecord&)> flow_written;
    std::function<void(kernel::EventType, Expectation&)> expectation_written;
    // A flow of `internal`, too young to be told of, that a peer has told of.
    std::function<void(table::FlowId)> met_young = [](table::FlowId) {};
  };

  struct Outcome {
    std::uint64_t flows = 0;  // committed
    std::uint64_t expectations = 0;
    std::uint64_t failed = 0;
    bool whole = false;  // else it was cut short
  };
  // `on_done` is called when the job goes.
  using OnDone = std::function<void(const Outcome&)>;

  CommitJob(const Context& context, Scope scope, OnDone on_done);
  ~CommitJob() override;
  CommitJob(const CommitJob&) = delete;
  CommitJob& operator=(const CommitJob&) = delete;

  State step(TimePoint budget_end) override;

 private:
  enum class Phase : std::uint8_t { plain_flows, related_flows, orphans, expectations, done };

  void on_written(const kernel::WriteResult& result, const FlowRecord& record) override;
  table::FlowId wanted_from(table::FlowId id) const;
  bool step_flows(TimePoint budget_end);
  bool step_orphans(TimePoint budget_end);
  bool step_expectations(TimePoint budget_end);
  void write_flow(table::FlowId id);
  bool is_as_committed(const table::FlowSlot& own, const table::FlowSlot& peers) const;
  void write_expectation(std::uint32_t id);
  void next_phase();
  void report(const char* things, std::uint64_t& total);
  void log_failure(const kernel::WriteResult& result, const std::string& entry);
  std::uint32_t age(std::uint32_t updated) const;

  Context c_;
  Scope scope_;
  OnDone on_done_;
  Outcome outcome_;
  Phase phase_ = Phase::plain_flows;
  std::uint32_t next_ = 0;
  std::vector<table::FlowId> orphans_;  // the kernel did not find their master
  std::vector<table::FlowId> retried_;  // orphans of the round before
  int rounds_ = 0;                      // for orphans, so far
  bool last_round_ = false;             // who does not find its master now has failed
  std::size_t written_flows_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t failed_ = 0;
  TimePoint started_;
  FlowRecord record_;
  FlowRecord written_;
  text::FlowRenderer flow_text_;
  text::ExpectationRenderer expectation_text_;
};

}  // namespace ctsync::node
