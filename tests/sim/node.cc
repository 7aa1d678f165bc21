// SPDX-License-Identifier: GPL-2.0-or-later
#include "node.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ranges>

namespace ctsync::sim {

namespace {

constexpr Duration kTurn = std::chrono::microseconds(5);     // what a turn takes beside its jobs
constexpr Duration kReaders = std::chrono::milliseconds(1);  // until clients have read again

}  // namespace

Node::Node(std::size_t index, node::NodeOptions options, std::uint32_t first_wall, Network& network, Random& random,
           TimePoint now)
    : index_(index), options_(std::move(options)), network_(network), random_(random), kernel_(index, random) {
  clock_.first_wall = first_wall;
  start(now);
}

Node::~Node() = default;

void Node::start(TimePoint now) {
  clock_.reach(now);
  events_at_.reset();
  jobs_at_.reset();
  options_.self.node = static_cast<std::uint32_t>(options_.seed >> 32) | 1U;  // as each start of the daemon has its own
  node_ = std::make_unique<node::Node>(kernel_, static_cast<wire::DatagramSink&>(*this), clock_, log_, jobs_, options_);
  const auto ok = node_->start();
  EXPECT_TRUE(ok) << ok.error().text;
  node_->started();
  node_->end_turn();
}

void Node::restart(node::AskAtStart ask, TimePoint now) {
  for (const auto& c : clients_) c->leave();
  node_.reset();
  kernel_.close();
  options_.resync_at_start = ask;
  options_.seed = random_.next();
  start(now);
}

void Node::command(const node::Command& command, TimePoint now) {
  clock_.reach(now);
  const auto client = clients_.emplace_back(std::make_shared<Client>());
  node_->on_command(command, node::Client(client));
  turn(now);
}

void Node::receive(std::size_t from, std::span<const std::uint8_t> datagram, TimePoint now) {
  clock_.reach(now);
  node_->on_datagram({0, address_of(from)}, datagram);
}

std::optional<TimePoint> Node::next_turn() const {
  auto first = node_->next_deadline();
  for (const auto& at : {events_at_, jobs_at_}) {
    if (at && (!first || *at < *first)) first = at;
  }
  return first ? std::optional(std::max(*first, clock_.now())) : std::nullopt;
}

void Node::expect_events(TimePoint at) {
  if (kernel_.readable()) events_at_ = events_at_ ? std::min(*events_at_, at) : at;
}

void Node::turn(TimePoint now) {
  ++turns_;
  clock_.reach(now);
  clock_.pass(kTurn);
  if (kernel_.readable()) node_->on_kernel_event();
  if (const auto at = node_->next_deadline(); at && *at <= clock_.now()) node_->on_timer();
  clock_.working = true;
  jobs_.step();
  clock_.working = false;
  node_->end_turn();
  serve_clients();
  events_at_ = kernel_.readable() ? std::optional(clock_.now()) : std::nullopt;
  jobs_at_.reset();
  if (!clients_.empty()) jobs_at_ = clock_.now() + kReaders;
  if (jobs_.ready()) jobs_at_ = clock_.now() + jobs_.rest();
}

// They read a part of what there is, and now and then one gives up.
void Node::serve_clients() {
  for (const auto& c : clients_) {
    if (c->gone()) continue;
    c->read(random_.below(2 * Client::kBuffer));
    if (random_.chance(0.002)) c->leave();
  }
  std::erase_if(clients_, [](const auto& c) {
    EXPECT_LE(c->finishes(), 1);
    return c->served() || c->gone();
  });
}

void Node::send(std::span<const std::span<const std::uint8_t>> datagrams) {
  for (const auto& d : datagrams) {
    EXPECT_LE(d.size(), options_.buffer_size);
    network_.send(index_, d, clock_.now());
  }
}

}  // namespace ctsync::sim
