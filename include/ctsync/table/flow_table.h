// SPDX-License-Identifier: GPL-2.0-or-later
// A cache of flows: a slab of fixed slots (128 bytes, one flow each) and an index from the original tuple (zone
// included) to the slot. A FlowId stays valid until the flow is released. Ids are small numbers, so walks over the
// whole table go by id and may be interrupted at any time. It holds at most `limit` flows, live and dead together;
// beyond that, inserts fail and are counted.
#pragma once

#include <cstdint>
#include <limits>

#include "ctsync/base/clock.h"
#include "ctsync/flow/flow.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/table/cache_stats.h"
#include "ctsync/table/hash_index.h"
#include "ctsync/table/queue_link.h"
#include "ctsync/table/slab.h"

namespace ctsync::table {

using FlowId = std::uint32_t;
inline constexpr FlowId kNoFlow = std::numeric_limits<FlowId>::max();

struct FlowSlot {
  Flow flow;
  std::uint32_t extra = 0;    // index of the side record + 1, 0 = none
  std::uint32_t created = 0;  // seconds_of(now) at insertion
  std::uint32_t updated = 0;  // seconds_of(now) at insertion or last merge
  QueueLink link;
  FlowState state : 4 = FlowState::free;
  bool told : 1 = false;       // internal cache: see ToldSums
  bool committed : 1 = false;  // external cache: written to the kernel as it is
  bool untouched : 1 = false;  // internal cache, WarmStandby: no packet is known to have passed here
  bool succeeds : 1 = false;   // internal cache: peers may hold an earlier flow with this tuple, see Engine
  Queue queue = Queue::none;
  // For mark and sweep: a resync stamps each flow it sees in a kernel dump with its own number; the live flows with
  // another number are then gone from the kernel. Belongs to the owner of the table; 0 in a fresh flow.
  std::uint16_t generation = 0;
};
static_assert(sizeof(FlowSlot) == 128);

class FlowTable {
 public:
  // `limit`: most flows (HashLimit). `expected`: buckets of the index to start with (HashSize), 0 = grow from small;
  // more than `limit` is no use and is cut. `seed` keys the hash; production passes random bits, tests whatever they
  // like.
  FlowTable(std::uint32_t limit, std::uint32_t expected, std::uint64_t seed);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // Live or dead; kNoFlow if absent.
  FlowId find(const Tuple& orig) const {
    return index_.find(hash_(orig), [&](FlowId id) { return slots_.at(id).flow.orig == orig; });
  }

  // Inserts a flow that is not in the table (state new_). kNoFlow when full or out of memory (counted in stats).
  FlowId insert(const FlowRecord& r, TimePoint now);
  // Merges into a live flow (ctsync::merge; extra attributes overwritten when known); state becomes alive; counted as
  // updated, or as failed if there was no memory for the extra attributes. Labels with no bit set are remembered only
  // where some were set before, so that a sender can tell its peers that they were cleared; otherwise has::kLabels is
  // dropped.
  void update(FlowId id, const FlowRecord& r, TimePoint now);
  // As update(), but what `r` does not know is forgotten.
  void replace(FlowId id, const FlowRecord& r, TimePoint now);
  // As release() and insert(), of a live flow and another one with its tuple, but that the id stays. False: there was no
  // memory, and the flow is gone.
  bool renew(FlowId id, const FlowRecord& r, TimePoint now);
  // Marks a live flow dead; counted as destroyed. The owner releases it when no queue refers to it any more.
  void mark_dead(FlowId id);
  // Removes the flow; counts it as destroyed if it was live. It must be in no queue (the engine unlinks it first).
  void release(FlowId id);

  FlowSlot& slot(FlowId id) { return slots_.at(id); }
  const FlowSlot& slot(FlowId id) const { return slots_.at(id); }
  const FlowExtra* extra(FlowId id) const {  // nullptr if none
    const auto ref = slots_.at(id).extra;
    return ref == 0 ? nullptr : &extras_.at(ref - 1);
  }
  // A copy that stands alone, for renderers and jobs.
  void copy_to(FlowId id, FlowRecord& out) const;

  // Ids run from 0 to end_id() - 1; slots with state free are holes.
  FlowId end_id() const { return slots_.end(); }
  std::uint32_t live() const { return live_; }           // new_ or alive
  std::uint32_t total() const { return index_.size(); }  // live and dead
  std::uint32_t limit() const { return limit_; }
  // Of what comes from now on.
  void set_limit(std::uint32_t limit) { limit_ = limit; }
  std::size_t memory_bytes() const;  // slab, side records and index

  const CacheStats& stats() const { return stats_; }
  // The table's keyed hash, for who keeps tuples of its flows elsewhere.
  const TupleHash& hash() const { return hash_; }

 private:
  // `extra`: the attributes of `r` for the side record, which is there if there are any.
  void fill(FlowSlot& s, const FlowRecord& r, decltype(Flow::present) extra, TimePoint now);
  bool attach_extra(FlowSlot& s);
  void drop_extra(FlowSlot& s);
  FlowId no_memory();

  std::uint32_t limit_;
  std::uint32_t live_ = 0;
  TupleHash hash_;
  HashIndex index_;
  Slab<FlowSlot, 12> slots_;
  Slab<FlowExtra, 8> extras_;
  CacheStats stats_;
};

}  // namespace ctsync::table
