// SPDX-License-Identifier: GPL-2.0-or-later
// A FIFO of flows each of which waits for the same time, so the first one is due first: no timer is needed. When one came
// lies in its link, in milliseconds; so none may wait for longer than 49 days.
#pragma once

#include <chrono>
#include <optional>

#include "ctsync/base/clock.h"
#include "ctsync/replication/send_queue.h"

namespace ctsync::replication {

class DelayQueue {
 public:
  // Elements carry `mark`, as in SendQueue. `delay`: whole milliseconds.
  DelayQueue(Nodes& nodes, table::Queue mark, Duration delay) : nodes_(nodes), list_(nodes, mark), delay_(delay) {}

  Duration delay() const { return delay_; }
  // For those in it as well.
  void set_delay(Duration delay) { delay_ = delay; }
  bool empty() const { return list_.empty(); }
  std::uint32_t length() const { return list_.length(); }

  void push_back(NodeRef n, TimePoint now) {  // n must be in no queue
    now_ = now;
    list_.push_back(n);
    nodes_.link(n).seq = stamp(now);
  }
  void remove(NodeRef n) { list_.remove(n); }  // n must be in this queue
  // The first one, if it has waited long enough, or whatever it has (`all`); else nothing.
  NodeRef pop_due(TimePoint now, bool all) {
    now_ = now;
    return !empty() && (all || due_at() <= now) ? list_.pop_front() : NodeRef();
  }
  std::optional<TimePoint> next_deadline() const { return empty() ? std::nullopt : std::optional(due_at()); }

 private:
  using Milliseconds = std::chrono::milliseconds;

  static std::uint32_t stamp(TimePoint t) {
    return static_cast<std::uint32_t>(std::chrono::floor<Milliseconds>(t).time_since_epoch().count());
  }
  // Of the first one. Rounded up: nothing is due too early.
  TimePoint due_at() const {
    const Milliseconds waited(stamp(now_) - nodes_.link(list_.front()).seq);
    return std::chrono::floor<Milliseconds>(now_) - waited + delay_ + Milliseconds(1);
  }

  Nodes& nodes_;
  SendQueue list_;
  Duration delay_;
  TimePoint now_{};  // as heard last
};

}  // namespace ctsync::replication
