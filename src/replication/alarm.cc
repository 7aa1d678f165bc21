// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/alarm.h"

#include <algorithm>

namespace ctsync::replication {

Alarm::Alarm(const EngineContext& context, const EngineOptions& options, TimePoint now)
    : Engine(context, options, now), random_(options.seed), flow_wheel_(now), expect_wheel_(now) {}

Verdict Alarm::on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) {
  Peer* p = peers_.find(from, m.header, now);
  if (p == nullptr) {
    p = &peers_.add(from, now);
    context_.events.peer_appeared(peers_.id(*p));
  }
  p->last_heard = now;
  heard_from(*p);
  ++p->accepted;
  return m.header.flags == 0 ? Verdict::accept_data : Verdict::consumed;
}

std::optional<TimePoint> Alarm::next_deadline() const {
  return earlier(Engine::next_deadline(), earlier(flow_wheel_.next_deadline(), expect_wheel_.next_deadline()));
}

void Alarm::on_timer(TimePoint now) {
  refresh(flow_wheel_, Kind::flow, now);
  refresh(expect_wheel_, Kind::expectation, now);
}

void Alarm::refresh(table::TimerWheel& wheel, Kind kind, TimePoint now) {
  constexpr std::size_t kMost = 2000;  // in one turn
  wheel.advance(now, kMost, [&](std::uint32_t id) {
    queue_object({kind, id});
    wheel.schedule(id, now + refresh_delay());
  });
}

// Whole seconds in 1..RefreshTime, plus one to five fifths of a second less a microsecond.
Duration Alarm::refresh_delay() {
  const auto seconds = std::chrono::seconds(1 + random_.next() % options_.refresh_time);
  const auto fifths = std::chrono::milliseconds(200 * (1 + random_.next() % 5));
  return seconds + fifths - std::chrono::microseconds(1);
}

}  // namespace ctsync::replication
