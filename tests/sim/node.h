// SPDX-License-Identifier: GPL-2.0-or-later
// A node as the daemon runs it, on a simulated kernel and network: the real node::Node, its jobs, its clients, and a
// clock that goes on a little while the node works, so that long work is really done in slices.
#pragma once

#include <deque>
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
#include "stock.h"

namespace ctsync::sim {

// How a node is made: one of ours, or a stock conntrackd.
struct NodeKind {
  node::NodeOptions options;
  bool stock = false;
};

class Node final : private wire::DatagramSink {
 public:
  // The first sequence number of a node is its wall clock's time, that is `first_wall` and what has passed.
  Node(std::size_t index, NodeKind setup, std::uint32_t first_wall, Network& network, Random& random, Tally& tally,
       TimePoint now);
  ~Node() override;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // The process dies, and starts anew on the same kernel. A stock node knows no commands.
  void restart(node::AskAtStart ask, TimePoint now);
  void die();
  void start(TimePoint now);
  bool is_up() const { return node_ != nullptr || stock_ != nullptr; }
  bool is_stock() const { return is_stock_; }
  bool is_busy(TimePoint now) const { return now < busy_until_; }
  void set_ask_at_start(node::AskAtStart ask) { options_.resync_at_start = ask; }
  void step_wall_clock(std::int32_t seconds) { clock_.first_wall += static_cast<std::uint32_t>(seconds); }

  void command(const node::Command& command, TimePoint now);
  // A datagram arrives. Who is at work or stopped takes it later, if there is room in the socket's buffer.
  void receive(const Delivery& d, TimePoint now);
  // As if from another node; taken at once.
  void receive_forged(std::size_t as, std::span<const std::uint8_t> datagram, TimePoint now);

  // When the loop wakes; not before the turn before it has ended.
  std::optional<TimePoint> next_turn() const;
  // Kernel events wait: the loop comes to them at `at`, for it may be busy.
  void expect_events(TimePoint at);
  void turn(TimePoint now);

  // The transport is full, as TCP may be.
  void set_congested(bool on) { congested_ = on; }
  // How fast it works: what a look at the clock takes while it works on jobs.
  void set_slowness(Duration d) { clock_.slowness = d; }
  // What a datagram costs it, so that it may be too slow for its peers.
  void set_cost(Duration of_a_datagram) { cost_ = of_a_datagram; }
  // Does nothing until then.
  void stop_until(TimePoint t) { busy_until_ = std::max(busy_until_, t); }
  // The interface of this link is down, so another one is used.
  void link_failed(std::uint8_t link);

  Kernel& kernel() { return kernel_; }
  // Whether the flow's packets pass here.
  bool owns(const Tuple& orig) const { return kernel_.owns(orig); }
  const node::Node& node() const { return *node_; }  // one of ours
  // What the caches, and the kernel, know. Nothing while it is not up.
  State internal() const;
  State external() const;
  State in_kernel() const { return state_of(kernel_); }
  // Of whom it says that they are in sync.
  std::vector<std::size_t> believes_in_sync() const;
  // Nothing in it may grow without bound.
  void expect_bounds();

  const std::vector<std::shared_ptr<Client>>& clients() const { return clients_; }
  std::uint64_t turns() const { return turns_; }

 private:
  static constexpr std::size_t kInbox = 200;  // datagrams that wait

  class LocalClock final : public Clock {
   public:
    TimePoint now() const override { return working ? now_ += slowness : now_; }
    std::int64_t wall_seconds() const override { return std::int64_t{first_wall} + seconds_of(now_); }
    void pass(Duration d) { now_ += d; }
    TimePoint reached() const { return now_; }
    void reach(TimePoint t) { now_ = std::max(now_, t); }

    std::uint32_t first_wall = 0;
    Duration slowness{};
    bool working = false;

   private:
    mutable TimePoint now_{};
  };

  class TracedLog final : public Log {
   public:
    TracedLog(std::size_t node, const LocalClock& clock, Tally& tally) : node_(node), clock_(clock), tally_(tally) {}
    void write(Level, std::string_view text) override;
    void write_entry(Level, std::string_view) override {}

   private:
    std::size_t node_;
    const LocalClock& clock_;
    Tally& tally_;
  };

  struct Waiting {
    std::size_t from;
    std::uint8_t link;
    std::vector<std::uint8_t> bytes;
  };

  static IpAddress address_of(std::size_t node, std::uint8_t link) {
    return {Family::ipv4, {10, 0, link, static_cast<std::uint8_t>(node + 1)}};
  }
  void send(std::span<const std::span<const std::uint8_t>> datagrams) override;
  bool congested() const override { return congested_; }
  void take(std::size_t from, std::uint8_t link, std::span<const std::uint8_t> datagram);
  void serve_clients();
  template <typename F>
  auto with_program(F&& f) const {
    return stock_ ? f(*stock_) : f(*node_);
  }

  std::size_t index_;
  node::NodeOptions options_;
  Network& network_;
  Random& random_;
  Tally& tally_;
  LocalClock clock_;
  Kernel kernel_;
  TracedLog log_;
  Jobs jobs_{clock_};
  bool is_stock_;
  std::unique_ptr<node::Node> node_;
  std::unique_ptr<Stock> stock_;  // in its place
  std::vector<std::shared_ptr<Client>> clients_;
  std::deque<Waiting> inbox_;
  std::optional<TimePoint> events_at_;
  std::optional<TimePoint> jobs_at_;
  TimePoint busy_until_{};
  Duration cost_{};
  std::uint8_t link_ = 0;  // that it sends on
  bool congested_ = false;
  std::uint64_t turns_ = 0;
  std::uint64_t given_up_ = 0;  // by the resend queue, as counted last
  std::uint64_t refused_ = 0;   // by the external cache
  std::uint32_t last_seq_ = 0;
};

}  // namespace ctsync::sim
