// SPDX-License-Identifier: GPL-2.0-or-later
// The queues of an engine: intrusive FIFOs over flows, expectations and control messages. An element is a 32-bit
// reference; its links lie in the table slot it refers to (table::QueueLink), so queuing allocates nothing and an
// object is in one queue at most. Control messages have a small slab of their own.
#pragma once

#include <cstdint>
#include <vector>

#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"

namespace ctsync::replication {

// What waits in a queue: the two highest bits are the kind, the others the index there. 0 = nothing.
class NodeRef {
 public:
  enum class Kind : std::uint8_t { none, flow, expectation, control };

  constexpr NodeRef() = default;
  constexpr NodeRef(Kind kind, std::uint32_t index) : value_(static_cast<std::uint32_t>(kind) << 30 | index) {}
  static constexpr NodeRef from_value(std::uint32_t v) {
    NodeRef n;
    n.value_ = v;
    return n;
  }

  constexpr Kind kind() const { return static_cast<Kind>(value_ >> 30); }
  constexpr std::uint32_t index() const { return value_ & 0x3fffffffU; }
  constexpr std::uint32_t value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != 0; }
  constexpr bool operator==(const NodeRef&) const = default;

 private:
  std::uint32_t value_ = 0;
};

// A control message that waits: kind as wire flag bit, range of ACK and NACK. ALIVE with a tail: what the numbers are depends
// on the tail.
struct ControlNode {
  enum class Tail : std::uint8_t {
    usual,
    bulk_end,        // from: wire::BulkEnd::first, to: count
    repair_end,      // from: wire::RepairEnd::first, to: number
    group_sums,      // from: wire::Sums::first
    bucket_sums,     // likewise
    sums_wanted,     // from, to: the lower and the upper half of the groups
    repair_request,  // of that peer, see FtFw
  };

  table::QueueLink link{};
  table::Queue queue = table::Queue::none;
  std::uint8_t flags = 0;
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::uint32_t addressee = 0;  // node id of whom it is for; 0: of nobody in particular
  Tail tail = Tail::usual;
};

// Resolves references. The tables may be absent (nullptr) and must outlive this.
class Nodes {
 public:
  Nodes(table::FlowTable* flows, table::ExpectationTable* expectations) : flows_(flows), expectations_(expectations) {}

  table::QueueLink& link(NodeRef n);
  table::Queue& queue(NodeRef n);
  ControlNode& control(NodeRef n) { return controls_[n.index()]; }
  const ControlNode& control(NodeRef n) const { return controls_[n.index()]; }

  // `c`: in no queue.
  NodeRef new_control(const ControlNode& c);
  void free_control(NodeRef n) { free_.push_back(n.index()); }
  std::size_t controls() const { return controls_.size() - free_.size(); }

 private:
  table::FlowTable* flows_;
  table::ExpectationTable* expectations_;
  std::vector<ControlNode> controls_;
  std::vector<std::uint32_t> free_;
};

class SendQueue {
 public:
  // Elements of this queue carry `mark`. Queues that share a mark must not share elements of a kind.
  SendQueue(Nodes& nodes, table::Queue mark) : nodes_(nodes), mark_(mark) {}
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  void push_back(NodeRef n);  // n must be in no queue
  void remove(NodeRef n);     // n must be in this queue
  NodeRef pop_front();        // nothing if empty

  NodeRef front() const { return head_; }
  NodeRef back() const { return tail_; }
  NodeRef next(NodeRef n) const { return NodeRef::from_value(nodes_.link(n).next); }
  NodeRef previous(NodeRef n) const { return NodeRef::from_value(nodes_.link(n).prev); }
  std::uint32_t length() const { return length_; }
  bool empty() const { return length_ == 0; }

 private:
  Nodes& nodes_;
  table::Queue mark_;
  NodeRef head_;
  NodeRef tail_;
  std::uint32_t length_ = 0;
};

}  // namespace ctsync::replication
