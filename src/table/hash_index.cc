// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/hash_index.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace ctsync::table {
namespace {

constexpr std::size_t kSmallest = 64;
constexpr std::size_t kLargest = std::size_t{1} << 31;
// Buckets looked at per insertion while growing: the larger array is far from full when the last entry has moved.
constexpr std::uint32_t kBucketsAnInsert = 16;

constexpr std::size_t most_entries(std::size_t capacity) { return capacity / 8 * 7; }

std::size_t capacity_for(std::uint32_t buckets) {
  return std::min(std::bit_ceil(std::max<std::size_t>(buckets, kSmallest)), kLargest);
}

}  // namespace

bool HashIndex::allocate(Array& a, std::size_t capacity) {
  // calloc takes large arrays from the system, which clears their pages one by one as they are used.
  a.entries.reset(static_cast<Entry*>(std::calloc(capacity, sizeof(Entry))));
  a.mask = static_cast<std::uint32_t>(capacity - 1);
  return a.entries != nullptr;
}

void HashIndex::place(Array& a, Entry e) {
  auto i = e.hash & a.mask;
  while (a.entries[i].ref != 0) i = (i + 1) & a.mask;
  a.entries[i] = e;
}

bool HashIndex::insert(std::uint32_t hash, std::uint32_t id) {
  if (size_ >= most_entries(current_.capacity()) && !grow()) return false;
  if (old_.entries) move_some(kBucketsAnInsert);
  place(current_, {hash, id + 1});
  ++size_;
  return true;
}

bool HashIndex::grow() {
  if (current_.capacity() >= kLargest) return false;
  Array larger;
  if (!allocate(larger, current_.entries ? current_.capacity() * 2 : capacity_for(first_buckets_))) return false;
  if (current_.entries) {
    start_moving(std::move(larger));
  } else {
    current_ = std::move(larger);
  }
  return true;
}

void HashIndex::start_moving(Array larger) {
  if (old_.entries) move_some(std::numeric_limits<std::uint32_t>::max());  // cannot happen, at 16 buckets per insertion
  old_ = std::exchange(current_, std::move(larger));
  // Begin after an empty bucket: no probe sequence crosses one, so what lies after it can move without breaking any.
  last_bucket_ = 0;
  while (old_.entries[last_bucket_].ref != 0) ++last_bucket_;
  cursor_ = (last_bucket_ + 1) & old_.mask;
}

void HashIndex::move_some(std::uint32_t buckets) {
  for (std::uint32_t seen = 0;; ++seen) {
    auto& e = old_.entries[cursor_];
    if (e.ref != 0) {
      place(current_, std::exchange(e, Entry{0, 0}));
    } else if (cursor_ == last_bucket_) {
      old_ = Array{};
      return;
    } else if (seen >= buckets) {
      return;  // only ever at the end of a run
    }
    cursor_ = (cursor_ + 1) & old_.mask;
  }
}

void HashIndex::erase(std::uint32_t hash, std::uint32_t id) {
  if (erase_in(current_, hash, id) || (old_.entries && erase_in(old_, hash, id))) --size_;
}

bool HashIndex::erase_in(Array& a, std::uint32_t hash, std::uint32_t id) {
  auto hole = hash & a.mask;
  while (a.entries[hole].ref != id + 1) {
    if (a.entries[hole].ref == 0) return false;
    hole = (hole + 1) & a.mask;
  }
  // Move back whatever would no longer be found across the hole.
  for (auto i = (hole + 1) & a.mask; a.entries[i].ref != 0; i = (i + 1) & a.mask) {
    const auto home = a.entries[i].hash & a.mask;
    if (((i - home) & a.mask) < ((i - hole) & a.mask)) continue;  // its home lies after the hole
    a.entries[hole] = a.entries[i];
    hole = i;
  }
  a.entries[hole] = {0, 0};
  return true;
}

}  // namespace ctsync::table
