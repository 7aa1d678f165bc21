// SPDX-License-Identifier: GPL-2.0-or-later
// What this node's kernel has, as far as it is synchronised (spec replication.md 4.3 to 4.6): kept in a cache, handed
// on without keeping it (DisableInternalCache), or kept for the log alone (statistics mode). The mirror of
// ExternalStore. It is told by KernelFollower, which has filtered already.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "ctsync/base/clock.h"
#include "ctsync/base/jobs.h"
#include "ctsync/base/result.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/node/client.h"
#include "ctsync/node/command.h"
#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/text/snapshot.h"

namespace ctsync::node {

// What a dump of the kernel is for.
enum class Load : std::uint8_t {
  start,   // fill the empty cache; peers are told nothing
  merge,   // `-R`: insert and merge; peers are told nothing, nothing is removed
  mend,    // after lost events, and polling: mark and sweep; peers are told what changed
  repeat,  // as mend, but peers are told everything
};
constexpr bool sweeps(Load load) { return load == Load::mend || load == Load::repeat; }

// Which tables something is about.
struct Scope {
  bool flows = true;
  bool expectations = false;
};

// How far a walk over a cache has come.
struct Walk {
  table::FlowId flow = 0;
  table::ExpectId expectation = 0;
};

// What a dump for mending has found, of flows: everything that the kernel and the cache had not the same.
struct Compared {
  std::uint64_t flows = 0;      // read
  std::uint64_t missing = 0;    // in the cache
  std::uint64_t left_over = 0;  // in the cache, though they had ended
  std::uint64_t differed = 0;   // in what peers are told of them

  bool all_same() const { return missing == 0 && left_over == 0 && differed == 0; }
};

class InternalStore {
 public:
  virtual ~InternalStore() = default;

  // Called when something was not taken because there is no room for it.
  std::function<void()> full = [] {};
  // Asked before a flow that a dump did not show is taken for gone: a dump misses some while the kernel's table grows,
  // and does not show those in a state that the filter refuses.
  std::function<bool(const Flow&)> is_in_kernel = [](const Flow&) { return false; };
  // The flow of this tuple as the kernel has it now; false: no such flow. An error: no answer.
  std::function<Result<bool>(const Tuple&, FlowRecord&)> read_again = [](const Tuple&, FlowRecord&) { return false; };
  // Whether there is room for a good many more.
  virtual bool has_room() const { return true; }

  // --- Events. Of our own writers (`origin`) peers are told nothing. ---
  virtual void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) = 0;
  virtual void on_expectation(kernel::EventType type, const Expectation& e, kernel::Origin origin) = 0;
  // Every event that was waiting has been handed over: what is told from here on happened later than what was told
  // before.
  virtual void caught_up() {}
  // Whether something is remembered until then.
  virtual bool waits_for_events() const { return false; }
  // An entry as the kernel has it now, read because there is no event for what may have changed in it.
  virtual void refresh(FlowRecord& record) = 0;

  // --- Questions ---
  // Whether this flow is synchronised: the master of an expectation has to be.
  virtual bool has_flow(const Tuple& orig) = 0;
  // Whether a helper may have to adjust the sequence numbers of this TCP flow: it is translated, as far as is known.
  virtual bool may_be_adjusted(const Tuple& orig) const = 0;

  // --- Dumps of the kernel into the store, one at a time: begin, every entry, end. While it is under way, flows whose
  // destroy event came are remembered, so that an entry read before the event cannot bring them back. ---
  virtual bool keeps_flows() const = 0;  // if not, there is nothing to load, to mend or to flush
  virtual bool keeps_expectations() const = 0;
  virtual void begin_load(Load) {}
  virtual void load_flow(FlowRecord&, Load) {}
  virtual void load_expectation(Expectation&, Load) {}
  virtual void end_load() {}
  // What was remembered for them, and for our own flushes, is needed no more but not freed yet; this frees it. True when
  // it is through.
  virtual bool has_leftovers() const { return false; }
  virtual bool free_leftovers(TimePoint /*budget_end*/) { return true; }
  // After a complete dump for mending: buries what was not in it. True when it is through.
  virtual bool sweep(Walk&, Scope, TimePoint /*budget_end*/) { return true; }
  // Of the last dump for mending. What an event tells that was on its way then is no difference, so it is to be read
  // after the next caught_up().
  virtual Compared compared() const { return {}; }

  // --- Emptying; peers are told nothing. From begin_flush() on everything that was there counts as gone, flush() only
  // takes it away. True when it is through. Not while a dump for mending is under way. ---
  virtual void begin_flush(Scope) {}
  virtual bool flush(Walk&, TimePoint /*budget_end*/) { return true; }

  // --- For people ---
  // The job that lists it to the client, and finishes the client at its end; nothing if there is nothing to list.
  virtual std::unique_ptr<Job> dump(const Command& command, const Client& client) = 0;
  virtual text::StoreNumbers flow_numbers() const = 0;
  virtual text::StoreNumbers expectation_numbers() const = 0;
  virtual text::TrafficNumbers traffic() const { return {}; }
};

}  // namespace ctsync::node
