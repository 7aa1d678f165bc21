// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes under random faults, many seeds: when the faults are over, the external cache of each node equals the internal
// caches of the others. A failure names its seed; CTSYNC_SIM_SEED=<n> runs that one alone, CTSYNC_SIM_SEEDS=<n> sets
// how many.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "world.h"

namespace ctsync::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

#ifdef NDEBUG
constexpr std::uint64_t kDefaultSeeds = 300;
#else
constexpr std::uint64_t kDefaultSeeds =
    20;  // a build to debug with, or with sanitizers, is up to a hundred times slower
#endif

void for_each_seed(const std::function<void(std::uint64_t)>& run) {
  if (const char* one = std::getenv("CTSYNC_SIM_SEED")) return run(std::strtoull(one, nullptr, 10));
  const char* many = std::getenv("CTSYNC_SIM_SEEDS");
  const std::uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : kDefaultSeeds;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    run(seed);
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "seed " << seed << ": replay with CTSYNC_SIM_SEED=" << seed;
      return;
    }
  }
}

replication::EngineOptions options_for(Random& r) {
  static constexpr std::uint32_t kWindows[] = {1, 2, 5, 20, 300};
  replication::EngineOptions o;
  o.ack_window = kWindows[r.below(5)];
  o.refresh_time = 5;
  return o;
}

Faults random_faults(Random& r) {
  Faults f;
  f.loss = r.below(4) * 0.1;
  f.duplicate = r.below(3) * 0.1;
  f.reorder = r.below(3) * 0.1;
  f.max_delay = milliseconds(1 + r.below(200));
  return f;
}

State others_internal(World& w, std::size_t nodes, std::size_t but) {
  State s;
  for (std::size_t i = 0; i < nodes; ++i) {
    if (i != but) s.merge(w.node(i).internal());
  }
  return s;
}

// What differs, as text: gtest shows only the beginning of a large map.
std::string difference(const State& external, const State& internal) {
  std::string s;
  for (const auto& [tuple, mark] : external) {
    const auto it = internal.find(tuple);
    if (it == internal.end()) s += fmt::format(" stale {} ({})", tuple, mark);
    if (it != internal.end() && it->second != mark) s += fmt::format(" {} has {}, not {}", tuple, mark, it->second);
  }
  for (const auto& [tuple, mark] : internal) {
    if (!external.contains(tuple)) s += fmt::format(" missing {} ({})", tuple, mark);
  }
  return s;
}

void expect_agreement(World& w, std::size_t nodes) {
  for (std::size_t i = 0; i < nodes; ++i) {
    EXPECT_EQ(difference(w.node(i).external(), others_internal(w, nodes, i)), "") << "external cache of node " << i;
  }
}

// Faults of all kinds while flows come and go, with partitions of one node.
void trouble(World& w, Duration how_long) {
  const TimePoint end = w.now() + how_long;
  w.set_traffic(milliseconds(5 + w.random().below(50)));
  while (w.now() < end) {
    w.network().set_faults(random_faults(w.random()));
    w.network().cut(0, w.random().chance(0.2));
    w.run_for(milliseconds(200 + w.random().below(2000)));
  }
}

void peace(World& w, Duration how_long) {
  w.network().set_faults({});
  w.network().cut(0, false);
  w.set_traffic(std::nullopt);
  w.run_for(how_long);
}

// Without a restart FT-FW needs no help: what was lost is asked for.
TEST(FtFwSimulation, LossDuplicationReorderAndPartition) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(2, Mode::ftfw, options_for(r), r.next());
    peace(w, seconds(4));  // the hello
    trouble(w, seconds(10));
    peace(w, seconds(6));
    expect_agreement(w, 2);
    EXPECT_LE(w.node(0).unacknowledged(), 2U);
    EXPECT_EQ(w.node(0).internal_table().total(), w.node(0).internal_table().live());
  });
}

// A node that restarts with StartupResync learns everything anew, also when its request or its hello is lost.
TEST(FtFwSimulation, TheReceiverRestarts) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(2, Mode::ftfw, options_for(r), r.next());
    peace(w, seconds(4));
    trouble(w, seconds(4));
    w.restart(1, true);
    w.network().set_faults({.loss = 0.3});
    w.run_for(seconds(4));
    trouble(w, seconds(4));
    peace(w, seconds(6));
    EXPECT_EQ(difference(w.node(1).external(), w.node(0).internal()), "");
  });
}

