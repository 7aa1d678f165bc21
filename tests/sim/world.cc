// SPDX-License-Identifier: GPL-2.0-or-later
#include "world.h"

#include <algorithm>

namespace ctsync::sim {

World::World(std::size_t nodes, Mode mode, const replication::EngineOptions& options, std::uint64_t seed)
    : random_(seed), network_(nodes, random_) {
  for (std::size_t i = 0; i < nodes; ++i) {
    auto o = options;
    o.first_sequence = wall() + random_.below(2);
    o.seed = random_.next();
    nodes_.push_back(std::make_unique<Node>(i, mode, o, network_, now_));
  }
}

void World::restart(std::size_t node, bool resync) {
  nodes_[node]->restart(wall(), now_);
  if (resync) nodes_[node]->engine().request_resync(now_);
}

void World::kernel_event(Node& n) {
  const std::uint32_t flow = random_.below(kFlows);
  if (!n.exists(flow)) {
    n.create(flow, now_);
  } else if (random_.chance(0.3)) {
    n.destroy(flow);
    if (random_.chance(0.2)) n.create(flow, now_);  // the same tuple again before anything was sent
  } else if (random_.chance(0.1)) {
    n.create(flow, now_);  // a new event for a flow we believed alive
  } else {
    n.change(flow, now_);
  }
}

void World::run_for(Duration d) {
  const TimePoint end = now_ + d;
  if (traffic_) next_event_ = std::max(next_event_, now_);
  while (true) {
    TimePoint at = end;
    if (traffic_) at = std::min(at, next_event_);
    if (const auto t = network_.next()) at = std::min(at, *t);
    for (const auto& n : nodes_) {
      if (const auto t = n->next_deadline()) at = std::min(at, *t);
    }
    now_ = std::max(now_, at);
    if (now_ >= end) return;
    step(now_);
  }
}

void World::step(TimePoint at) {
  if (traffic_ && next_event_ <= at) {
    Node& n = *nodes_[random_.below(static_cast<std::uint32_t>(nodes_.size()))];
    kernel_event(n);
    // Now and then the loop is busy and events pile up before the end of its turn.
    if (random_.chance(0.7)) n.turn(at);
    const bool burst = random_.chance(0.5);
    next_event_ = burst ? at : at + 2 * random_.time_up_to(*traffic_) / static_cast<long>(nodes_.size());
  }
  while (network_.next() && *network_.next() <= at) {
    const Delivery d = network_.take();
    nodes_[d.to]->receive(d.from, d.bytes, at);
    nodes_[d.to]->turn(at);
    ++turns_;
  }
  for (const auto& n : nodes_) {
    const auto t = n->next_deadline();
    if (!t || *t > at) continue;
    n->turn(at);
    ++turns_;
  }
}

}  // namespace ctsync::sim
