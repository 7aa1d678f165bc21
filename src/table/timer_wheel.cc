// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace ctsync::table {

// A deadline lies on the level of the highest group of bits in which its tick differs from the current one, so on every
// level the occupied buckets come after the current one, and the first of the lowest occupied level is the next to act
// on.

std::array<std::uint32_t, TimerWheel::kLevels * TimerWheel::kBuckets> TimerWheel::empty_heads() {
  std::array<std::uint32_t, kLevels * kBuckets> heads;
  heads.fill(kNoId);
  return heads;
}

std::uint32_t TimerWheel::tick_before(TimePoint t) const {
  const auto ticks = std::max<Duration::rep>((t - start_) / kTick, 0);
  return static_cast<std::uint32_t>(std::min<Duration::rep>(ticks, std::numeric_limits<std::uint32_t>::max()));
}

std::uint32_t TimerWheel::tick_after(TimePoint t) const { return tick_before(t + kTick - Duration(1)); }

void TimerWheel::schedule(std::uint32_t id, TimePoint deadline) {
  if (id >= nodes_.size()) nodes_.resize(std::size_t{id} + 1, Node{kNoId, kNoId, 0, kNoBucket, 0});
  if (nodes_[id].bucket != kNoBucket) unlink(id);
  nodes_[id].tick = std::max(tick_after(deadline), tick_ + 1);
  link(id);
}

void TimerWheel::cancel(std::uint32_t id) {
  if (scheduled(id)) unlink(id);
}

void TimerWheel::link(std::uint32_t id) {
  auto& n = nodes_[id];
  const auto differing = static_cast<unsigned>(std::bit_width((n.tick ^ tick_) | 1U)) - 1;
  const auto level = differing / kBits;
  const auto number = n.tick >> (level * kBits) & (kBuckets - 1);
  n.bucket = static_cast<std::uint16_t>(level * kBuckets + number);
  n.prev = kNoId;
  n.next = std::exchange(heads_[n.bucket], id);
  if (n.next != kNoId) nodes_[n.next].prev = id;
  occupied_[level] |= std::uint64_t{1} << number;
  ++size_;
}

void TimerWheel::unlink(std::uint32_t id) {
  auto& n = nodes_[id];
  if (n.next != kNoId) nodes_[n.next].prev = n.prev;
  if (n.prev != kNoId) {
    nodes_[n.prev].next = n.next;
  } else {
    heads_[n.bucket] = n.next;
    if (n.next == kNoId) occupied_[n.bucket / kBuckets] &= ~(std::uint64_t{1} << n.bucket % kBuckets);
  }
  n.bucket = kNoBucket;
  --size_;
}

std::optional<std::uint32_t> TimerWheel::next_tick() const {
  for (unsigned level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const auto number = static_cast<std::uint64_t>(std::countr_zero(occupied_[level]));
    const auto above = (level + 1) * kBits;
    return static_cast<std::uint32_t>(std::uint64_t{tick_} >> above << above | number << level * kBits);
  }
  return std::nullopt;
}

bool TimerWheel::to_next_tick(std::uint32_t target) {
  const auto next = next_tick();
  if (!next || *next > target) {
    tick_ = std::max(tick_, target);
    return false;
  }
  tick_ = *next;
  for (unsigned level = 1; level < kLevels; ++level) {
    const auto number = tick_ >> (level * kBits) & (kBuckets - 1);
    if ((occupied_[level] >> number & 1U) == 0) continue;
    spreading_ = static_cast<std::uint16_t>(level * kBuckets + number);
    break;
  }
  return true;
}

// Hands the deadlines of a bucket that has begun to the levels below, `most` of them, which is counted down. False if some
// are left. Nothing new comes into that bucket meanwhile: what is due within its span belongs to a level below.
bool TimerWheel::spread_some(std::size_t& most) {
  if (spreading_ == kNoBucket) return true;
  for (auto id = heads_[spreading_]; id != kNoId; id = heads_[spreading_]) {
    if (most == 0) return false;
    --most;
    unlink(id);
    link(id);
  }
  spreading_ = kNoBucket;
  return most != 0;
}

std::uint32_t TimerWheel::pop_due() {
  const auto id = heads_[tick_ & (kBuckets - 1)];
  if (id != kNoId) unlink(id);
  return id;
}

std::optional<TimePoint> TimerWheel::next_deadline() const {
  if (spreading_ != kNoBucket) return start_ + tick_ * kTick;
  const auto next = next_tick();
  if (!next) return std::nullopt;
  return start_ + *next * kTick;
}

}  // namespace ctsync::table
