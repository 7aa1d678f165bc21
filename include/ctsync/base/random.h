// SPDX-License-Identifier: GPL-2.0-or-later
// Chance. Random is SplitMix64: fast, the same on every platform, so that a seed replays exactly, and no secret to
// anybody who sees a few numbers of it. Where nobody may guess, use random_seed(): bits of the kernel.
#pragma once

#include <cstdint>

#include "ctsync/base/clock.h"

namespace ctsync {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
  }
  // 0 to n - 1; n must not be 0.
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(next() % n); }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }
  // 0 inclusive to `d` exclusive; 0 if `d` is 0.
  Duration time_up_to(Duration d) {
    return d.count() == 0 ? d : Duration(next() % static_cast<std::uint64_t>(d.count()));
  }

 private:
  std::uint64_t state_;
};

// Random bits of the kernel, for the keys of hash tables and the like.
std::uint64_t random_seed();

}  // namespace ctsync
