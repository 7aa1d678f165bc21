// SPDX-License-Identifier: GPL-2.0-or-later
#include "reload.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "ctsync/config/explain.h"
#include "ctsync/config/parse.h"

namespace ctsync::daemon {
namespace {

config::Config parse(const std::string& text) {
  const auto parsed = config::parse_text(text, "f");
  EXPECT_TRUE(parsed.ok()) << (parsed.diagnostics.empty() ? "" : parsed.diagnostics.front().to_string());
  return parsed.config;
}

// Every keyword, with another value for each `n`. StartupResync and the like are on in the second one.
std::string whole(int n, const char* on, const char* mode) {
  return fmt::format(
      R"(General {{
  HashSize {0}024 HashLimit {0}0000 LogFile /l{0} Syslog local{0} LockFile /k{0} UNIX {{ Path /s{0} }}
  NetlinkBufferSize {0}00000 NetlinkBufferSizeMaxGrowth {0}000000 NetlinkOverrunResync {0} NetlinkEventsReliable {1}
  EventIterationLimit {0}0 KernelCompareSecs {0}00
  Filter {{ Protocol Accept {{ {2} }} }}
  Scheduler {{ Type RR Priority {0} }}
  Metrics {{ IPv4_address 127.0.0.1 Port 919{0} }}
  Systemd {1}
}}
Sync {{
  {3}
  UDP {{ IPv4_address 192.0.2.1 IPv4_Destination_Address 192.0.2.{0} Port 378{0} Interface lo }}
  Options {{ TCPWindowTracking {1} ExpectationSync {1} SyncMinAge {0} SyncMinAgeEstablished {1} SyncCoalesce {0}
    SyncMark {1} SyncLabels {1} SwapNATAddresses {1} }}
  Keepalived {{ NotifyFifo /f{0} Group g }}
}})",
      n, on, n == 2 ? "TCP" : "UDP", mode);
}

const std::string kFtfw =
    "Mode FTFW { ResendQueueSize 1 ACKWindowSize 1 CommitTimeout 1 PurgeTimeout 1 WarmStandby On MirrorTimeout 60 }";
const std::string kOtherFtfw =
    "Mode FTFW { ResendQueueSize 2 ACKWindowSize 2 CommitTimeout 2 PurgeTimeout 2 MirrorTimeout 70 StartupResync On }";

TEST(Adopt, WhatCanChangeDoesAndTheRestIsNamedAndStays) {
  const auto running = parse(whole(2, "On", kFtfw.c_str()));
  auto next = parse(whole(3, "Off", kOtherFtfw.c_str()));
  const auto changes = adopt(next, running);
  EXPECT_EQ(changes.to_string(),
            "configuration read again, changed: HashLimit, LogFile, Syslog, NetlinkBufferSize, "
            "NetlinkBufferSizeMaxGrowth, NetlinkOverrunResync, EventIterationLimit, KernelCompareSecs, Filter, "
            "Scheduler, Metrics, "
            "ResendQueueSize, ACKWindowSize, CommitTimeout, PurgeTimeout, MirrorTimeout, links, SyncMinAge, "
            "SyncMinAgeEstablished, SyncCoalesce, Keepalived; to change at the next restart: HashSize, LockFile, Path, "
            "NetlinkEventsReliable, Systemd, WarmStandby, StartupResync, TCPWindowTracking, ExpectationSync, SyncMark, "
            "SyncLabels, SwapNATAddresses");
  EXPECT_EQ(next.hash_size, running.hash_size);
  EXPECT_EQ(next.unix_path, "/s2");
  EXPECT_TRUE(next.warm_standby);
  EXPECT_EQ(next.hash_limit, 30000U);
  EXPECT_EQ(next.links.front().port, 3783);
  EXPECT_EQ(next.purge_timeout, 2U);
}

TEST(Adopt, TheSameFileChangesNothing) {
  const auto running = parse(whole(2, "On", kFtfw.c_str()));
  auto next = parse("# one line more\n" + whole(2, "On", kFtfw.c_str()));
  EXPECT_EQ(adopt(next, running).to_string(), "configuration read again: nothing has changed");
}

