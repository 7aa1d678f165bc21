// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/ftfw.h"

#include <algorithm>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

using wire::ControlKind;

namespace {

// A jump is confirmed by a number at most this far behind it: some messages may be lost there, too.
constexpr std::uint32_t kJumpSuccessors = 1024;

bool is_well_formed(const wire::Message& m) {
  const auto& h = m.header;
  if (wire::is_data(h.type)) return (h.flags & ~(wire::flag::kHello | wire::flag::kHelloBack)) == 0;
  if (h.type != wire::MsgType::control) return false;
  switch (wire::control_kind(h.flags)) {
    case ControlKind::none:
      return false;
    case ControlKind::ack:
    case ControlKind::nack:
      return !is_before(m.to, m.from);
    default:
      return true;
  }
}

}  // namespace

FtFw::FtFw(const EngineContext& context, const EngineOptions& options, TimePoint now)
    : Engine(context, options, now),
      resend_(nodes_, table::Queue::resend),
      alive_at_(now + kAliveInterval),
      acked_(options.first_sequence) {
  options_.ack_window = std::max<std::uint32_t>(options_.ack_window, 1);
}

// --- Receiving ---

Verdict FtFw::on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) {
  if (!is_well_formed(m)) return Verdict::bad;
  Peer& p = peer_of(from, m.header, now);
  p.last_heard = now;
  hear_flags(p, m.header, now);
  if (!may_take(p, m.header.seq, now)) return Verdict::old;
  take(p, m, now);
  p.said_hello = (m.header.flags & wire::flag::kHello) != 0;
  if (p.said_hello) p.hello_at = now;
  if (wire::is_data(m.header.type)) return Verdict::accept_data;
  digest(p, m, now);
  return Verdict::consumed;
}

Peer& FtFw::peer_of(const PeerAddress& from, const wire::Header& h, TimePoint now) {
  if (Peer* known = peers_.find(from, h, now)) return *known;
  Peer& p = peers_.add(from, now);
  p.window = options_.ack_window;
  p.last_accepted = now;
  context_.events.peer_appeared(peers_.id(p));
  return p;
}

void FtFw::hear_flags(Peer& p, const wire::Header& h, TimePoint now) {
  if ((h.flags & wire::flag::kHelloBack) != 0 && hello_ == Hello::saying) hello_ = Hello::done;
  if ((h.flags & wire::flag::kHello) == 0) return;
  owe_hello_back_ = true;
  if (!continues_session(p, h.seq, now)) begin_session(p, h.seq);
}

bool FtFw::continues_session(const Peer& p, std::uint32_t seq, TimePoint now) {
  if (!p.received) return false;
  if (relation(seq, p.expected()) != Relation::before) return p.said_hello && seq - p.expected() <= kBelievableGap;
  return !is_before(seq, p.session_start - kLateHelloReach) && p.hello_at && now - *p.hello_at < kLateHello;
}

void FtFw::begin_session(Peer& p, std::uint32_t seq) {
  if (p.received) context_.events.peer_restarted(peers_.id(p));
  p.received = false;
  p.session_start = seq;
  if (p.ack_pending) {
    p.ack_start = seq;
    p.window = options_.ack_window - 1;
  }
  p.acked.reset();
  forget_resend();
}

// Whether a message with this number is to be used: not old, and no jump that may be an error.
bool FtFw::may_take(Peer& p, std::uint32_t seq, TimePoint now) {
  if (!p.received) return true;
  switch (relation(seq, p.expected())) {
    case Relation::expected:
      return true;
    case Relation::after:
      return seq - p.expected() <= kBelievableGap || believes_jump(p, seq);
    default:
      break;
  }
  if (went_back(p, seq, now)) return true;
  ++context_.receive_stats.before;
  return false;
}

bool FtFw::believes_jump(Peer& p, std::uint32_t seq) {
  if (p.jump && seq - *p.jump - 1 < kJumpSuccessors) return true;
  p.jump = seq;
  return false;
}

