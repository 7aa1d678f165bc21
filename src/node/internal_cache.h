// SPDX-License-Identifier: GPL-2.0-or-later
// The internal cache: a copy of the kernel's table that events and dumps keep up to date. What is done when an entry
// changes differs: SyncCache tells the engine, StatisticsCache the flow log.
#pragma once

#include <functional>

#include "copies.h"
#include "ctsync/flow/flow.h"
#include "ctsync/replication/engine.h"
#include "ctsync/table/told_sums.h"
#include "generations.h"
#include "injected_copies.h"
#include "injection.h"
#include "internal_store.h"
#include "tuple_map.h"

namespace ctsync::node {

// The numbers of a FlowTable or an ExpectationTable.
template <typename Table>
text::CacheNumbers numbers_of(const Table& t) {
  const auto& s = t.stats();
  return {.active = t.live(),
          .total = t.total(),
          .created = s.created,
          .create_failed = s.create_failed,
          .no_memory = s.create_no_memory,
          .no_space = s.create_no_space,
          .updated = s.updated,
          .update_failed = s.update_failed,
          .destroyed = s.destroyed};
}

class InternalCache : public InternalStore {
 public:
  // `expectations`: nullptr if they are not synchronised. `copies`: nullptr if no peer's flow is written into the kernel.
  // Everything must outlive the cache.
  InternalCache(table::FlowTable& flows, table::ExpectationTable* expectations, Copies* copies, const Clock& clock);

  void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void on_expectation(kernel::EventType type, const Expectation& e, kernel::Origin origin) override;
  void caught_up() override;
  void refresh(FlowRecord& record) override;
  bool has_flow(const Tuple& orig) override;
  bool may_be_adjusted(const Tuple& orig) const override;

  bool waits_for_events() const override { return older_wait_ || !overwritten_.empty(); }
  bool has_room() const override;
  bool keeps_flows() const override { return true; }
  bool keeps_expectations() const override { return expectations_ != nullptr; }
  void begin_load(Load load) override;
  void load_flow(FlowRecord& record, Load load) override;
  void load_expectation(Expectation& e, Load load) override;
  void end_load() override;
  bool has_leftovers() const override;
  bool free_leftovers(TimePoint budget_end) override;
  bool sweep(Walk& walk, Scope scope, TimePoint budget_end) override;
  Compared compared() const override { return compared_; }
  void begin_flush(Scope scope) override { generations_.begin_flush(scope); }
  bool flush(Walk& walk, TimePoint budget_end) override;

  std::unique_ptr<Job> dump(const Command& command, const Client& client) override;
  text::StoreNumbers flow_numbers() const override { return numbers_of(flows_); }
  text::StoreNumbers expectation_numbers() const override;
  text::TrafficNumbers traffic() const override { return traffic_; }

 protected:
  using Announce = replication::Announce;

  virtual void flow_changed(table::FlowId, Announce, TimePoint) {}
  // Around each change of a flow; and before it dies or leaves.
  virtual void changing(table::FlowId) {}
  virtual void changed(table::FlowId) {}
  virtual void gone(table::FlowId) {}
  // Marked dead; to be released from the table now or later.
  virtual void flow_dead(table::FlowId id, Announce announce) = 0;
  virtual void flow_leaving(table::FlowId) {}
  // A flow has ended: its last event, or the cached copy if that was missed.
  virtual void flow_ended(const FlowRecord&) {}
  // The table is full.
  virtual void make_room() {}
  virtual void expectation_changed(table::ExpectId, Announce, TimePoint) {}
  virtual void expectation_dead(table::ExpectId id, Announce announce) = 0;
  virtual void expectation_leaving(table::ExpectId) {}

  table::FlowId find(const Tuple& orig);
  void release(table::FlowId id);
  // What a dump under way says of this flow is older than what is known.
  void outdate_dump(const Tuple& orig) {
    if (loading_) told_[orig] |= 0;
  }

  table::FlowTable& flows_;
  table::ExpectationTable* expectations_;
  Copies* const copies_;
  const Clock& clock_;

 private:
  table::ExpectId find(const Expectation& e);

