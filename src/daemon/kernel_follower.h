// SPDX-License-Identifier: GPL-2.0-or-later
// Follows the kernel's table: what events and dumps say goes through the filters into the internal cache and on to the
// engine (spec replication.md 4.3 to 4.6). Does no I/O itself, but for single look-ups through the KernelTable seam.
//
// Modes: with an internal cache (normal); without (`send` is called for every foreign event, nothing is kept); and
// without an engine (statistics mode: `finished` is called for every cached flow that ends).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "ctsync/base/log.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/replication/engine.h"
#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"

namespace ctsync::daemon {

// Which expectations are synchronised: those of helpers whose name begins with one of the names (without case), or of
// all.
class HelperFilter {
 public:
  explicit HelperFilter(std::vector<std::string> names) : names_(std::move(names)) {}
  bool accepts(const Expectation& e) const;

 private:
  std::vector<std::string> names_;  // empty: all
};

class KernelFollower final : public kernel::EventHandler {
 public:
  // What a dump is for.
  enum class Load : std::uint8_t {
    start,   // fill the empty cache; peers are told nothing
    merge,   // `-R`: insert and merge; peers are told nothing, nothing is removed
    mend,    // after lost events, and polling: mark and sweep; peers are told what changed
    repeat,  // as mend, but peers are told everything
  };
  struct Context {
    const Clock& clock;
    Log& log;
    kernel::KernelTable& kernel;
    const FlowFilter& filter;
    const HelperFilter& helpers;
    table::FlowTable* flows;                // nullptr: no internal cache
    table::ExpectationTable* expectations;  // nullptr: not synchronised, or no internal cache
    replication::Engine* engine;            // nullptr: statistics mode
    std::uint64_t hash_seed = 0;            // random bits
  };
  struct Stats {
    std::uint64_t filtered = 0;
    std::uint64_t dump_unknown = 0;
    std::uint64_t bypass_created = 0;
    std::uint64_t bypass_updated = 0;
    std::uint64_t bypass_destroyed = 0;
    std::uint64_t bypass_expectations_created = 0;
    std::uint64_t bypass_expectations_updated = 0;
    std::uint64_t bypass_expectations_destroyed = 0;
    std::uint64_t traffic_bytes = 0;
    std::uint64_t traffic_packets = 0;
  };

  explicit KernelFollower(const Context& context);

  std::function<void(kernel::EventType, const FlowRecord&)> send;
  std::function<void(kernel::EventType, const Expectation&)> send_expectation;
  std::function<void(const FlowRecord&)> finished;  // the destroy event, or the cached copy when the event was missed
  std::function<void()> overrun;
  // There is something that the kernel finishes only after the event that told of it: catch_up() is to be called about
  // 20 ms from now. May be called again before that.
  std::function<void()> later;

  // kernel::EventHandler
  void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void on_expectation(kernel::EventType type, Expectation& e, kernel::Origin origin) override;
  void on_bad_event(kernel::DecodeStatus why) override;
  void on_overrun(kernel::BufferGrowth growth, std::uint32_t buffer_size) override;

  // Looks again at masters of new expectations and related flows, and for the masters of expectations that came before
  // them.
  void catch_up();

  // Whether an expectation is to be synchronised: its helper is listed, and its master passes the filter.
  bool wanted(const Expectation& e) { return c_.helpers.accepts(e) && master_known(e); }

  // Every event that was waiting has been handed over: what is told from here on happened later than what was told
  // before.
  void caught_up();

  // A dump: begin, then every entry, then end. While one is under way, flows whose destroy event came are remembered,
  // so that a dump entry made before the event cannot bring them back.
  void begin_load(Load load);
  void load_flow(FlowRecord& record, Load load);
  void load_expectation(Expectation& e, Load load);
  void count_bad_entry() { ++stats_.dump_unknown; }
  // Ends the dump. After a complete one for mending, sweep() is to be called until it says that it is through.
  void end_load();
  bool sweep_flows(table::FlowId& next, TimePoint budget_end);
  void sweep_expectations();

  // Empties the caches; peers are told nothing.
  void flush_flows();
  void flush_expectations();

  const Stats& stats() const { return stats_; }

 private:
  void keep(FlowRecord& record, bool replace, replication::Announce announce);
  void insert(const FlowRecord& record, replication::Announce announce);
  void bury(table::FlowId id, replication::Announce announce);
  void release(table::FlowId id);
  void insert_expectation(const Expectation& e, replication::Announce announce);
  void bury_expectation(table::ExpectId id, replication::Announce announce);
  void release_expectation(table::ExpectId id);
  void take_expectation(kernel::EventType type, const Expectation& e, kernel::Origin origin);
  void complete(FlowRecord& record);
  void look_again_at(const Tuple& master);
  void refresh(const Tuple& master);
  bool master_known(const Expectation& e);
  void count_traffic(const FlowRecord& record);
  bool has_ended(const Flow& f);

  Context c_;
  Stats stats_;
  RateLimit overrun_limit_{std::chrono::seconds(60)};
  RateLimit bad_event_limit_{std::chrono::seconds(10)};
  std::uint16_t generation_ = 0;
  unsigned loads_ = 0;  // dumps under way
  using Tuples = std::unordered_set<Tuple, TupleHash>;
  // Flows, with their ids, that ended while a dump was under way, or by our own hand, of which we are told while older
  // events still wait. Until caught_up().
  std::unordered_map<Tuple, std::uint32_t, TupleHash> ended_;
  Tuples died_expected_;  // expected tuples
  struct Waiting {
    Expectation expectation;
    kernel::Origin origin;
  };
  static constexpr std::size_t kMostLate = 8192;  // of each, until catch_up()
  Tuples masters_;
  std::vector<Waiting> waiting_;  // for their master
  FlowRecord scratch_;
};

}  // namespace ctsync::daemon