// After a run of old numbers and nothing else for a long time the peer counts anew from where the run began.
bool FtFw::went_back(Peer& p, std::uint32_t seq, TimePoint now) {
  p.jump.reset();  // not confirmed by its successor
  if (p.old_count == 0 || seq != p.old_next) {
    p.old_first = seq;
    p.old_count = 0;
  }
  p.old_next = seq + 1;
  if (++p.old_count < kOldRunCount || now - p.last_accepted < kOldRunTime) return false;
  p.last = p.old_first - 1;
  p.ack_pending = false;
  return true;
}

// Every ACK is heard, counted and in the end acknowledged by all other nodes. With a window no greater than their
// number that would go on as fast as the link carries it: leave those ACKs to the timer.
bool FtFw::endless_to_acknowledge(const wire::Message& m) const {
  const bool is_ack = m.header.type == wire::MsgType::control && wire::control_kind(m.header.flags) == ControlKind::ack;
  return is_ack &&
         options_.ack_window <= static_cast<std::uint32_t>(std::ranges::count(peers_.all(), true, &Peer::used));
}

// The sequence rules B and C of spec replication.md 3.2.
void FtFw::take(Peer& p, const wire::Message& m, TimePoint now) {
  const std::uint32_t seq = m.header.seq;
  if (p.received && seq != p.expected()) close_before_gap(p, seq);
  if (!p.ack_pending) {
    p.ack_start = seq;
    p.ack_pending = true;
  }
  if (p.window <= 1 && !endless_to_acknowledge(m)) {
    queue_control(wire::flag::kAck, p.ack_start, seq);
    p.window = options_.ack_window;
    p.ack_pending = false;
  } else if (p.window > 1) {
    --p.window;
  }
  p.received = true;
  p.last = seq;
  p.last_accepted = now;
  p.jump.reset();
  p.old_count = 0;
}

// Acknowledges what came before the gap, asks for what is missing. `seq` opens a new window as its first message.
void FtFw::close_before_gap(Peer& p, std::uint32_t seq) {
  context_.receive_stats.lost += seq - p.expected();
  context_.events.gap_seen(peers_.id(p), p.expected(), seq - 1);
  if (p.ack_pending) queue_control(wire::flag::kAck, p.ack_start, p.last);
  queue_control(wire::flag::kNack, p.expected(), seq - 1);
  p.ack_pending = false;
  p.window = options_.ack_window;
}

void FtFw::digest(Peer& p, const wire::Message& m, TimePoint now) {
  switch (wire::control_kind(m.header.flags)) {
    case ControlKind::ack:
      return on_ack(p, m.from, m.to, now);
    case ControlKind::nack:
      return on_nack(p, m.from, m.to);
    case ControlKind::resync:
      return answer_resync(peers_.id(p), now);
    default:
      return;
  }
}

void FtFw::on_ack(Peer& p, std::uint32_t from, std::uint32_t to, TimePoint now) {
  if (!is_before(to, next_seq_)) return;  // numbers not sent yet: meant for another node, or for our former self
  if (!resend_.empty()) {
    const std::uint32_t known = p.acked.value_or(nodes_.link(resend_.front()).seq);
    if (is_after(from, known)) repeat(known, from - 1);
  }
  if (!p.acked || is_after(to + 1, *p.acked)) p.acked = to + 1;

  for (NodeRef n = first_from(from); n && !is_after(nodes_.link(n).seq, to);) {
    const NodeRef next = resend_.next(n);
    resend_.remove(n);
    done_with(n);
    n = next;
  }
  if (resend_.length() <= options_.resend_queue_size / 2) overflow_told_ = false;
  if (is_after(to + 1, acked_)) {
    acked_ = to + 1;
    acked_at_ = now;
  }
}

