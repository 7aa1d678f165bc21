// SPDX-License-Identifier: GPL-2.0-or-later
#include "id_set.h"

#include <gtest/gtest.h>

namespace ctsync::node {
namespace {

constexpr std::uint32_t kNone = 0xffffffff;

TEST(IdSetTest, HasWhatWasInsertedAndNotErased) {
  IdSet s;
  EXPECT_TRUE(s.empty());
  EXPECT_FALSE(s.contains(5));
  EXPECT_FALSE(s.erase(1000)) << "beyond all that was ever there";
  EXPECT_TRUE(s.insert(1000));
  EXPECT_FALSE(s.insert(1000));
  EXPECT_TRUE(s.insert(5));
  EXPECT_EQ(s.size(), 2U);
  EXPECT_TRUE(s.contains(1000));
  EXPECT_TRUE(s.erase(1000));
  EXPECT_FALSE(s.erase(1000));
  EXPECT_FALSE(s.contains(1000));
  EXPECT_EQ(s.size(), 1U);
}

TEST(IdSetTest, WalksOverItsMembersInOrder) {
  IdSet s;
  EXPECT_EQ(s.next(0, kNone), kNone);
  for (const std::uint32_t id : {0U, 1U, 63U, 64U, 200U, 5000U}) s.insert(id);
  s.erase(1);
  std::vector<std::uint32_t> found;
  for (auto id = s.next(0, kNone); id != kNone; id = s.next(id + 1, kNone)) found.push_back(id);
  EXPECT_EQ(found, (std::vector<std::uint32_t>{0, 63, 64, 200, 5000}));
  EXPECT_EQ(s.next(5001, kNone), kNone);
  EXPECT_EQ(s.next(100000, kNone), kNone);
}

}  // namespace
}  // namespace ctsync::node
