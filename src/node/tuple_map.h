// SPDX-License-Identifier: GPL-2.0-or-later
// A number for each of a few or of millions of tuples, in many small maps: so neither growing nor forgetting them all
// takes long at a stretch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ctsync/flow/tuple_hash.h"

namespace ctsync::node {

class TupleMap {
 public:
  explicit TupleMap(const TupleHash& hash) : hash_(hash), parts_(kParts, Part(0, hash)) {}

  bool empty() const { return size_ == 0; }
  // 0 at first.
  std::uint32_t& operator[](const Tuple& t) {
    const auto [it, fresh] = part_of(t).try_emplace(t, 0);
    if (fresh) ++size_;
    return it->second;
  }
  const std::uint32_t* find(const Tuple& t) {  // nullptr if absent
    auto& part = part_of(t);
    const auto it = part.find(t);
    return it == part.end() ? nullptr : &it->second;
  }
  void erase(const Tuple& t) { size_ -= part_of(t).erase(t); }

  // Forgets everything. If that is much, its memory is kept until free_some() is called.
  void clear() {
    if (empty()) return;
    if (size_ > kFewEnough) {
      for (auto& part : parts_) gone_.push_back(std::exchange(part, Part(0, hash_)));
    } else {
      for (auto& part : parts_) part = Part(0, hash_);
    }
    size_ = 0;
  }
  bool has_leftovers() const { return !gone_.empty(); }
  // A 256th of what was forgotten at a time.
  void free_some() { gone_.pop_back(); }

 private:
  static constexpr std::size_t kParts = 256;
  static constexpr std::size_t kFewEnough = 2000;

  using Part = std::unordered_map<Tuple, std::uint32_t, TupleHash>;
  static_assert(std::is_nothrow_move_constructible_v<Part>, "a vector that grows would copy it");
  Part& part_of(const Tuple& t) { return parts_[hash_(t) >> 24]; }

  TupleHash hash_;
  std::vector<Part> parts_;
  std::vector<Part> gone_;
  std::size_t size_ = 0;
};

}  // namespace ctsync::node
