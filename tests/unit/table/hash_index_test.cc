// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/hash_index.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>
#include <vector>

namespace ctsync::table {
namespace {

std::uint32_t find(const HashIndex& index, std::uint32_t hash, std::uint32_t id) {
  return index.find(hash, [id](std::uint32_t candidate) { return candidate == id; });
}

TEST(HashIndex, EmptyFindsNothing) {
  const HashIndex index(0);
  EXPECT_EQ(find(index, 7, 0), HashIndex::kNone);
  EXPECT_EQ(index.memory_bytes(), 0U);
}

TEST(HashIndex, EqualHashesAreToldApartByTheCaller) {
  HashIndex index(0);
  for (std::uint32_t id = 0; id < 40; ++id) ASSERT_TRUE(index.insert(5, id));
  for (std::uint32_t id = 0; id < 40; ++id) EXPECT_EQ(find(index, 5, id), id);
  index.erase(5, 20);
  EXPECT_EQ(find(index, 5, 20), HashIndex::kNone);
  for (std::uint32_t id = 0; id < 40; ++id) {
    if (id == 20) continue;
    EXPECT_EQ(find(index, 5, id), id);
  }
}

TEST(HashIndex, ErasingAcrossTheEndOfTheArrayKeepsTheRestFindable) {
  // Homes 62, 63, 63, 0, 62: a run that wraps around.
  const std::vector<std::uint32_t> homes{62, 63, 63, 0, 62};
  for (std::uint32_t gone = 0; gone < homes.size(); ++gone) {
    HashIndex wrapped(64);
    for (std::uint32_t id = 0; id < homes.size(); ++id) wrapped.insert(homes[id], id);
    wrapped.erase(homes[gone], gone);
    for (std::uint32_t id = 0; id < homes.size(); ++id) {
      EXPECT_EQ(find(wrapped, homes[id], id), id == gone ? HashIndex::kNone : id) << "gone " << gone;
    }
  }
}

// Erasures, insertions and searches in every phase of growth, against a map. `bits` of hash: with few of them runs are
// long.
void random_model(std::uint64_t seed, unsigned bits, std::uint32_t most, int operations) {
  std::mt19937_64 random(seed);
  HashIndex index(0);
  std::unordered_map<std::uint32_t, std::uint32_t> model;  // id -> hash
  std::vector<std::uint32_t> ids;
  std::uint32_t next = 0;
  for (int i = 0; i < operations; ++i) {
    const bool insert = ids.empty() || (ids.size() < most && random() % 5 < 3);
    if (insert) {
      const auto hash = static_cast<std::uint32_t>(random() >> (64 - bits));
      ASSERT_TRUE(index.insert(hash, next));
      model[next] = hash;
      ids.push_back(next++);
    } else {
      const auto at = random() % ids.size();
      const auto id = ids[at];
      index.erase(model[id], id);
      ASSERT_EQ(find(index, model[id], id), HashIndex::kNone);
      model.erase(id);
      ids[at] = ids.back();
      ids.pop_back();
    }
    ASSERT_EQ(index.size(), model.size());
    if (!ids.empty()) {
      const auto id = ids[random() % ids.size()];
      ASSERT_EQ(find(index, model[id], id), id);
    }
    if (i % 5000 == 0) {
      for (const auto& [id, hash] : model) ASSERT_EQ(find(index, hash, id), id);
    }
  }
}

TEST(HashIndex, RandomOperationsAgreeWithAMap) { random_model(1, 32, 50'000, 300'000); }
TEST(HashIndex, RandomOperationsWithManyCollisionsAgreeWithAMap) { random_model(2, 8, 700, 60'000); }

TEST(HashIndex, GrowsInSmallStepsAndEndsWithOneArray) {
  HashIndex index(0);
  std::mt19937_64 random(3);
  for (std::uint32_t id = 0; id < 100'000; ++id) ASSERT_TRUE(index.insert(static_cast<std::uint32_t>(random()), id));
  EXPECT_EQ(index.memory_bytes(), 131072U * 8);  // the old array is gone long before the new one is full
}

}  // namespace
}  // namespace ctsync::table
