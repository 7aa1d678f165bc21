// SPDX-License-Identifier: GPL-2.0-or-later
// A clock that the test moves.
#pragma once

#include "ctsync/base/clock.h"

namespace ctsync::test {

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  std::int64_t wall_seconds() const override { return 1'800'000'000; }
  void advance(Duration d) { now_ += d; }

 private:
  TimePoint now_{std::chrono::seconds(1000)};
};

}  // namespace ctsync::test
