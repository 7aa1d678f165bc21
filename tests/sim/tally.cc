// SPDX-License-Identifier: GPL-2.0-or-later
#include "tally.h"

#include <fmt/format.h>

namespace ctsync::sim {

void Tally::note(TimePoint at, std::string text) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count();
  trace_.push_back(fmt::format("{:4}.{:06} {}", us / 1'000'000, us % 1'000'000, text));
}

}  // namespace ctsync::sim
