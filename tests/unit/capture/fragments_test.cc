// SPDX-License-Identifier: GPL-2.0-or-later
#include "fragments.h"

#include <gtest/gtest.h>

#include "frames.h"

namespace ctsync::capture_test {
namespace {

using capture::Fragments;
using capture::IpPacket;

IpPacket fragment(std::uint32_t id, std::uint32_t offset, bool more, const Bytes& payload) {
  return {.protocol = 17, .payload = payload, .is_fragment = true, .more = more, .offset = offset, .id = id};
}

const Bytes kA(16, 1);
const Bytes kB(8, 2);
const Bytes kC(3, 3);

TEST(Fragments, BecomeAPacketWhenTheLastOneIsThere) {
  Fragments f;
  EXPECT_FALSE(f.add(fragment(1, 0, true, kA)));
  EXPECT_FALSE(f.add(fragment(2, 0, true, kB))) << "of another packet";
  EXPECT_FALSE(f.add(fragment(1, 16, true, kB)));
  const auto whole = f.add(fragment(1, 24, false, kC));
  EXPECT_EQ(payload_of(whole), joined({kA, kB, kC}));
  EXPECT_FALSE(whole->is_fragment);
  EXPECT_EQ(payload_of(f.take()), kB);
  EXPECT_FALSE(f.take());
  EXPECT_EQ(f.without_beginning(), 0U);
}

TEST(Fragments, RepetitionsDoNoHarm) {
  Fragments f;
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(f.add(fragment(1, 0, true, kA)));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(f.add(fragment(1, 16, true, kB)));
  EXPECT_EQ(payload_of(f.add(fragment(1, 24, false, kC))), joined({kA, kB, kC}));
}

TEST(Fragments, APacketThatLacksOneIsHandedOutAsFarAsItGoes) {
  Fragments f;
  EXPECT_FALSE(f.add(fragment(1, 0, true, kA)));
  EXPECT_EQ(payload_of(f.add(fragment(1, 24, false, kC))), kA);
  EXPECT_FALSE(f.add(fragment(1, 16, true, kB)));
  EXPECT_EQ(f.without_beginning(), 1U);
}

TEST(Fragments, AnotherPacketWithTheSameIdEndsTheFirst) {
  Fragments f;
  EXPECT_FALSE(f.add(fragment(1, 0, true, kA)));
  EXPECT_EQ(payload_of(f.add(fragment(1, 0, true, kB))), kA);
  EXPECT_EQ(payload_of(f.add(fragment(1, 8, false, kC))), joined({kB, kC}));
}

TEST(Fragments, OfTooManyPacketsTheOldestGoes) {
  Fragments f;
  for (std::uint32_t id = 0; id < Fragments::kMost; ++id) EXPECT_FALSE(f.add(fragment(id, 0, true, kA)));
  const auto oldest = f.add(fragment(99, 0, true, kB));
  ASSERT_TRUE(oldest);
  EXPECT_EQ(oldest->id, 0U);
  EXPECT_EQ(payload_of(oldest), kA);
}

TEST(Fragments, NoPacketGrowsBeyondWhatIpCanHold) {
  Fragments f;
  const Bytes large(40'000, 5);
  EXPECT_FALSE(f.add(fragment(1, 0, true, large)));
  EXPECT_EQ(payload_of(f.add(fragment(1, 40'000, true, large))), large);
}

}  // namespace
}  // namespace ctsync::capture_test
