// SPDX-License-Identifier: GPL-2.0-or-later
#include "node.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ranges>

namespace ctsync::sim {

namespace {

constexpr Duration kTurn = std::chrono::microseconds(5);     // what a turn takes beside its jobs
constexpr Duration kReaders = std::chrono::milliseconds(1);  // until clients have read again

}  // namespace

void Node::TracedLog::write(Level, std::string_view text) {
  tally_.note(clock_.reached(), fmt::format("{} logs: {}", node_, text));
}

Node::Node(std::size_t index, NodeKind setup, std::uint32_t first_wall, Network& network, Random& random, Tally& tally,
           TimePoint now)
    : index_(index),
      options_(std::move(setup.options)),
      network_(network),
      random_(random),
      tally_(tally),
      kernel_(index, random, tally),
      log_(index, clock_, tally),
      is_stock_(setup.stock) {
  clock_.first_wall = first_wall;
  start(now);
}

Node::~Node() = default;

void Node::start(TimePoint now) {
  clock_.reach(now);
  busy_until_ = {};
  given_up_ = refused_ = 0;
  link_ = 0;
  options_.self.host = 1 + index_;
  for (std::uint8_t link = 0; link < Network::kLinks; ++link) options_.self.addresses[link] = address_of(index_, link);
  options_.self.node = static_cast<std::uint32_t>(options_.seed >> 32) | 1U;  // as each start of the daemon has its own
  last_seq_ = static_cast<std::uint32_t>(clock_.wall_seconds());
  auto& sink = static_cast<wire::DatagramSink&>(*this);
  if (is_stock_) {
    stock_ = std::make_unique<Stock>(kernel_, sink, clock_, options_);
    stock_->start();
    return stock_->end_turn();
  }
  node_ = std::make_unique<node::Node>(kernel_, sink, clock_, log_, jobs_, options_);
  const auto ok = node_->start();
  EXPECT_TRUE(ok) << ok.error().text;
  node_->started();
  node_->end_turn();
}

void Node::die() {
  for (const auto& c : clients_) c->leave();
  node_.reset();
  stock_.reset();
  kernel_.close();
  clients_.clear();
  inbox_.clear();
  events_at_.reset();
  jobs_at_.reset();
  options_.seed = random_.next();
}

void Node::restart(node::AskAtStart ask, TimePoint now) {
  die();
  set_ask_at_start(ask);
  start(now);
}

void Node::command(const node::Command& command, TimePoint now) {
  if (node_ == nullptr) return;
  clock_.reach(now);
  const auto client = clients_.emplace_back(std::make_shared<Client>());
  node_->on_command(command, node::Client(client));
  turn(now);
}

void Node::receive(const Delivery& d, TimePoint now) {
  if (!is_up()) return;
  if (now >= busy_until_ && inbox_.empty()) {
    clock_.reach(now);
    take(d.from, d.link, d.bytes);
    return turn(now);
  }
  if (inbox_.size() < kInbox) {
    inbox_.push_back({d.from, d.link, d.bytes});
  } else {
    tally_.add(Fault::inbox_full);
  }
}

void Node::receive_forged(std::size_t as, std::span<const std::uint8_t> datagram, TimePoint now) {
  clock_.reach(now);
  take(as, 0, datagram);
  turn(now);
}

void Node::take(std::size_t from, std::uint8_t link, std::span<const std::uint8_t> datagram) {
  const replication::PeerAddress sender{link, address_of(from, link)};
  if (with_program([&](auto& p) { return p.on_datagram(sender, datagram); })) link_ = link;
  if (cost_ != Duration{}) busy_until_ = std::max(busy_until_, clock_.reached() + cost_);
}

void Node::link_failed(std::uint8_t link) {
  if (link_ == link) link_ = static_cast<std::uint8_t>((link + 1) % Network::kLinks);
}

std::optional<TimePoint> Node::next_turn() const {
  if (!is_up()) return std::nullopt;
  auto first = with_program([](const auto& p) { return p.next_deadline(); });
  for (const auto& at : {events_at_, jobs_at_}) first = earlier(first, at);
  if (!inbox_.empty()) first = earlier(first, busy_until_);
  return first ? std::optional(std::max({*first, clock_.reached(), busy_until_})) : std::nullopt;
}

void Node::expect_events(TimePoint at) {
  if (kernel_.readable()) events_at_ = events_at_ ? std::min(*events_at_, at) : at;
}

void Node::turn(TimePoint now) {
  ++turns_;
  clock_.reach(now);
  while (!inbox_.empty() && busy_until_ <= clock_.reached()) {
    const auto d = std::move(inbox_.front());
    inbox_.pop_front();
    take(d.from, d.link, d.bytes);
  }
  clock_.pass(kTurn);
  with_program([&](auto& p) {
    if (kernel_.readable()) p.on_kernel_event();
    if (const auto at = p.next_deadline(); at && *at <= clock_.now()) p.on_timer();
  });
  clock_.working = true;
  jobs_.step();
  clock_.working = false;
  with_program([](auto& p) { p.end_turn(); });
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
    network_.send(index_, link_, d, clock_.reached());
    ByteReader r(d.subspan(4));
    const std::uint32_t seq = r.be32();
    if (seq < 0x1000'0000 && last_seq_ > 0xf000'0000) tally_.add(Fault::sequence_wrap);
    last_seq_ = seq;
  }
}

State Node::internal() const {
  if (stock_) return stock_->internal();
  return node_ ? state_of(node_->internal_flows()) : State();
}

State Node::external() const {
  if (stock_) return stock_->external();
  return node_ ? state_of(node_->external_flows()) : State();
}

std::vector<std::size_t> Node::believes_in_sync() const {
  std::vector<std::size_t> who;
  if (node_ == nullptr) return who;
  for (const auto& p : node_->snapshot().peers) {
    if (p.state != text::PeerState::in_sync) continue;
    for (std::size_t i = 0; i < network_.nodes(); ++i) {
      for (std::uint8_t link = 0; link < Network::kLinks; ++link) {
        if (to_string(address_of(i, link)) == p.name) who.push_back(i);
      }
    }
  }
  std::ranges::sort(who);
  who.erase(std::ranges::unique(who).begin(), who.end());
  return who;
}

void Node::expect_bounds() {
  if (node_ == nullptr) return;
  constexpr std::uint64_t kControls = 5000;
  const auto s = node_->snapshot();
  for (const auto& q : s.queues) {
    const bool resend = q.name == "rsqueue";
    const std::uint64_t most = resend ? options_.resend_queue_size : options_.table_limit + kControls;
    EXPECT_LE(q.elements, most) << q.name << " of node " << index_;
    if (!resend) continue;
    tally_.add(Fault::resend_queue_full, q.no_space - given_up_);
    given_up_ = q.no_space;
  }
  EXPECT_LE(s.queue_nodes, kControls) << "node " << index_;
  EXPECT_LE(node_->internal_flows().total(), options_.table_limit) << "node " << index_;
  EXPECT_LE(node_->external_flows().total(), options_.table_limit) << "node " << index_;
  if (const auto* n = std::get_if<text::CacheNumbers>(&s.external)) {
    tally_.add(Fault::table_full, n->no_space - refused_);
    refused_ = n->no_space;
  }
  EXPECT_LE(clients_.size(), 500U) << "node " << index_;
}

}  // namespace ctsync::sim