TEST(Adopt, AnotherModeIsOneOfTheNextStart) {
  const auto running = parse(whole(2, "On", kFtfw.c_str()));
  auto next = parse(whole(2, "On", "Mode NOTRACK { CommitTimeout 1 PurgeTimeout 1 DisableInternalCache On }"));
  const auto changes = adopt(next, running);
  EXPECT_EQ(std::ranges::count(changes.at_restart, "Mode"), 1);
  EXPECT_EQ(std::ranges::count(changes.at_restart, "DisableInternalCache"), 1);
  EXPECT_EQ(next.mode, config::SyncMode::ftfw);
  EXPECT_FALSE(next.disable_internal_cache);
}

TEST(Adopt, PollingMayChangeItsTimeButNotBegin) {
  const std::string begin = "General { LockFile /l ";
  const auto stats = [&](const std::string& poll) { return parse(begin + poll + "} Stats { LogFile On }"); };
  const auto running = stats("PollSecs 5 ");
  auto next = stats("PollSecs 6 ");
  EXPECT_EQ(adopt(next, running).to_string(), "configuration read again, changed: PollSecs");
  EXPECT_EQ(next.poll_secs, 6U);
  next = stats("");
  EXPECT_EQ(adopt(next, running).to_string(), "configuration read again, to change at the next restart: PollSecs");
  EXPECT_EQ(next.poll_secs, 5U);
  EXPECT_FALSE(same_sections(running, parse(begin + "} Sync { Mode FTFW { } }")));
}

// A keyword that is new must be thought of.
TEST(Adopt, EveryKeywordIsToldOfOrKnownNotToMatter) {
  const auto running = parse(whole(2, "On", kFtfw.c_str()));
  auto a = parse(whole(3, "Off", kOtherFtfw.c_str()));
  auto b = parse(whole(3, "Off", "Mode ALARM { RefreshTime 7 CacheTimeout 7 CommitTimeout 2 PurgeTimeout 2 }"));
  auto c = parse(whole(2, "On", "Mode NOTRACK { DisableInternalCache On DisableExternalCache On }"));
  std::set<std::string, std::less<>> told{"PollSecs"};
  for (auto* next : {&a, &b, &c}) {
    const auto changes = adopt(*next, running);
    told.insert(changes.at_once.begin(), changes.at_once.end());
    told.insert(changes.at_restart.begin(), changes.at_restart.end());
  }
  // Blocks, what is in them (links, Filter, Scheduler, Keepalived), old names, and what has no effect.
  const std::set<std::string, std::less<>> apart{"General",
                                                 "Sync",
                                                 "Stats",
                                                 "Helper",
                                                 "UNIX",
                                                 "SocketBufferSize",
                                                 "SocketBufferSizeMaxGrowth",
                                                 "Options",
                                                 "SocketBufferSizeMaxGrown",
                                                 "Nice",
                                                 "Backlog",
                                                 "ErrorQueueLength",
                                                 "Multicast",
                                                 "UDP",
                                                 "TCP",
                                                 "Interface",
                                                 "IPv4_address",
                                                 "IPv6_address",
                                                 "IPv4_Destination_Address",
                                                 "IPv6_Destination_Address",
                                                 "IPv4_interface",
                                                 "IPv6_interface",
                                                 "Port",
                                                 "Group",
                                                 "SndSocketBuffer",
                                                 "RcvSocketBuffer",
                                                 "Checksum",
                                                 "Protocol",
                                                 "Address",
                                                 "State",
                                                 "Type",
                                                 "Priority",
                                                 "NotifyFifo",
                                                 "Instance",
                                                 "Setup",
                                                 "QueueNum",
                                                 "QueueLen",
                                                 "Policy",
                                                 "ExpectMax",
                                                 "ExpectTimeout"};
  std::istringstream lines(config::list_keywords());
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ")) continue;
    const auto word = line.substr(2, line.find(' ', 2) - 2);
    EXPECT_TRUE(told.contains(word) || apart.contains(word)) << word;
  }
}

}  // namespace
}  // namespace ctsync::daemon
