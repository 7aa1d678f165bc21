// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes, network and time of one simulated run. run_for() goes from event to event: a delivery, a deadline of a node, a
// kernel event, a command; each is a turn of the loop of the node concerned.
#pragma once

#include <algorithm>
#include <functional>
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
  static constexpr std::uint32_t kWallStart = 1'700'000'000;

  // Of each node.
  using KindOf = std::function<NodeKind(std::size_t)>;

  // `first_wall`: the wall clocks of the nodes, about; their numbers begin there.
  World(std::size_t nodes, const KindOf& setup, std::uint64_t seed, Tally& tally,
        std::uint32_t first_wall = kWallStart);
  World(std::size_t nodes, const node::NodeOptions& options, std::uint64_t seed, Tally& tally)
      : World(
            nodes, [&options](std::size_t) { return NodeKind{options}; }, seed, tally) {}

  void set_traffic(std::optional<Duration> mean) { traffic_.set(mean, now_); }
  // Commands of operators, any of `which`.
  void set_commands(std::span<const node::Command> which, std::optional<Duration> mean) {
    which_commands_ = which;
    commands_.set(mean, now_);
  }
  // Copies of other nodes' flows that no packet touches run out in the kernel.
  void set_expiry(std::optional<Duration> mean) { expiry_.set(mean, now_); }
  void command(std::size_t node, node::Verb verb, node::Side side = node::Side::both);

  void run_for(Duration d);
  // The packets of a flow of node `from` go through node `to` from now on, where a copy of it is.
  void move_flow(std::size_t from, std::size_t to);
  // A stranger says in the name of `as`, to node `to` alone, that a flow has changed or ended, and another one come to
  // be: what `as` sends next with these numbers passes for old.
  void forge(std::size_t as, std::size_t to);
  // The process of a node dies and starts anew, with its number from the wall clock.
  void restart(std::size_t node, node::AskAtStart ask);
  // As restart, in two parts. With `reboot` the kernel's flows are gone, too.
  void kill(std::size_t node, bool reboot);
  void start(std::size_t node) { nodes_[node]->start(now_); }
  // Node `to` takes over: it commits what it knows, and the flows of node `from` pass through it from then on.
  void take_over(std::size_t from, std::size_t to);
  void stop(std::size_t node, Duration d);
  void link_failed(std::uint8_t link, std::size_t node, bool interface_down);
  // All copies that no packet touches run out, in every kernel.
  void expire_copies();
  // So many flows of each node are left.
  void shrink(std::size_t most);
  // Flows that were taken out of a kernel by a node since this was asked last, and are not there again, though another
  // node had had them alive for so long that no word of an earlier one with this tuple could be under way; as text.
  std::string wrongly_deleted();

  std::size_t size() const { return nodes_.size(); }
  bool has_stock() const {
    return std::ranges::any_of(nodes_, &Node::is_stock, [](const auto& n) -> const Node& { return *n; });
  }
  Node& node(std::size_t i) { return *nodes_[i]; }
  Network& network() { return network_; }
  Tally& tally() { return tally_; }
  Random& random() { return random_; }
  TimePoint now() const { return now_; }

 private:
  static constexpr std::uint32_t kFlows = 60;  // different flows of a node

  Node& any_node() { return *nodes_[random_.below(static_cast<std::uint32_t>(nodes_.size()))]; }
  void kernel_event(Kernel& k);
  void move(std::size_t from, std::size_t to, const Tuple& flow);
  std::vector<Tuple> copies_of(std::size_t node);
  void expire(std::size_t node, const Tuple& copy);
  void expire_copy(std::size_t node);
  void traffic();
  void arrivals();
  void deliveries();

  Random random_;
  Tally& tally_;
  Network network_;
  TimePoint now_{std::chrono::seconds(100)};
  std::vector<std::unique_ptr<Node>> nodes_;
  Arrivals traffic_;
  Arrivals commands_;
  Arrivals expiry_;
  std::span<const node::Command> which_commands_;
};

}  // namespace ctsync::sim
