// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/histogram.h"

#include <gtest/gtest.h>

namespace ctsync {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::seconds;

// The one range that has counted; the number of ranges if it is not one alone.
std::size_t range_of(Duration d) {
  Histogram h;
  h.add(d);
  std::size_t found = Histogram::kBounds + 1;
  std::uint64_t all = 0;
  for (std::size_t i = 0; i <= Histogram::kBounds; ++i) {
    if (h.count(i) == 1) found = i;
    all += h.count(i);
  }
  return all == 1 ? found : Histogram::kBounds + 1;
}

TEST(Histogram, BoundsDouble) {
  EXPECT_EQ(Histogram::bound(0), microseconds(16));
  EXPECT_EQ(Histogram::bound(1), microseconds(32));
  EXPECT_EQ(Histogram::bound(Histogram::kBounds - 1), microseconds(67'108'864));
}

TEST(Histogram, ATimeCountsUpToItsBound) {
  for (std::size_t i = 0; i < Histogram::kBounds; ++i) {
    EXPECT_EQ(range_of(Histogram::bound(i)), i);
    EXPECT_EQ(range_of(Histogram::bound(i) + Duration(1)), i + 1);
  }
}

TEST(Histogram, WhatIsOutOfRangeCountsAtItsEnds) {
  EXPECT_EQ(range_of(Duration(0)), 0U);
  EXPECT_EQ(range_of(Duration(-1)), 0U);
  EXPECT_EQ(range_of(Duration::min()), 0U);
  EXPECT_EQ(range_of(hours(1000)), Histogram::kBounds);
}

TEST(Histogram, AddsUp) {
  Histogram h;
  h.add(microseconds(10));
  h.add(microseconds(11));
  h.add(seconds(2));
  EXPECT_EQ(h.sum(), seconds(2) + microseconds(21));
  EXPECT_EQ(h.count(0), 2U);
  EXPECT_EQ(h.count(17), 1U);  // 2.1 s
}

}  // namespace
}  // namespace ctsync
