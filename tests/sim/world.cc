// SPDX-License-Identifier: GPL-2.0-or-later
#include "world.h"

#include <fmt/format.h>
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

World::World(std::size_t nodes, const KindOf& setup, std::uint64_t seed, Tally& tally, std::uint32_t first_wall)
    : random_(seed), tally_(tally), network_(nodes, random_, tally) {
  static constexpr int kSlowness[] = {0, 20, 150, 400};  // microseconds
  for (std::size_t i = 0; i < nodes; ++i) {
    auto o = setup(i);
    o.options.seed = random_.next();
    auto& n = *nodes_.emplace_back(
        std::make_unique<Node>(i, std::move(o), first_wall + random_.below(2), network_, random_, tally_, now_));
    n.set_slowness(std::chrono::microseconds(kSlowness[random_.below(4)]));
    n.kernel().dump_part = 1 + random_.below(40);
  }
}

void World::kernel_event(Kernel& k) {
  k.set_now(now_);
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

std::vector<Tuple> World::copies_of(std::size_t node) {
  std::vector<Tuple> copies;
  for (const auto& [tuple, record] : nodes_[node]->kernel().flows) {
    if (!nodes_[node]->owns(tuple)) copies.push_back(tuple);
  }
  return copies;
}

void World::expire(std::size_t node, const Tuple& copy) {
  tally_.add(Fault::expired_copy);
  nodes_[node]->kernel().end(copy);
  nodes_[node]->expect_events(now_);
}

void World::expire_copy(std::size_t node) {
  const auto copies = copies_of(node);
  if (!copies.empty()) expire(node, copies[random_.below(static_cast<std::uint32_t>(copies.size()))]);
}

void World::expire_copies() {
  tally_.note(now_, "all copies run out");
  for (std::size_t i = 0; i < size(); ++i) {
    for (const auto& copy : copies_of(i)) expire(i, copy);
  }
}

void World::shrink(std::size_t most) {
  for (auto& n : nodes_) {
    auto& k = n->kernel();
    std::size_t left = 0;
    std::vector<Tuple> ended;
    for (const auto& [tuple, record] : k.flows) {
      if (n->owns(tuple) && ++left > most) ended.push_back(tuple);
    }
    for (const auto& t : ended) k.end(t);
    n->expect_events(now_);
  }
}

std::string World::wrongly_deleted() {
  constexpr Duration kUnderWay = std::chrono::seconds(5);
  std::string s;
  for (std::size_t i = 0; i < size(); ++i) {
    for (const auto& [t, at] : nodes_[i]->kernel().take_deleted()) {
      if (nodes_[i]->kernel().flows.contains(t)) continue;
      for (const auto& n : nodes_) {
        const auto since = n->kernel().owned_since(t);
        if (since && at - *since > kUnderWay) s += fmt::format("{} at node {}; ", name_of(t), i);
      }
    }
  }
  return s;
}

void World::restart(std::size_t node, node::AskAtStart ask) {
  tally_.add(Fault::restart);
  tally_.note(now_, fmt::format("{} restarts", node));
  nodes_[node]->restart(ask, now_);
}

void World::kill(std::size_t node, bool reboot) {
  tally_.add(reboot ? Fault::reboot : Fault::restart);
  tally_.note(now_, fmt::format("{} {}", node, reboot ? "loses power" : "is killed"));
  nodes_[node]->die();
  if (reboot) nodes_[node]->kernel().reboot();
}

void World::take_over(std::size_t from, std::size_t to) {
  tally_.add(Fault::take_over);
  tally_.note(now_, fmt::format("{} takes over from {}", to, from));
  command(to, node::Verb::commit);
  run_for(std::chrono::milliseconds(50));
  for (std::uint32_t flow = 0; flow < kFlows; ++flow) move(from, to, nodes_[from]->kernel().tuple(flow));
  command(to, node::Verb::bulk_send);  // as primary-backup.sh does
}

void World::stop(std::size_t node, Duration d) {
  tally_.add(Fault::stop);
  tally_.note(now_, fmt::format("{} stands still for {} ms", node, d / std::chrono::milliseconds(1)));
  nodes_[node]->stop_until(now_ + d);
}

void World::link_failed(std::uint8_t link, std::size_t node, bool interface_down) {
  tally_.add(Fault::link_failure);
  tally_.note(now_, fmt::format("link {} fails at {}{}", link, node, interface_down ? ", interface down" : ""));
  network_.cut_link(link, node, true);
  if (interface_down) nodes_[node]->link_failed(link);
}

void World::command(std::size_t node, node::Verb verb, node::Side side) {
  nodes_[node]->command({.verb = verb, .what = node::What::flows, .side = side}, now_);
}

void World::move_flow(std::size_t from, std::size_t to) {
  move(from, to, nodes_[from]->kernel().tuple(random_.below(kFlows)));
}

void World::move(std::size_t from, std::size_t to, const Tuple& flow) {
  Kernel& there = nodes_[to]->kernel();
  if (!nodes_[from]->owns(flow) || !there.flows.contains(flow)) return;
  nodes_[from]->kernel().disown(flow);
  there.set_now(now_);
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
  tally_.add(Fault::forged_message, 2);
  nodes_[to]->receive_forged(as, w.written(), now_);
}

void World::arrivals() {
  if (is_due(traffic_, now_)) traffic();
  if (is_due(commands_, now_)) {
    const auto& command = which_commands_[random_.below(static_cast<std::uint32_t>(which_commands_.size()))];
    if (Node& n = any_node(); !n.is_busy(now_)) {
      tally_.add(Fault::command);
      n.command(command, now_);
    }
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
    nodes_[d.to]->receive(d, now_);
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
    for (const auto& n : nodes_) n->kernel().set_now(now_);
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
