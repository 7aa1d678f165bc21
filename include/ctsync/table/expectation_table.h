// SPDX-License-Identifier: GPL-2.0-or-later
// A cache of expectations, shaped like FlowTable. The key is everything in an expectation except its timeout and NAT
// (same_key, spec replication.md 4.1). An update replaces the whole value; nothing is merged.
#pragma once

#include <cstdint>
#include <limits>

#include "ctsync/base/clock.h"
#include "ctsync/flow/expectation.h"
#include "ctsync/table/cache_stats.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/table/hash_index.h"
#include "ctsync/table/queue_link.h"
#include "ctsync/table/slab.h"

namespace ctsync::table {

using ExpectId = std::uint32_t;
inline constexpr ExpectId kNoExpect = std::numeric_limits<ExpectId>::max();

struct ExpectSlot {
  Expectation expect;
  std::uint32_t created = 0;  // seconds_of(now) at insertion
  std::uint32_t updated = 0;  // seconds_of(now) at insertion or last update
  QueueLink link;
  FlowState state = FlowState::free;
  Queue queue = Queue::none;
  std::uint16_t generation = 0;  // as in FlowSlot
};

class ExpectationTable {
 public:
  // As in FlowTable. The index starts small and grows.
  ExpectationTable(std::uint32_t limit, std::uint64_t seed);
  ExpectationTable(const ExpectationTable&) = delete;
  ExpectationTable& operator=(const ExpectationTable&) = delete;

  ExpectId find(const Expectation& e) const;  // live or dead; kNoExpect if absent

  // Inserts an expectation that is not in the table (state new_). kNoExpect when full or out of memory (counted).
  ExpectId insert(const Expectation& e, TimePoint now);
  // Replaces the value of a live expectation of the same key; state becomes alive; counted as updated.
  void update(ExpectId id, const Expectation& e, TimePoint now);
  // As in FlowTable.
  void mark_dead(ExpectId id);
  void release(ExpectId id);

  ExpectSlot& slot(ExpectId id) { return slots_.at(id); }
  const ExpectSlot& slot(ExpectId id) const { return slots_.at(id); }

  // Ids run from 0 to end_id() - 1; slots with state free are holes.
  ExpectId end_id() const { return slots_.end(); }
  std::uint32_t live() const { return live_; }
  std::uint32_t total() const { return index_.size(); }
  std::uint32_t limit() const { return limit_; }
  void set_limit(std::uint32_t limit) { limit_ = limit; }
  std::size_t memory_bytes() const { return slots_.memory_bytes() + index_.memory_bytes(); }

  const CacheStats& stats() const { return stats_; }

 private:
  std::uint32_t hash(const Expectation& e) const { return hash_(e.master) ^ expected_hash_(e.expected); }

  std::uint32_t limit_;
  std::uint32_t live_ = 0;
  TupleHash hash_;
  TupleHash expected_hash_;
  HashIndex index_;
  Slab<ExpectSlot, 8> slots_;
  CacheStats stats_;
};

}  // namespace ctsync::table
