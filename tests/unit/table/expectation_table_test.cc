// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/expectation_table.h"

#include <gtest/gtest.h>

namespace ctsync::table {
namespace {

TimePoint at(std::int64_t seconds) { return TimePoint(std::chrono::seconds(seconds)); }

Expectation ftp(std::uint16_t port) {
  Expectation e;
  e.present = expect_has::kMaster | expect_has::kMasterPorts | expect_has::kExpected | expect_has::kExpectedPorts |
              expect_has::kTimeout | expect_has::kHelper;
  e.master.family = e.expected.family = Family::ipv4;
  e.master.l4 = e.expected.l4 = kTcp;
  e.master.src = e.expected.src = {10, 77, 1, 2};
  e.master.dst = e.expected.dst = {10, 77, 2, 2};
  e.master.src_port = 44001;
  e.master.dst_port = 21;
  e.expected.dst_port = port;
  e.timeout = 300;
  e.helper = {'f', 't', 'p'};
  return e;
}

TEST(ExpectationTable, InsertsFindsAndReleases) {
  ExpectationTable table(10, 1);
  EXPECT_EQ(table.find(ftp(30021)), kNoExpect);
  const auto id = table.insert(ftp(30021), at(5));
  ASSERT_NE(id, kNoExpect);
  EXPECT_EQ(table.find(ftp(30021)), id);
  EXPECT_EQ(table.find(ftp(30022)), kNoExpect);
  EXPECT_EQ(table.slot(id).state, FlowState::new_);
  EXPECT_EQ(table.slot(id).created, 5U);
  EXPECT_EQ(table.live(), 1U);
  table.release(id);
  EXPECT_EQ(table.find(ftp(30021)), kNoExpect);
  EXPECT_EQ(table.slot(id).state, FlowState::free);
  EXPECT_EQ(table.total(), 0U);
}

TEST(ExpectationTable, KeyIsEverythingButTimeoutAndNat) {
  ExpectationTable table(10, 1);
  const auto id = table.insert(ftp(1), at(0));
  auto same = ftp(1);
  same.timeout = 7;
  same.nat.src = {1, 2, 3, 4};
  same.nat_dir = 1;
  EXPECT_EQ(table.find(same), id);
  for (int i = 0; i < 7; ++i) {
    auto other = ftp(1);
    if (i == 0) other.master.src_port = 1;
    if (i == 1) other.expected.dst_port = 2;
    if (i == 2) other.mask.dst_port = 3;
    if (i == 3) other.flags = 1;
    if (i == 4) other.klass = 1;
    if (i == 5) other.helper = {'s', 'i', 'p'};
    if (i == 6) other.zone = 4;
    EXPECT_EQ(table.find(other), kNoExpect) << i;
  }
}

TEST(ExpectationTable, UpdateReplacesTheWholeValue) {
  ExpectationTable table(10, 1);
  const auto id = table.insert(ftp(1), at(0));
  auto u = ftp(1);
  u.present &= ~expect_has::kTimeout;
  u.timeout = 0;
  table.update(id, u, at(9));
  EXPECT_EQ(table.slot(id).expect.timeout, 0U);
  EXPECT_FALSE(table.slot(id).expect.knows(expect_has::kTimeout));
  EXPECT_EQ(table.slot(id).state, FlowState::alive);
  EXPECT_EQ(table.slot(id).created, 0U);
  EXPECT_EQ(table.slot(id).updated, 9U);
  EXPECT_EQ(table.stats().updated, 1U);
}

TEST(ExpectationTable, LimitAndDeathAreCounted) {
  ExpectationTable table(2, 1);
  table.insert(ftp(1), at(0));
  const auto id = table.insert(ftp(2), at(0));
  EXPECT_EQ(table.insert(ftp(3), at(0)), kNoExpect);
  EXPECT_EQ(table.stats().create_no_space, 1U);
  table.mark_dead(id);
  EXPECT_EQ(table.find(ftp(2)), id);
  EXPECT_EQ(table.live(), 1U);
  EXPECT_EQ(table.total(), 2U);
  table.release(id);
  EXPECT_EQ(table.stats().destroyed, 1U);
  EXPECT_NE(table.insert(ftp(3), at(0)), kNoExpect);
}

TEST(ExpectationTable, HoldsThousandsOfOneMaster) {
  ExpectationTable table(100'000, 1);
  for (std::uint32_t n = 0; n < 20'000; ++n) ASSERT_EQ(table.insert(ftp(static_cast<std::uint16_t>(n)), at(0)), n);
  for (std::uint32_t n = 0; n < 20'000; n += 2) table.release(n);
  for (std::uint32_t n = 0; n < 20'000; ++n) {
    ASSERT_EQ(table.find(ftp(static_cast<std::uint16_t>(n))), n % 2 == 0 ? kNoExpect : n);
  }
}

}  // namespace
}  // namespace ctsync::table
