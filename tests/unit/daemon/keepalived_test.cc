// SPDX-License-Identifier: GPL-2.0-or-later
// What keepalived writes, and what follows from it.
#include "keepalived.h"

#include <gtest/gtest.h>

namespace ctsync::daemon {
namespace {

using Line = RoleTracker::Line;

struct KeepalivedTest : testing::Test {
  std::optional<Role> take(std::string_view line) {
    std::optional<Role> role = Role::fault;
    last = tracker.take(line, role);
    return role;
  }
  config::KeepalivedConfig config{.fifo = "", .groups = {"PAIR"}, .instances = {"INSIDE", "a \"b\" c"}};
  RoleTracker tracker{config};
  Line last = Line::strange;
};

TEST_F(KeepalivedTest, OfTheNamedOnesTheStateCounts) {
  EXPECT_EQ(take("GROUP \"PAIR\" MASTER 0"), Role::primary);
  EXPECT_EQ(take("GROUP \"PAIR\" BACKUP 0"), Role::backup);
  EXPECT_EQ(take("GROUP \"PAIR\" FAULT 0"), Role::fault);
  EXPECT_EQ(take("INSTANCE \"a \"b\" c\" MASTER 100"), Role::primary);
  EXPECT_EQ(take("INSTANCE \"OTHER\" MASTER 100"), std::nullopt);
  EXPECT_EQ(take("INSTANCE \"PAIR\" MASTER 100"), std::nullopt) << "an instance is no group";
  EXPECT_EQ(last, Line::good);
}

// Its kernel holds the others' connections.
TEST_F(KeepalivedTest, AslongAsOneIsMasterTheNodeStepsNotDown) {
  take("GROUP \"PAIR\" MASTER 0");
  EXPECT_EQ(take("INSTANCE \"INSIDE\" MASTER 100"), Role::primary);
  EXPECT_EQ(take("GROUP \"PAIR\" BACKUP 0"), std::nullopt);
  EXPECT_EQ(take("INSTANCE \"INSIDE\" FAULT 100"), Role::fault);
}

TEST_F(KeepalivedTest, WhatStopsDeletesNothing) {
  take("GROUP \"PAIR\" MASTER 0");
  EXPECT_EQ(take("GROUP \"PAIR\" STOP 0"), std::nullopt);
  EXPECT_EQ(take("INSTANCE \"INSIDE\" BACKUP 100"), Role::backup);
  EXPECT_EQ(take("INSTANCE \"INSIDE\" MASTER_PRIORITY 90"), std::nullopt);
  EXPECT_EQ(last, Line::good);
}

TEST_F(KeepalivedTest, NonsenseIsNothing) {
  for (const char* line :
       {"", "GROUP", "GROUP \"PAIR\"", "GROUP \"PAIR\" ", "GROUP \"PAIR\" NONE 0", "group \"PAIR\" MASTER 0",
        "GROUP PAIR MASTER 0", "\" \"", "GROUP \" ", " \"\" MASTER", "VRRP \"PAIR\" MASTER 0"}) {
    EXPECT_EQ(take(line), std::nullopt) << line;
    EXPECT_EQ(last, Line::strange) << line;
  }
}

}  // namespace
}  // namespace ctsync::daemon
