// SPDX-License-Identifier: GPL-2.0-or-later
// An index from a 32-bit hash to ids: open addressing with linear probing, 8 bytes per entry, at most 7/8 full. Only
// the caller knows what a hash stands for, so the caller compares. It grows without a stall: the larger array is added
// beside the old one and every insertion moves a few entries. An erasure leaves nothing behind, so the index does not
// age.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>

namespace ctsync::table {

class HashIndex {
 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  // `buckets` to start with, rounded up to a power of two; 0 = grow from small. Allocated with the first insertion.
  explicit HashIndex(std::uint32_t buckets) : first_buckets_(buckets) {}

  // The id for which `same(id)` holds among those with this hash; kNone if there is none.
  template <typename Same>
  std::uint32_t find(std::uint32_t hash, Same&& same) const {
    const auto id = find_in(current_, hash, same);
    return id != kNone || !old_.entries ? id : find_in(old_, hash, same);
  }

  // False if there is no memory. The id must not be in the index.
  bool insert(std::uint32_t hash, std::uint32_t id);
  // The entry must be in the index.
  void erase(std::uint32_t hash, std::uint32_t id);

  std::uint32_t size() const { return size_; }
  std::size_t memory_bytes() const { return (current_.capacity() + old_.capacity()) * sizeof(Entry); }

 private:
  struct Entry {
    std::uint32_t hash;
    std::uint32_t ref;  // id + 1; 0 = empty
  };
  struct Free {
    void operator()(Entry* e) const { std::free(e); }
  };
  struct Array {
    std::unique_ptr<Entry[], Free> entries;
    std::uint32_t mask = 0;
    std::size_t capacity() const { return entries ? std::size_t{mask} + 1 : 0; }
  };

  template <typename Same>
  static std::uint32_t find_in(const Array& a, std::uint32_t hash, Same& same) {
    if (!a.entries) return kNone;
    for (auto i = hash & a.mask;; i = (i + 1) & a.mask) {
      const auto e = a.entries[i];
      if (e.ref == 0) return kNone;
      if (e.hash == hash && same(e.ref - 1)) return e.ref - 1;
    }
  }

  static bool allocate(Array& a, std::size_t capacity);
  static void place(Array& a, Entry e);
  static bool erase_in(Array& a, std::uint32_t hash, std::uint32_t id);
  bool grow();
  void start_moving(Array larger);
  void move_some(std::uint32_t buckets);

  Array current_;
  // During growth: the smaller array, whose entries move over in runs of neighbours, from `cursor_` to `last_bucket_`
  // (an empty one).
  Array old_;
  std::uint32_t cursor_ = 0;
  std::uint32_t last_bucket_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t first_buckets_;
};

}  // namespace ctsync::table