// The sender restarts: what it had not told about the ends of flows is gone with it (spec replication.md 9, 24). With
// an emptied external cache and a new request, as operators do, all is well again.
TEST(FtFwSimulation, TheSenderRestarts) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(2, Mode::ftfw, options_for(r), r.next());
    peace(w, seconds(4));
    trouble(w, seconds(3));
    w.restart(0, false);
    trouble(w, seconds(3));
    if (r.chance(0.5)) w.restart(1, false);
    trouble(w, seconds(3));
    peace(w, seconds(4));
    w.node(1).flush_external();
    w.node(1).engine().request_resync(w.now());
    peace(w, seconds(3));
    EXPECT_EQ(difference(w.node(1).external(), w.node(0).internal()), "");
    // And what happens from now on arrives by itself.
    w.set_traffic(milliseconds(20));
    w.run_for(seconds(1));
    peace(w, seconds(3));
    EXPECT_EQ(difference(w.node(1).external(), w.node(0).internal()), "");
  });
}

// Damaged numbers, cut datagrams, noise: contents may be wrong for good, but numbers find each other again, so that a
// resync works and nothing stays queued.
TEST(FtFwSimulation, Corruption) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(2, Mode::ftfw, options_for(r), r.next());
    peace(w, seconds(4));
    w.set_traffic(milliseconds(5 + r.below(50)));
    w.network().set_faults({.loss = 0.05, .corrupt = 0.1});
    w.run_for(seconds(8));
    peace(w, seconds(8));
    for (std::size_t i = 0; i < 2; ++i) {
      w.node(i).flush_external();
      w.node(i).engine().request_resync(w.now());
    }
    peace(w, seconds(4));
    expect_agreement(w, 2);
    EXPECT_LE(w.node(0).unacknowledged(), 2U);
  });
}

// Three nodes on one group: acknowledgements of one for another are misread now and then, so a loss may go unrepaired;
// but no node loses track of another, and bulk sends bring all together.
TEST(FtFwSimulation, ThreeNodes) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(3, Mode::ftfw, options_for(r), r.next());
    peace(w, seconds(4));
    trouble(w, seconds(5));
    if (r.chance(0.3)) w.restart(r.below(3), true);
    trouble(w, seconds(3));
    peace(w, seconds(6));
    for (std::size_t i = 0; i < 3; ++i) w.node(i).flush_external();
    for (std::size_t i = 0; i < 3; ++i) w.node(i).engine().start_bulk(w.now());
    peace(w, seconds(4));
    expect_agreement(w, 3);
    // Without faults nothing is lost between three either.
    const auto lost = [&w] { return w.node(0).stats().lost + w.node(1).stats().lost + w.node(2).stats().lost; };
    const auto lost_before = lost();
    w.set_traffic(milliseconds(20));
    w.run_for(seconds(2));
    peace(w, seconds(3));
    expect_agreement(w, 3);
    EXPECT_EQ(lost(), lost_before);
  });
}

// NOTRACK repairs nothing by itself; a resync into an emptied cache does.
TEST(NotrackSimulation, ConvergesAfterResync) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(2, Mode::notrack, options_for(r), r.next());
    trouble(w, seconds(5));
    if (r.chance(0.5)) w.restart(r.below(2), true);
    trouble(w, seconds(2));
    peace(w, seconds(2));
    for (std::size_t i = 0; i < 2; ++i) {
      w.node(i).flush_external();
      w.node(i).engine().request_resync(w.now());
    }
    peace(w, seconds(3));
    expect_agreement(w, 2);
  });
}

// ALARM heals itself: repetitions bring what was lost, expiry takes what nobody repeats.
TEST(AlarmSimulation, ConvergesAfterRefreshAndExpiry) {
  for_each_seed([](std::uint64_t seed) {
    Random r(seed);
    World w(2, Mode::alarm, options_for(r), r.next());
    trouble(w, seconds(8));
    if (r.chance(0.5)) w.restart(r.below(2), false);
    trouble(w, seconds(4));
    peace(w, seconds(25));  // RefreshTime 5, CacheTimeout 20
    expect_agreement(w, 2);
  });
}

}  // namespace
}  // namespace ctsync::sim
