// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/notrack.h"

#include <algorithm>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

using wire::ControlKind;

Notrack::Notrack(const EngineContext& context, const EngineOptions& options, TimePoint now)
    : Engine(context, options, now, kApart), alive_at_(now + kAliveInterval) {}

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
  if (p->received) count(*p, h.seq, now);
  heard_from(*p);
  hear_tail(*p, read_tail(m));
  // What came late, or is of another sender with nearly the same numbers, makes nothing lost that comes next.
  if (!p->received || p->last - h.seq >= kLate) p->last = h.seq;
  p->received = true;
  ++p->accepted;
  if (data) {
    resync_.data_heard(now);
    return Verdict::accept_data;
  }
  resync_.heard(now);
  if (kind == ControlKind::resync) answer_resync(peers_.id(*p), now);
  return Verdict::consumed;
}

void Notrack::count(Peer& p, std::uint32_t seq, TimePoint now) {
  if (p.runs.returned) return p.wide_gap.reset();  // to where another sender had got in between
  if (p.wide_gap && now - p.wide_gap_at >= kWideGapTime) {
    lose(p, *p.wide_gap);
    p.wide_gap.reset();
  }
  const wire::NumberRange gap{.from = p.expected(), .to = seq - 1};
  switch (relation(seq, p.expected())) {
    case Relation::expected:
      return;
    case Relation::after:
      if (seq - gap.from < kWideGap) return lose(p, gap);
      p.wide_gap = gap;
      p.wide_gap_at = now;
      return;
    case Relation::before:
      ++context_.receive_stats.before;
  }
}

void Notrack::lose(const Peer& p, const wire::NumberRange& gap) {
  context_.receive_stats.lost += gap.to - gap.from + 1;
  context_.events.gap_seen(peers_.id(p), gap.from, gap.to);
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
