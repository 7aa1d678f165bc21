// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes under random faults, many seeds: when the faults are over, the external cache of each node equals the internal caches
// of the others. A failure names its seed; CTSYNC_SIM_SEED=<n> runs that one alone, CTSYNC_SIM_SEEDS=<n> sets how many.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "world.h"

namespace ctsync::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void for_each_seed(const std::function<void(std::uint64_t)>& run) {
  if (const char* one = std::getenv("CTSYNC_SIM_SEED")) return run(std::strtoull(one, nullptr, 10));
  const char* many = std::getenv("CTSYNC_SIM_SEEDS");
  const std::uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : 1000;
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

void expect_agreement(World& w, std::size_t nodes) {
  for (std::size_t i = 0; i < nodes; ++i) {
    EXPECT_EQ(w.node(i).external(), others_internal(w, nodes, i)) << "external cache of node " << i;
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
    EXPECT_EQ(w.node(1).external(), w.node(0).internal());
  });
}

}  // namespace
}  // namespace ctsync::sim
