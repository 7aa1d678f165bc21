// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/tuple_hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace ctsync {
namespace {

Tuple from_port(std::uint16_t port) {
  Tuple t;
  t.src = {10, 0, 0, 1};
  t.dst = {10, 0, 0, 2};
  t.src_port = port;
  t.dst_port = 80;
  t.l4 = kTcp;
  t.family = Family::ipv4;
  return t;
}

// Flows of one host and neighbouring ports, and the same under another key, spread alike.
TEST(TupleHash, SpreadsNeighboursAndDependsOnTheKey) {
  const TupleHash one(1);
  const TupleHash two(2);
  std::vector<int> buckets(1024);
  int same = 0;
  for (std::uint16_t n = 0; n < 32 * 1024; ++n) {
    ++buckets[one(from_port(n)) % buckets.size()];
    same += one(from_port(n)) == two(from_port(n));
  }
  for (const int count : buckets) {
    EXPECT_GT(count, 0);
    EXPECT_LT(count, 80);  // 32 expected
  }
  EXPECT_LE(same, 1);
}

}  // namespace
}  // namespace ctsync
