// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/clock.h"

#include <gtest/gtest.h>

#include <ctime>

namespace ctsync {
namespace {

std::int64_t nanoseconds(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_nsec;
}

// Timers and ages must not jump with the wall clock.
TEST(SystemClock, NowIsTheMonotonicClock) {
  const SystemClock clock;
  const auto before = nanoseconds(CLOCK_MONOTONIC);
  const auto now = clock.now().time_since_epoch().count();
  EXPECT_LE(before, now);
  EXPECT_LE(now, nanoseconds(CLOCK_MONOTONIC));
}

TEST(SystemClock, WallSecondsAreThoseOfTheCalendar) {
  const SystemClock clock;
  const auto before = nanoseconds(CLOCK_REALTIME) / 1'000'000'000;
  const auto now = clock.wall_seconds();
  EXPECT_LE(before, now);
  EXPECT_LE(now, nanoseconds(CLOCK_REALTIME) / 1'000'000'000);
}

}  // namespace
}  // namespace ctsync
