// SPDX-License-Identifier: GPL-2.0-or-later
// A node as the daemon runs it, on a simulated kernel and network: the real node::Node, its jobs, its clients, and a
// clock that goes on a little while the node works, so that long work is really done in slices.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client.h"
#include "ctsync/node/node.h"
#include "kernel.h"
#include "network.h"
#include "state.h"

namespace ctsync::sim {

class Node final : private wire::DatagramSink {
 public:
  Node(std::size_t index, node::NodeOptions options, std::uint32_t first_wall, Network& network, Random& random,
       TimePoint now);
  ~Node() override;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // The process dies, and starts anew on the same kernel.
  void restart(node::AskAtStart ask, TimePoint now);
  void command(const node::Command& command, TimePoint now);
  void receive(std::size_t from, std::span<const std::uint8_t> datagram, TimePoint now);

  // When the loop wakes; not before the turn before it has ended.
  std::optional<TimePoint> next_turn() const;
  // Kernel events wait: the loop comes to them at `at`, for it may be busy.
  void expect_events(TimePoint at);
  void turn(TimePoint now);

  // The transport is full, as TCP may be.
  void set_congested(bool on) { congested_ = on; }
  // How fast it works: what a look at the clock takes while it works on jobs.
  void set_slowness(Duration d) { clock_.slowness = d; }

  Kernel& kernel() { return kernel_; }
  // Whether the flow's packets pass here.
  bool owns(const Tuple& orig) const { return kernel_.owns(orig); }
  const node::Node& node() const { return *node_; }
  // What the caches, and the kernel, know.
  State internal() const { return state_of(node_->internal_flows()); }
  State external() const { return state_of(node_->external_flows()); }
  State in_kernel() const { return state_of(kernel_); }

  const std::vector<std::shared_ptr<Client>>& clients() const { return clients_; }
  std::uint64_t turns() const { return turns_; }

 private:
  class LocalClock final : public Clock {
   public:
    TimePoint now() const override { return working ? now_ += slowness : now_; }
    std::int64_t wall_seconds() const override { return first_wall + seconds_of(now_); }
    void pass(Duration d) { now_ += d; }
    TimePoint reached() const { return now_; }
    void reach(TimePoint t) { now_ = std::max(now_, t); }

    std::uint32_t first_wall = 0;
    Duration slowness{};
    bool working = false;

   private:
    mutable TimePoint now_{};
  };

  class TimedLog final : public Log {
   public:
    explicit TimedLog(const LocalClock& clock) : clock_(clock) {}
    void write(Level, std::string_view text) override { lines.emplace_back(clock_.reached(), text); }
    void write_entry(Level, std::string_view) override {}

    std::vector<std::pair<TimePoint, std::string>> lines;

   private:
    const LocalClock& clock_;
  };

  static IpAddress address_of(std::size_t node) {
    return {Family::ipv4, {10, 0, 0, static_cast<std::uint8_t>(node + 1)}};
  }
  void send(std::span<const std::span<const std::uint8_t>> datagrams) override;
  bool congested() const override { return congested_; }
  void start(TimePoint now);
  void serve_clients();

  std::size_t index_;
  node::NodeOptions options_;
  Network& network_;
  Random& random_;
  LocalClock clock_;
  Kernel kernel_;
  TimedLog log_{clock_};
  Jobs jobs_{clock_};
  std::unique_ptr<node::Node> node_;
  std::vector<std::shared_ptr<Client>> clients_;
  std::optional<TimePoint> events_at_;
  std::optional<TimePoint> jobs_at_;
  bool congested_ = false;
  std::uint64_t turns_ = 0;
};

}  // namespace ctsync::sim