void FtFw::on_nack(Peer& p, std::uint32_t from, std::uint32_t to) {
  // As with ACK. Two nodes that believed a damaged number would ask each other for everything without end, because such
  // a NACK is itself repeated. What is really missing the next ACK shows.
  if (!is_before(to, next_seq_)) return;
  if (given_up_ && !is_after(from, *given_up_)) context_.events.cannot_repeat(peers_.id(p), from, to);
  repeat(from, to);
}

// --- The resend queue: ascending numbers ---

// The first element with this number or a later one. The search starts at the end that is nearer in the usual cases.
NodeRef FtFw::first_from(std::uint32_t seq) {
  const auto number = [this](NodeRef n) { return nodes_.link(n).seq; };
  if (resend_.empty() || !is_before(number(resend_.front()), seq)) return resend_.front();
  NodeRef found;
  for (NodeRef n = resend_.back(); n && !is_before(number(n), seq); n = resend_.previous(n)) found = n;
  return found;
}

void FtFw::repeat(std::uint32_t from, std::uint32_t to) {
  for (NodeRef n = first_from(from); n && !is_after(nodes_.link(n).seq, to);) {
    const NodeRef next = resend_.next(n);
    resend_.remove(n);
    (n.kind() == Kind::control ? control_ : transmit_).push_back(n);
    n = next;
  }
}

void FtFw::forget_resend() {
  while (const NodeRef n = resend_.pop_front()) done_with(n);
  overflow_told_ = false;
  given_up_.reset();
}

void FtFw::drop_oldest() {
  const NodeRef n = resend_.pop_front();
  given_up_ = nodes_.link(n).seq;
  ++no_space_;
  if (!overflow_told_) context_.events.resend_queue_overflow();
  overflow_told_ = true;
  done_with(n);
}

bool FtFw::release_one_dead() {
  if (context_.flows->total() == context_.flows->live()) return false;
  while (const NodeRef n = resend_.front()) {
    const bool dead = is_dead(n);
    drop_oldest();
    if (dead) return true;
  }
  return false;
}

void FtFw::unlink(NodeRef n) {
  if (nodes_.queue(n) == table::Queue::resend) {
    resend_.remove(n);
  } else {
    Engine::unlink(n);
  }
}

// --- Sending ---

std::uint8_t FtFw::next_flags() {
  std::uint8_t flags = 0;
  if (hello_ == Hello::initial) hello_ = Hello::saying;
  if (hello_ == Hello::saying) flags |= wire::flag::kHello;
  if (owe_hello_back_) flags |= wire::flag::kHelloBack;
  owe_hello_back_ = false;
  return flags;
}

void FtFw::sent(NodeRef n, std::uint32_t seq, TimePoint) {
  if (n.kind() == Kind::control && nodes_.control(n).flags == wire::flag::kAlive) {
    done_with(n);
    return;
  }
  nodes_.link(n).seq = seq;
  resend_.push_back(n);
  while (resend_.length() > options_.resend_queue_size) drop_oldest();
}

std::uint32_t FtFw::window_room(TimePoint now) const {
  if (!acked_at_ || now - *acked_at_ > kAckIsFresh) return 0;
  const std::uint32_t in_flight = std::min(resend_.length(), next_seq_ - acked_);
  return in_flight < kFlightLimit ? kFlightLimit - in_flight : 0;
}

void FtFw::request_resync(TimePoint) { queue_control(wire::flag::kResync); }

std::optional<TimePoint> FtFw::next_deadline() const {
  return std::min(alive_at_, Engine::next_deadline().value_or(alive_at_));
}

void FtFw::on_timer(TimePoint now) {
  if (now < alive_at_) return;
  bool any = false;
  for (Peer& p : peers_.all()) {
    if (!p.used || !p.ack_pending) continue;
    queue_control(wire::flag::kAck, p.ack_start, p.last);
    p.ack_pending = false;
    any = true;
  }
  if (!any) queue_control(wire::flag::kAlive);
  alive_at_ = now + kAliveInterval;
}

}  // namespace ctsync::replication