  bool keep(FlowRecord& record, bool replace, Announce announce);
  void keep_own(FlowRecord& record, bool replace, kernel::Origin origin);
  void make_whole(FlowRecord& record);
  bool insert(const FlowRecord& record, Announce announce, bool succeeds = false);
  void bury(table::FlowId id, Announce announce);
  void lives_here(const Tuple& orig, bool fresh);
  bool is_of_a_peer(const FlowRecord& record, Load load, table::FlowId id);
  void insert_expectation(const Expectation& e, Announce announce);
  void bury_expectation(table::ExpectId id, Announce announce);
  void release_expectation(table::ExpectId id);
  // What a dump has found, see Compared.
  enum class Difference : std::uint8_t { missing = 1, left_over, differed };
  std::uint64_t& number_of(Difference d);
  void found(const Tuple& orig, Difference d);
  void explained(const Tuple& orig);
  void count_traffic(const FlowRecord& record);
  void remember_end(TupleMap& ends, const Tuple& orig, std::uint32_t id);
  void forget_ends();
  void replaced(const Flow& f);
  static std::uint32_t told_by(kernel::EventType type, const Flow& f);
  bool has_ended(const Flow& f);

  Generations generations_;
  bool loading_ = false;  // a dump is under way
  // Flows, with their ids, that ended while a dump was under way; and those that our own hand has ended, of which we are
  // told while older events still wait: of one tuple there may be one of each. Until caught_up().
  TupleMap ended_;
  TupleMap taken_;
  bool older_wait_ = false;  // events older than the last of these may wait
  // What our own hand has written, or taken away, of what the peers were told, to write it anew: events from before may
  // still wait, and tell what is no more. Until caught_up().
  enum : std::uint32_t { kWritten = 1, kTold };
  TupleMap overwritten_;
  // What events have told of flows while a dump is under way (bits of `has`): newer than what the dump says of the
  // same.
  TupleMap told_;
  TupleMap died_expected_;  // expected tuples
  Compared compared_;
  // Differences that an event which waits may yet explain. Until caught_up().
  TupleMap found_;
  text::TrafficNumbers traffic_;
  FlowRecord scratch_;
};

// Changes are told to the peers.
class SyncCache final : public InternalCache {
 public:
  // `sums`: to be kept up; nullptr: nobody compares. `injected`: the copies, if they are such; else nullptr.
  SyncCache(table::FlowTable& flows, table::ExpectationTable* expectations, replication::Engine& engine,
            table::ToldSums* sums, Copies* copies, InjectedCopies* injected, const Clock& clock)
      : InternalCache(flows, expectations, copies, clock), engine_(engine), sums_(sums), injected_(injected) {}

  // With `injected`: what a peer says is not to be written into the kernel if it is the end of a flow that lives here, or no
  // news of it.
  Injection::Wanted judge(wire::MsgType type, const Flow& f);
  // What was written, without error.
  void written(const kernel::WriteResult& result, const Flow& f);
  // A copy of a peer's flow was written into the kernel, or removed from it.
  void copy_written(const Tuple& orig) { outdate_dump(orig); }

 private:
  void changing(table::FlowId id) override {
    if (sums_ != nullptr) sums_->changing(id);
  }
  void changed(table::FlowId id) override {
    if (sums_ != nullptr) sums_->changed(id);
  }
  void gone(table::FlowId id) override {
    if (sums_ != nullptr) sums_->gone(id);
  }
  void flow_changed(table::FlowId id, Announce a, TimePoint now) override { engine_.flow_changed(id, a, now); }
  void flow_dead(table::FlowId id, Announce a) override { engine_.flow_dead(id, a); }
  void flow_leaving(table::FlowId id) override { engine_.flow_leaving(id); }
  void make_room() override { engine_.release_one_dead(); }
  void expectation_changed(table::ExpectId id, Announce a, TimePoint now) override {
    engine_.expectation_changed(id, a, now);
  }
  void expectation_dead(table::ExpectId id, Announce a) override { engine_.expectation_dead(id, a); }
  void expectation_leaving(table::ExpectId id) override { engine_.expectation_leaving(id); }

  void doubt(table::FlowSlot& slot);

  replication::Engine& engine_;
  table::ToldSums* sums_;
  InjectedCopies* const injected_;
};

// There are no peers; flows that end are handed to whoever logs them (spec replication.md 6).
class StatisticsCache final : public InternalCache {
 public:
  StatisticsCache(table::FlowTable& flows, std::function<void(const FlowRecord&)> on_finished, const Clock& clock)
      : InternalCache(flows, nullptr, nullptr, clock), on_finished_(std::move(on_finished)) {}

 private:
  void flow_dead(table::FlowId id, Announce) override { flows_.release(id); }
  void flow_ended(const FlowRecord& r) override { on_finished_(r); }
  void expectation_dead(table::ExpectId, Announce) override {}

  std::function<void(const FlowRecord&)> on_finished_;
};

}  // namespace ctsync::node
