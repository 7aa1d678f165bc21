// SPDX-License-Identifier: GPL-2.0-or-later
#include "sequence_track.h"

#include <gtest/gtest.h>

namespace ctsync::capture {
namespace {

TEST(SequenceTrack, TellsWhatIsMissingLateAndRepeated) {
  SequenceTrack t;
  EXPECT_EQ(t.see(100, false).order, Order::next);
  EXPECT_EQ(t.see(101, false).order, Order::next);
  const Seen gap = t.see(105, false);
  EXPECT_EQ(gap.order, Order::gap);
  EXPECT_EQ(gap.missing, 3U);
  EXPECT_EQ(t.missing(), 3U);
  EXPECT_EQ(t.see(103, false).order, Order::late);
  EXPECT_EQ(t.see(103, false).order, Order::repeated);
  EXPECT_EQ(t.see(102, false).order, Order::late);
  EXPECT_EQ(t.missing(), 1U);
  EXPECT_EQ(t.see(104, false).order, Order::late);
  EXPECT_EQ(t.missing(), 0U);
  EXPECT_EQ(t.see(105, false).order, Order::repeated);
  EXPECT_EQ(t.see(106, false).order, Order::next);
  EXPECT_EQ(t.repeated(), 2U);
  EXPECT_EQ(t.see(99, false).order, Order::late) << "older than the first one of the capture";
  EXPECT_EQ(t.see(107, false).order, Order::next);
}

TEST(SequenceTrack, NumbersGoRoundThroughZero) {
  SequenceTrack t;
  t.see(0xfffffffe, false);
  EXPECT_EQ(t.see(0xffffffff, false).order, Order::next);
  EXPECT_EQ(t.see(0, false).order, Order::next);
  EXPECT_EQ(t.see(3, false).missing, 2U);
  EXPECT_EQ(t.see(2, false).order, Order::late);
  EXPECT_EQ(t.see(0xffffffff, false).order, Order::repeated);
}

TEST(SequenceTrack, AHelloAfterNoneBeginsAnew) {
  SequenceTrack t;
  t.see(100, true);
  EXPECT_EQ(t.see(103, true).missing, 2U) << "a hello that goes on";
  EXPECT_EQ(t.see(104, false).order, Order::next);
  EXPECT_EQ(t.see(200, true).order, Order::restarted);
  EXPECT_EQ(t.see(201, false).order, Order::next);
  EXPECT_EQ(t.see(150, true).order, Order::restarted) << "after more than a message a second";
  EXPECT_EQ(t.see(151, true).order, Order::next);
  EXPECT_EQ(t.missing(), 2U);
  EXPECT_EQ(t.see(151, true).order, Order::repeated);
}

TEST(SequenceTrack, NumbersFarAwayAreOthers) {
  SequenceTrack t;
  t.see(100, false);
  EXPECT_EQ(t.see(100 + (1U << 24), false).order, Order::elsewhere);
  EXPECT_EQ(t.see(101 + (1U << 24), false).order, Order::next);
  EXPECT_EQ(t.see(101, false).order, Order::elsewhere);
  EXPECT_EQ(t.see(102, false).order, Order::next);
  EXPECT_EQ(t.missing(), 0U);
}

// What is remembered is limited; what is counted is not.
TEST(SequenceTrack, ManyGaps) {
  SequenceTrack t;
  constexpr std::uint32_t kMany = 1000;
  t.see(0, false);
  for (std::uint32_t i = 1; i <= kMany; ++i) EXPECT_EQ(t.see(2 * i, false).missing, 1U);
  EXPECT_EQ(t.missing(), kMany);
  EXPECT_EQ(t.see(2 * kMany - 1, false).order, Order::late);
  EXPECT_EQ(t.see(1, false).order, Order::repeated) << "nobody remembers";
  EXPECT_EQ(t.missing(), kMany - 1);
}

}  // namespace
}  // namespace ctsync::capture
