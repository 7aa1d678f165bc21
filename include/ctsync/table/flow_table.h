// SPDX-License-Identifier: GPL-2.0-or-later
// A cache of flows: a slab of fixed slots (128 bytes, one flow each) and an index from the original tuple (zone included) to
// the slot. A FlowId stays valid until the flow is released. Ids are small numbers, so walks over the whole table go by id and
// may be interrupted at any time. Limits: `limit` live and dead flows together; beyond it inserts fail and are counted.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/flow/flow.h"

namespace ctsync::table {

using FlowId = std::uint32_t;
inline constexpr FlowId kNoFlow = std::numeric_limits<FlowId>::max();

// new_: inserted, never updated since. alive: updated. dead: destroyed, kept only while an engine's queue refers to it.
enum class FlowState : std::uint8_t { free, new_, alive, dead };

// What an engine keeps beside a queued element: an intrusive list and the sequence number. Belongs to the engine; the table
// only guarantees that a fresh flow is in no queue. `next` and `prev` are the engine's node references.
struct QueueLink {
  std::uint32_t next = 0;
  std::uint32_t prev = 0;
  std::uint32_t seq = 0;
};
enum class Queue : std::uint8_t { none, transmit, resend };

struct FlowSlot {
  Flow flow;
  std::uint32_t extra = 0;    // index of the side record + 1, 0 = none
  std::uint32_t created = 0;  // seconds_of(now) at insertion
  std::uint32_t updated = 0;  // seconds_of(now) at insertion or last merge
  QueueLink link;
  FlowState state = FlowState::free;
  Queue queue = Queue::none;
  std::uint16_t generation = 0;  // mark of the last resync sweep that saw it; see mark_sweep users
};
static_assert(sizeof(FlowSlot) <= 128);

// The numbers behind `-s` and `-s cache` (spec cli.md 7.1, 7.2).
struct CacheStats {
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;   // all reasons
  std::uint64_t create_no_space = 0;  // limit reached
  std::uint64_t create_no_memory = 0;
  std::uint64_t updated = 0;
  std::uint64_t update_failed = 0;
  std::uint64_t destroyed = 0;
  std::uint64_t destroy_failed = 0;
};

class FlowTable {
 public:
  // `limit`: most flows (HashLimit). `expected`: how many to reserve index room for (HashSize), 0 = grow from small.
  // `seed` keys the hash; production passes random bits, tests what they like.
  FlowTable(std::uint32_t limit, std::uint32_t expected, std::uint64_t seed);
  ~FlowTable();
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  FlowId find(const Tuple& orig) const;  // live or dead; kNoFlow if absent

  // Inserts a flow that is not in the table (state new_). kNoFlow when full (counted in stats).
  FlowId insert(const FlowRecord& r, TimePoint now);
  // Merges into a live flow (ctsync::merge; extra attributes overwritten when known); state becomes alive; counted as updated.
  void update(FlowId id, const FlowRecord& r, TimePoint now);
  // Marks a live flow dead; counted as destroyed. The owner releases it when no queue refers to it any more.
  void mark_dead(FlowId id);
  // Removes the flow; counts it as destroyed if it was live. It must be in no queue (the engine unlinks it first).
  void release(FlowId id);

  FlowSlot& slot(FlowId id);
  const FlowSlot& slot(FlowId id) const;
  const FlowExtra* extra(FlowId id) const;  // nullptr if none
  // A copy that stands alone, for renderers and jobs.
  void copy_to(FlowId id, FlowRecord& out) const;

  // Ids run from 0 to end_id() - 1; slots with state free are holes.
  FlowId end_id() const;
  std::uint32_t live() const;   // new_ or alive
  std::uint32_t total() const;  // live and dead
  std::uint32_t limit() const;
  std::size_t memory_bytes() const;  // slab, side records and index

  const CacheStats& stats() const { return stats_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;  // replaced by plain members where the indirection costs
  CacheStats stats_;
};

}  // namespace ctsync::table
