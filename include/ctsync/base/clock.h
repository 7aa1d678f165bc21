// SPDX-License-Identifier: GPL-2.0-or-later
// Time as the program sees it. Everything that waits or ages uses the monotonic clock, so a step of the wall clock
// shifts nothing; wall time is only for the log and for the first sequence number. Tests implement Clock in memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace ctsync {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;              // monotonic
  virtual std::int64_t wall_seconds() const = 0;  // seconds since 1970, UTC
};

// Of two deadlines, of which either may be none, the one that comes first.
inline std::optional<TimePoint> earlier(std::optional<TimePoint> a, std::optional<TimePoint> b) {
  return !a || (b && *b < *a) ? b : a;
}

// The clocks of the operating system.
class SystemClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
  std::int64_t wall_seconds() const override {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

// Whole seconds of the monotonic clock; what caches store as the time of creation and of the last update.
inline std::uint32_t seconds_of(TimePoint t) {
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count());
}

}  // namespace ctsync
