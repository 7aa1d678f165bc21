// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes, network and time of one simulated run. run_until() goes from event to event: a delivery, a deadline of a node,
// or a kernel event; each is a turn of the loop of the node concerned.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "network.h"
#include "node.h"

namespace ctsync::sim {

class World {
 public:
  World(std::size_t nodes, Mode mode, const replication::EngineOptions& options, std::uint64_t seed);

  // Kernel events come at random, on average one in `mean` on each of the nodes; none: quiet.
  void set_traffic(std::optional<Duration> mean) { traffic_ = mean; }
  void run_for(Duration d);
  // The daemon of a node dies and starts anew, with its number from the wall clock. `resync`: StartupResync.
  void restart(std::size_t node, bool resync);

  Node& node(std::size_t i) { return *nodes_[i]; }
  Network& network() { return network_; }
  Random& random() { return random_; }
  TimePoint now() const { return now_; }
  std::uint32_t wall() const { return kWallStart + seconds_of(now_); }
  std::uint64_t turns() const { return turns_; }

 private:
  static constexpr std::uint32_t kWallStart = 1'700'000'000;
  static constexpr std::uint32_t kFlows = 60;  // different flows of a node

  void kernel_event(Node& n);
  void step(TimePoint at);

  Random random_;
  Network network_;
  TimePoint now_{std::chrono::seconds(100)};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::optional<Duration> traffic_;
  TimePoint next_event_{};
  std::uint64_t turns_ = 0;
};

}  // namespace ctsync::sim
