// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/notrack.h"

#include <algorithm>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

using wire::ControlKind;

Notrack::Notrack(const EngineContext& context, const EngineOptions& options, TimePoint now)
    : Engine(context, options, now), alive_at_(now + kAliveInterval) {}

Verdict Notrack::on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) {
  const auto& h = m.header;
  const bool data = wire::is_data(h.type);
  const ControlKind kind = h.type == wire::MsgType::control ? wire::control_kind(h.flags) : ControlKind::none;
  constexpr std::uint8_t kTolerated = wire::flag::kHello | wire::flag::kHelloBack;
  const bool good = data ? (h.flags & ~kTolerated) == 0 : kind == ControlKind::resync || kind == ControlKind::alive;
  if (!good) return Verdict::bad;

  Peer* p = peers_.find(from, h, now);
  if (p == nullptr) {
    p = &peers_.add(from, now);
    context_.events.peer_appeared(peers_.id(*p));
  }
  p->last_heard = now;
  if (p->received) {
    switch (relation(h.seq, p->expected())) {
      case Relation::expected:
        break;
      case Relation::after:
        context_.receive_stats.lost += h.seq - p->expected();
        context_.events.gap_seen(peers_.id(*p), p->expected(), h.seq - 1);
        break;
      case Relation::before:
        ++context_.receive_stats.before;
        break;
    }
  }
  heard_from(*p);
  hear_tail(*p, read_tail(m));
  p->received = true;
  p->last = h.seq;
  ++p->accepted;
  if (data) {
    resync_.data_heard(now);
    return Verdict::accept_data;
  }
  resync_.heard(now);
  if (kind == ControlKind::resync) answer_resync(peers_.id(*p), now);
  return Verdict::consumed;
}

std::optional<TimePoint> Notrack::next_deadline() const {
  return std::min(alive_at_, Engine::next_deadline().value_or(alive_at_));
}

void Notrack::on_timer(TimePoint now) {
  if (now < alive_at_) return;
  queue_control({.flags = wire::flag::kAlive});
  alive_at_ = now + kAliveInterval;
}

void Notrack::send_event(wire::Packer& packer, wire::MsgType type, const FlowRecord& r) {
  packer.flow(type, 0, take_seq(), r.flow, (r.flow.present & has::kExtra) != 0 ? &r.extra : nullptr, 0);
}

void Notrack::send_event(wire::Packer& packer, wire::MsgType type, const Expectation& e) {
  packer.expectation(type, 0, take_seq(), e, 0);
}

}  // namespace ctsync::replication
