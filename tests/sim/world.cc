// SPDX-License-Identifier: GPL-2.0-or-later
#include "world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::sim {

namespace {

// How long a loop may be busy before it comes to the kernel's events.
constexpr Duration kBusy = std::chrono::milliseconds(20);
// More of them, and a node spins.
constexpr std::uint64_t kTurnsASecond = 20'000;

bool is_due(const Arrivals& a, TimePoint now) { return a.next() && *a.next() <= now; }

}  // namespace

World::World(std::size_t nodes, const node::NodeOptions& options, std::uint64_t seed)
    : random_(seed), network_(nodes, random_) {
  static constexpr int kSlowness[] = {0, 20, 150, 400};  // microseconds
  for (std::size_t i = 0; i < nodes; ++i) {
    auto o = options;
    o.seed = random_.next();
    auto& n = *nodes_.emplace_back(
        std::make_unique<Node>(i, std::move(o), kWallStart + random_.below(2), network_, random_, now_));
    n.set_slowness(std::chrono::microseconds(kSlowness[random_.below(4)]));
    n.kernel().dump_part = 1 + random_.below(40);
  }
}

void World::kernel_event(Kernel& k) {
  const std::uint32_t flow = random_.below(kFlows);
  const auto passes = [tuple = k.tuple(flow)](const auto& n) { return n->owns(tuple); };
  if (!k.owns(k.tuple(flow)) && std::ranges::any_of(nodes_, passes)) return;  // its packets pass elsewhere
  if (!k.exists(flow)) return k.create(flow);
  if (random_.chance(0.7)) return k.change(flow);
  k.destroy(flow);
  if (random_.chance(0.2)) k.create(flow);  // the same tuple again before anything was sent
}

void World::traffic() {
  Node& n = any_node();
  kernel_event(n.kernel());
  n.expect_events(now_ + (random_.chance(0.7) ? Duration{} : random_.time_up_to(kBusy)));
  if (!random_.chance(0.5)) traffic_.schedule(now_, nodes_.size(), random_);  // else a burst
}

void World::expire_copy(std::size_t node) {
  Kernel& k = nodes_[node]->kernel();
  std::vector<Tuple> copies;
  for (const auto& [tuple, record] : k.flows) {
    if (!nodes_[node]->owns(tuple)) copies.push_back(tuple);
  }
  if (copies.empty()) return;
  k.end(copies[random_.below(static_cast<std::uint32_t>(copies.size()))]);
  nodes_[node]->expect_events(now_);
}

void World::move_flow(std::size_t from, std::size_t to) {
  const Tuple flow = nodes_[from]->kernel().tuple(random_.below(kFlows));
  Kernel& there = nodes_[to]->kernel();
  if (!nodes_[from]->owns(flow) || !there.flows.contains(flow)) return;
  nodes_[from]->kernel().disown(flow);
  there.touch(flow);
  nodes_[to]->expect_events(now_);
}

void World::forge(std::size_t as, std::size_t to) {
  wire::MessageReader reader(network_.last_of(as));
  wire::Message m;
  while (reader.next(m) == wire::MessageReader::Status::message) {
  }
  const auto& flows = nodes_[as]->node().internal_flows();
  std::array<std::uint8_t, 2 * wire::kMaxEncodedSize> room;
  ByteWriter w(room);
  const auto say = [&](wire::MsgType type, const Flow& f) {
    wire::encode_flow(w, type, 0, ++m.header.seq, f, nullptr, 0, {});
  };
  for (table::FlowId id = 0; id < flows.end_id() && w.size() == 0; ++id) {
    Flow f = flows.slot(id).flow;
    if (!is_live(flows.slot(id).state) || !random_.chance(0.05)) continue;
    f.mark ^= 1U + random_.below(9);
    f.present |= has::kMark;
    say(random_.chance(0.5) ? wire::MsgType::flow_update : wire::MsgType::flow_delete, f);
    f.orig.src_port ^= 0x8000;
    say(wire::MsgType::flow_new, f);
  }
  if (w.size() == 0) return;
  nodes_[to]->receive(as, w.written(), now_);
  nodes_[to]->turn(now_);
}

void World::arrivals() {
  if (is_due(traffic_, now_)) traffic();
  if (is_due(commands_, now_)) {
    any_node().command(which_commands_[random_.below(static_cast<std::uint32_t>(which_commands_.size()))], now_);
    commands_.schedule(now_, nodes_.size(), random_);
  }
  if (is_due(expiry_, now_)) {
    expire_copy(random_.below(static_cast<std::uint32_t>(nodes_.size())));
    expiry_.schedule(now_, nodes_.size(), random_);
  }
}

void World::deliveries() {
  while (network_.next() && *network_.next() <= now_) {
    const Delivery d = network_.take();
    nodes_[d.to]->receive(d.from, d.bytes, now_);
    nodes_[d.to]->turn(now_);
  }
}

void World::run_for(Duration d) {
  const TimePoint end = now_ + d;
  std::uint64_t turns = 0;
  for (const auto& n : nodes_) turns -= n->turns();
  while (true) {
    TimePoint at = end;
    for (const auto& t : {traffic_.next(), commands_.next(), expiry_.next(), network_.next()}) {
      if (t) at = std::min(at, *t);
    }
    for (const auto& n : nodes_) {
      if (const auto t = n->next_turn()) at = std::min(at, *t);
    }
    now_ = std::max(now_, at);
    if (now_ >= end) break;
    arrivals();
    deliveries();
    for (const auto& n : nodes_) {
      if (const auto t = n->next_turn(); t && *t <= now_) n->turn(now_);
    }
  }
  for (const auto& n : nodes_) turns += n->turns();
  const auto seconds = 1 + static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(d).count());
  // What one sends is a turn of all others.
  EXPECT_LE(turns, seconds * kTurnsASecond * nodes_.size() * (nodes_.size() - 1)) << "a node spins";
}

}  // namespace ctsync::sim
