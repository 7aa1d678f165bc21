// SPDX-License-Identifier: GPL-2.0-or-later
// CacheTimeout of Mode ALARM: what the peer does not repeat leaves the external cache (spec replication.md 3.4). One
// Expiry watches over one table; whoever changes the table tells it.
#pragma once

#include <optional>

#include "ctsync/base/clock.h"
#include "ctsync/table/timer_wheel.h"

namespace ctsync::node {

class Expiry {
 public:
  // `timeout`: CacheTimeout, whole seconds.
  Expiry(Duration timeout, TimePoint now) : timeout_(timeout), wheel_(now) {}

  // Inserted or updated: its time begins anew.
  void touched(std::uint32_t id, TimePoint now) { wheel_.schedule(id, now + timeout_); }
  // For what is touched from now on.
  void set_timeout(Duration timeout) { timeout_ = timeout; }
  // Released by somebody else, or about to be.
  void removed(std::uint32_t id) { wheel_.cancel(id); }

  // Calls expire(id) for each object whose time is over, `most` at the most, the rest in the next call; the caller
  // releases it (as destroyed).
  template <typename F>
  void on_timer(TimePoint now, std::size_t most, F&& expire) {
    wheel_.advance(now, most, expire);
  }
  std::optional<TimePoint> next_deadline() const { return wheel_.next_deadline(); }

  // For `[expires in Ns]`; `updated` as in the slot of the table.
  std::uint32_t seconds_left(std::uint32_t updated, TimePoint now) const {
    const std::uint32_t end = updated + seconds_of(TimePoint(timeout_));
    const std::uint32_t t = seconds_of(now);
    return end > t ? end - t : 0;
  }

 private:
  Duration timeout_;
  table::TimerWheel wheel_;
};

}  // namespace ctsync::node
