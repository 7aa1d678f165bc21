// SPDX-License-Identifier: GPL-2.0-or-later
// The engine of Mode ALARM (spec replication.md 3.4): no control messages at all. Every object of the internal tables
// is repeated after a random time of up to RefreshTime (and one second) since its last change or repetition; the peers
// drop what was not repeated for CacheTimeout (the external cache).
#pragma once

#include "ctsync/base/random.h"
#include "ctsync/replication/engine.h"
#include "ctsync/table/timer_wheel.h"

namespace ctsync::replication {

class Alarm final : public Engine {
 public:
  Alarm(const EngineContext& context, const EngineOptions& options, TimePoint now);

  // accept_data also for the types 6 to 15 without flags: whoever decodes counts them as bad message type.
  Verdict on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) override;
  void start_bulk(TimePoint) override {}
  std::optional<TimePoint> next_deadline() const override;
  void on_timer(TimePoint now) override;

 private:
  bool knows_resync() const override { return false; }
  Slice slice() const override { return {256, std::chrono::milliseconds(1)}; }
  void sent(NodeRef n, std::uint32_t, TimePoint) override { done_with(n); }
  void transmitted(TimePoint) override {}
  void object_changed(NodeRef n, TimePoint now) override { wheel_of(n).schedule(n.index(), now + refresh_delay()); }
  void object_gone(NodeRef n) override { wheel_of(n).cancel(n.index()); }

  table::TimerWheel& wheel_of(NodeRef n) { return n.kind() == Kind::flow ? flow_wheel_ : expect_wheel_; }
  void refresh(table::TimerWheel& wheel, Kind kind, TimePoint now);
  Duration refresh_delay();

  Random random_;
  table::TimerWheel flow_wheel_;
  table::TimerWheel expect_wheel_;
};

}  // namespace ctsync::replication
