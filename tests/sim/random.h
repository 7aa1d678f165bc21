// SPDX-License-Identifier: GPL-2.0-or-later
// The one source of chance of a simulation: a seed replays exactly (SplitMix64, so on every platform).
#pragma once

#include <cstdint>

#include "ctsync/base/clock.h"

namespace ctsync::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
  }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(next() % n); }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }
  Duration time_up_to(Duration d) {
    return d.count() == 0 ? d : Duration(next() % static_cast<std::uint64_t>(d.count()));
  }

 private:
  std::uint64_t state_;
};

}  // namespace ctsync::sim
