// SPDX-License-Identifier: GPL-2.0-or-later
// A clock that the test moves, or that each look at it moves a little.
#pragma once

#include "ctsync/base/clock.h"

namespace ctsync::test {

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_ += tick; }
  std::int64_t wall_seconds() const override { return 1'800'000'000; }
  void advance(Duration d) { now_ += d; }

  Duration tick{};

 private:
  mutable TimePoint now_{std::chrono::seconds(1000)};
};

}  // namespace ctsync::test
