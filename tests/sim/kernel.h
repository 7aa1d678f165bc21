// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel of a simulated node: traffic makes, changes and ends flows. What happens is told in events, which wait in
// a buffer of limited size until they are read; what does not fit is lost, and the reader is told so, as of a netlink
// socket.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctsync/base/random.h"
#include "fake_kernel.h"
#include "tally.h"

namespace ctsync::sim {

class Kernel final : public node::test::FakeKernel {
 public:
  // `index`: of the node, whose flows no other node has.
  Kernel(std::size_t index, Random& random, Tally& tally);

  // --- Traffic: flow number `flow` of this node ---
  bool exists(std::uint32_t flow) const { return flows.contains(tuple(flow)); }
  void create(std::uint32_t flow);
  void change(std::uint32_t flow) { touch(tuple(flow)); }
  void destroy(std::uint32_t flow) { end(tuple(flow)); }
  // Any flow of the table: a packet changes it, so that it is this node's from now on; or it ends.
  void touch(const Tuple& orig);
  void end(const Tuple& orig);
  Tuple tuple(std::uint32_t flow) const;
  // Whether it is a flow that only this node can begin.
  bool begins(const Tuple& orig) const { return orig.src == tuple(orig.family == Family::ipv6 ? 3 : 0).src; }
  // Flows of this node, and copies that a packet has touched here.
  bool owns(const Tuple& orig) const { return owned_.contains(orig); }
  void disown(const Tuple& orig) { owned_.erase(orig); }

  // Since when this node has had the flow without a break; nothing: it is not this node's.
  std::optional<TimePoint> owned_since(const Tuple& orig) const;
  void set_now(TimePoint now) { now_ = now; }
  // The machine starts anew: no flow is left, and nobody is told.
  void reboot();

  // Flows of this node that are gone, though they have not ended.
  std::string lost_flows() const;
  // What the program has deleted, and when, since this was asked last, other than for -F and -t.
  std::vector<std::pair<Tuple, TimePoint>> take_deleted() { return std::exchange(deleted_, {}); }

  // --- Faults ---
  std::size_t most_events = 1000;  // that wait
  double refused = 0;              // writes
  bool filters_events = true;      // knows how to hide the events of our own writers

  // --- The event socket ---
  bool readable() const { return overrun_ || !events_.empty(); }
  std::uint64_t lost_events() const { return lost_; }
  void close();  // the reader dies
  Result<> open_events(const kernel::EventOptions& options) override;
  Result<> set_event_filter(const FlowFilter& filter, bool hide_own) override;
  bool read_events(std::uint32_t limit, kernel::EventHandler& handler) override;

 private:
  struct Event {
    kernel::EventType type;
    FlowRecord record;
    kernel::Origin origin;
  };

  void changed(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void tell(kernel::EventType type, const FlowRecord& record, kernel::Origin origin, bool labels);
  int refusal(Step step, const Flow& f);
  // No two nodes make the same one.
  std::uint32_t next_mark() { return ++version_ << 3U | static_cast<std::uint32_t>(index_); }

  std::size_t index_;
  Random& random_;
  std::uint32_t version_ = 0;
  std::uint32_t next_id_ = 1;
  Tally& tally_;
  TimePoint now_{};
  std::map<Tuple, TimePoint, node::test::TupleLess> owned_;
  std::vector<std::pair<Tuple, TimePoint>> deleted_;
  std::deque<Event> events_;
  std::uint64_t lost_ = 0;
  bool open_ = false;
  bool hide_own_ = false;
  bool overrun_ = false;
};

}  // namespace ctsync::sim
