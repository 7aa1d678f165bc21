// SPDX-License-Identifier: GPL-2.0-or-later
// A set of small numbers, such as the ids of a table: a bit each, so that walking over the members of a set that is nearly
// empty costs nearly nothing.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ctsync::node {

class IdSet {
 public:
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool contains(std::uint32_t id) const { return id / kBits < words_.size() && (words_[id / kBits] & bit(id)) != 0; }
  // Whether it was not in it.
  bool insert(std::uint32_t id) {
    if (id / kBits >= words_.size()) words_.resize(id / kBits + 1);
    auto& word = words_[id / kBits];
    if ((word & bit(id)) != 0) return false;
    word |= bit(id);
    ++size_;
    return true;
  }
  // Whether it was in it.
  bool erase(std::uint32_t id) {
    if (!contains(id)) return false;
    words_[id / kBits] &= ~bit(id);
    --size_;
    return true;
  }
  // The first member from `id` on; `none` if there is none.
  std::uint32_t next(std::uint32_t id, std::uint32_t none) const {
    std::size_t i = id / kBits;
    if (i >= words_.size()) return none;
    auto word = words_[i] & (~std::uint64_t{0} << (id % kBits));
    while (word == 0) {
      if (++i == words_.size()) return none;
      word = words_[i];
    }
    return static_cast<std::uint32_t>(i * kBits) + static_cast<std::uint32_t>(std::countr_zero(word));
  }

 private:
  static constexpr std::uint32_t kBits = 64;
  static std::uint64_t bit(std::uint32_t id) { return std::uint64_t{1} << (id % kBits); }

  std::vector<std::uint64_t> words_;
  std::size_t size_ = 0;
};

}  // namespace ctsync::node
