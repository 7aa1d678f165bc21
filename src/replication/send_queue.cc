// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/send_queue.h"

namespace ctsync::replication {

table::QueueLink& Nodes::link(NodeRef n) {
  switch (n.kind()) {
    case NodeRef::Kind::flow:
      return flows_->slot(n.index()).link;
    case NodeRef::Kind::expectation:
      return expectations_->slot(n.index()).link;
    default:
      return controls_[n.index()].link;
  }
}

table::Queue& Nodes::queue(NodeRef n) {
  switch (n.kind()) {
    case NodeRef::Kind::flow:
      return flows_->slot(n.index()).queue;
    case NodeRef::Kind::expectation:
      return expectations_->slot(n.index()).queue;
    default:
      return controls_[n.index()].queue;
  }
}

NodeRef Nodes::new_control(const ControlNode& c) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(controls_.size()));
    controls_.emplace_back();
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  controls_[index] = c;
  return {NodeRef::Kind::control, index};
}

void SendQueue::push_back(NodeRef n) {
  auto& link = nodes_.link(n);
  link.next = 0;
  link.prev = tail_.value();
  if (tail_) {
    nodes_.link(tail_).next = n.value();
  } else {
    head_ = n;
  }
  tail_ = n;
  nodes_.queue(n) = mark_;
  ++length_;
}

void SendQueue::remove(NodeRef n) {
  const auto link = nodes_.link(n);
  const auto next = NodeRef::from_value(link.next);
  const auto prev = NodeRef::from_value(link.prev);
  if (prev) {
    nodes_.link(prev).next = link.next;
  } else {
    head_ = next;
  }
  if (next) {
    nodes_.link(next).prev = link.prev;
  } else {
    tail_ = prev;
  }
  nodes_.queue(n) = table::Queue::none;
  --length_;
}

NodeRef SendQueue::pop_front() {
  const NodeRef n = head_;
  if (n) remove(n);
  return n;
}

}  // namespace ctsync::replication
