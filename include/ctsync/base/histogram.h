// SPDX-License-Identifier: GPL-2.0-or-later
// How often something took how long: a number for each range of times, each twice as wide as the one before. To add a
// value is to count in one of them. Plain numbers, to be copied.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "ctsync/base/clock.h"

namespace ctsync {

class Histogram {
 public:
  static constexpr std::size_t kBounds = 23;
  // The longest time that counts in range `i` and in none before: 16 microseconds to 67 seconds.
  static constexpr Duration bound(std::size_t i) { return kFirstBound * (Duration::rep{1} << i); }

  void add(Duration d) {
    ++counts_[range_of(d)];
    sum_ += d;
  }

  // Of range `i`; that of range kBounds are those above all bounds.
  std::uint64_t count(std::size_t i) const { return counts_[i]; }
  Duration sum() const { return sum_; }

 private:
  static constexpr Duration kFirstBound = std::chrono::microseconds(16);

  static std::size_t range_of(Duration d) {
    if (d <= kFirstBound) return 0;
    const auto times = static_cast<std::uint64_t>((d - Duration(1)) / kFirstBound);  // rounded up, less one
    return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(times)), kBounds);
  }

  std::array<std::uint64_t, kBounds + 1> counts_{};
  Duration sum_{};
};

}  // namespace ctsync
