// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace ctsync {
namespace {

// What the reference implementation gives for this seed.
TEST(Random, IsSplitMix64) {
  Random r(1234567);
  EXPECT_EQ(r.next(), 6457827717110365317U);
  EXPECT_EQ(r.next(), 3203168211198807973U);
  EXPECT_EQ(r.next(), 9817491932198370423U);
}

TEST(Random, StaysInItsBounds) {
  Random r(1);
  std::array<bool, 5> seen{};
  for (int i = 0; i < 1000; ++i) {
    seen.at(r.below(5)) = true;
    const auto d = r.time_up_to(std::chrono::milliseconds(3));
    EXPECT_GE(d, Duration::zero());
    EXPECT_LT(d, std::chrono::milliseconds(3));
    EXPECT_FALSE(r.chance(0));
    EXPECT_TRUE(r.chance(1));
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](bool b) { return b; }));
  EXPECT_EQ(r.time_up_to(Duration::zero()), Duration::zero());
}

TEST(RandomSeed, IsAnotherOneEachTime) { EXPECT_NE(random_seed(), random_seed()); }

}  // namespace
}  // namespace ctsync
