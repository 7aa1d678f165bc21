// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes, network and time of one simulated run. run_for() goes from event to event: a delivery, a deadline of a node, a
// kernel event, a command; each is a turn of the loop of the node concerned.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "network.h"
#include "node.h"

namespace ctsync::sim {

// On average one in each `mean` on every node; none: quiet.
class Arrivals {
 public:
  void set(std::optional<Duration> mean, TimePoint now) {
    mean_ = mean;
    next_ = now;
  }
  std::optional<TimePoint> next() const { return mean_ ? std::optional(next_) : std::nullopt; }
  void schedule(TimePoint now, std::size_t nodes, Random& random) {
    next_ = now + 2 * random.time_up_to(*mean_) / static_cast<long>(nodes);
  }

 private:
  std::optional<Duration> mean_;
  TimePoint next_{};
};

class World {
 public:
  World(std::size_t nodes, const node::NodeOptions& options, std::uint64_t seed);

  void set_traffic(std::optional<Duration> mean) { traffic_.set(mean, now_); }
  // Commands of operators, any of `which`.
  void set_commands(std::span<const node::Command> which, std::optional<Duration> mean) {
    which_commands_ = which;
    commands_.set(mean, now_);
  }
  // Copies of other nodes' flows that no packet touches run out in the kernel.
  void set_expiry(std::optional<Duration> mean) { expiry_.set(mean, now_); }
  void command(std::size_t node, node::Verb verb, node::Side side = node::Side::both) {
    nodes_[node]->command({.verb = verb, .what = node::What::flows, .side = side}, now_);
  }

  void run_for(Duration d);
  // The packets of a flow of node `from` go through node `to` from now on, where a copy of it is.
  void move_flow(std::size_t from, std::size_t to);
  // A stranger says in the name of `as`, to node `to` alone, that a flow has changed or ended, and another one come to
  // be: what `as` sends next with these numbers passes for old.
  void forge(std::size_t as, std::size_t to);
  // The process of a node dies and starts anew, with its number from the wall clock.
  void restart(std::size_t node, node::AskAtStart ask) { nodes_[node]->restart(ask, now_); }

  std::size_t size() const { return nodes_.size(); }
  Node& node(std::size_t i) { return *nodes_[i]; }
  Network& network() { return network_; }
  Random& random() { return random_; }
  TimePoint now() const { return now_; }

 private:
  static constexpr std::uint32_t kWallStart = 1'700'000'000;
  static constexpr std::uint32_t kFlows = 60;  // different flows of a node

  Node& any_node() { return *nodes_[random_.below(static_cast<std::uint32_t>(nodes_.size()))]; }
  void kernel_event(Kernel& k);
  void expire_copy(std::size_t node);
  void traffic();
  void arrivals();
  void deliveries();

  Random random_;
  Network network_;
  TimePoint now_{std::chrono::seconds(100)};
  std::vector<std::unique_ptr<Node>> nodes_;
  Arrivals traffic_;
  Arrivals commands_;
  Arrivals expiry_;
  std::span<const node::Command> which_commands_;
};

}  // namespace ctsync::sim
