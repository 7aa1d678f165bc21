// SPDX-License-Identifier: GPL-2.0-or-later
// Deadlines of very many objects, named by small ids (FlowId): a hierarchical timing wheel. schedule and cancel cost
// the same however many there are. A deadline fires at the first advance() at or after it, in steps of kTick, never
// early. Memory (16 bytes per id, up to the largest id ever scheduled) is allocated at the first use.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "ctsync/base/clock.h"

namespace ctsync::table {

class TimerWheel {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds(100);

  // `start`: time begins here; nothing is scheduled before it.
  explicit TimerWheel(TimePoint start) : start_(start) {}

  // Sets or moves the deadline of `id`. One that has passed fires at the next tick.
  void schedule(std::uint32_t id, TimePoint deadline);
  // Nothing happens if it has none.
  void cancel(std::uint32_t id);
  bool scheduled(std::uint32_t id) const { return id < nodes_.size() && nodes_[id].bucket != kNoBucket; }

  // Calls fire(id) for each deadline up to `now`, `most` of them at the most: those left over fire in the next call, and
  // next_deadline() lies in the past until then. The id has no deadline any more when it fires. `fire` may schedule and
  // cancel anything, its own id included.
  template <typename Fire>
  void advance(TimePoint now, std::size_t most, Fire&& fire) {
    const auto target = tick_before(now);
    do {
      if (!spread_some(most)) return;
      for (std::uint32_t id = pop_due(); id != kNoId; id = pop_due()) {
        fire(id);
        if (--most == 0) return;
      }
    } while (to_next_tick(target));
  }

  // When to call advance() next: not later than the earliest deadline (rounded up to a tick), sometimes earlier.
  // Nothing if no deadline is set.
  std::optional<TimePoint> next_deadline() const;

  std::uint32_t size() const { return size_; }
  std::size_t memory_bytes() const { return nodes_.capacity() * sizeof(Node); }

 private:
  // Level 0 has one bucket per tick; each bucket of a higher level spans all those of the level below.
  static constexpr unsigned kBits = 6;
  static constexpr unsigned kLevels = 6;  // all of 32 bits: 13 years
  static constexpr std::uint32_t kBuckets = 1U << kBits;
  static constexpr std::uint32_t kNoId = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint16_t kNoBucket = 0xffff;

  struct Node {
    std::uint32_t next;
    std::uint32_t prev;
    std::uint32_t tick;    // of the deadline
    std::uint16_t bucket;  // level * kBuckets + number
    std::uint16_t spare;
  };

  std::uint32_t tick_before(TimePoint t) const;
  std::uint32_t tick_after(TimePoint t) const;
  void link(std::uint32_t id);
  void unlink(std::uint32_t id);
  // When the next bucket that holds something begins.
  std::optional<std::uint32_t> next_tick() const;
  bool to_next_tick(std::uint32_t target);
  bool spread_some(std::size_t& most);
  std::uint32_t pop_due();
  static std::array<std::uint32_t, kLevels * kBuckets> empty_heads();

  TimePoint start_;
  std::uint32_t tick_ = 0;  // everything up to here has fired
  std::uint32_t size_ = 0;
  std::uint16_t spreading_ = kNoBucket;            // has begun, and its deadlines are being handed to the levels below
  std::array<std::uint64_t, kLevels> occupied_{};  // one bit per bucket
  std::array<std::uint32_t, kLevels* kBuckets> heads_ = empty_heads();
  std::vector<Node> nodes_;
};

}  // namespace ctsync::table
