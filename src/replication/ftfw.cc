// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/ftfw.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

using wire::ControlKind;

namespace {

// What a look-up by number counts among the steps of a turn.
constexpr std::uint32_t kLookUpSteps = 16;

// A jump is confirmed by a number at most this far behind it: some messages may be lost there, too.
constexpr std::uint32_t kJumpSuccessors = 1024;

bool is_ack(const wire::Message& m) {
  return m.header.type == wire::MsgType::control && wire::control_kind(m.header.flags) == ControlKind::ack;
}

// Never 0.
std::uint32_t content_of(const wire::Message& m) {
  const std::string_view bytes(reinterpret_cast<const char*>(m.payload.data()), m.payload.size());
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(bytes)) | 1U;
}

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
      resend_(nodes_),
      settled_(options.first_sequence),
      dead_from_(options.first_sequence),
      now_(now),
      alive_at_(now + kAliveInterval),
      acked_(options.first_sequence),
      sums_at_(now + kSumsInterval),
      parts_since_(now),
      parts_at_(now),
      repair_after_(now) {}

// --- Receiving ---

Verdict FtFw::on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) {
  if (!is_well_formed(m)) return Verdict::bad;
  now_ = now;
  const wire::Extension tail = read_tail(m);
  Peer& p = peer_of(from, m.header, tail, now);
  if (!is_live(p) && p.received) {  // what was sent meanwhile may be gone
    lacks(p);
    p.acked_at = now;
  }
  p.last_heard = now;
  const auto session = p.session;
  hear_flags(p, m.header, now);
  if (!may_take(p, m.header.seq, now)) return is_of_one_alike(p, m) ? Verdict::accept_data : Verdict::old;
  hear_tail(p, tail);
  if (p.info && std::exchange(p.endless_bulk, false)) lacks(p);
  take(p, m, tail, now);
  if (tail.capabilities) {
    const bool other = p.node != 0 && p.node != tail.capabilities->node;
    if (other && now - p.session_at >= kAliveInterval) restarted_unseen(p);
    if (!other || p.session_at == now) p.node = tail.capabilities->node;
    p.host = tail.capabilities->host;
    p.addresses = tail.capabilities->addresses;
    if (p.host != 0) succeed(p);
  }
  p.said_hello = (m.header.flags & wire::flag::kHello) != 0;
  if (p.said_hello) p.hello_at = now;
  heard_from(p);
  note_heard(m, p.session != session, now);
  if (wire::is_data(m.header.type)) return Verdict::accept_data;
  digest(p, m, tail, now);
  return Verdict::consumed;
}

Peer& FtFw::peer_of(const PeerAddress& from, const wire::Header& h, const wire::Extension& tail, TimePoint now) {
  const auto* who = tail.capabilities ? &*tail.capabilities : nullptr;
  if (Peer* known = peers_.find(from, h, now, who)) return *known;
  Peer& p = peers_.add(from, now);
  p.window = options_.ack_window;
  p.last_accepted = now;
  p.acked = settled_;
  p.acked_at = now;
  // From now on an acknowledgement of a stock node may be meant for another one.
  for (Peer& q : peers_.all()) {
    if (!q.info) q.in_bulk = false;
  }
  lacks(p);
  context_.events.peer_appeared(peers_.id(p));
  return p;
}

// Whether a request for a resync was answered, or has to be made again (see ResyncRequest).
void FtFw::note_heard(const wire::Message& m, bool fresh, TimePoint now) {
  const bool deaf = (m.header.flags & (wire::flag::kHello | wire::flag::kHelloBack)) == wire::flag::kHello;
  if (fresh) resync_.forgotten(now);  // its hello has emptied the resend queue
  if (wire::is_data(m.header.type) && !(fresh && deaf)) {
    resync_.data_heard(now);
  } else {
    resync_.heard(now);
  }
}

void FtFw::hear_flags(Peer& p, const wire::Header& h, TimePoint now) {
  if ((h.flags & wire::flag::kHelloBack) != 0 && hello_ == Hello::saying) hello_ = Hello::done;
  if ((h.flags & wire::flag::kHello) == 0) return;
  owe_hello_back_ = true;
  if (!continues_session(p, h.seq, now)) return begin_session(p, h.seq);
  const bool old = relation(h.seq, p.expected()) == Relation::before;
  if (!old || p.old_hello) return;
  p.old_hello = Peer::OldHello{.seq = h.seq, .ours = next_seq_};
  p.ack_at.reset();
}

bool FtFw::continues_session(const Peer& p, std::uint32_t seq, TimePoint now) {
  if (!p.received) return false;
  if (relation(seq, p.expected()) != Relation::before) return p.said_hello && seq - p.expected() <= kBelievableGap;
  return !is_before(seq, p.session_start - kLateHelloReach) && p.hello_at && now - *p.hello_at < kLateHello;
}

void FtFw::begin_session(Peer& p, std::uint32_t seq) {
  if (p.received) context_.events.peer_restarted(peers_.id(p));
  const auto before = std::exchange(p.old_hello, std::nullopt);
  p.before.reset();
  if (p.received && !before) p.before = Peer::Before{.next = p.expected(), .until = now_ + kLateHello};
  p.missing = {};
  p.ack_at.reset();
  ++p.session;
  p.told_all = false;
  p.repair_until.reset();
  p.watched_at.reset();
  p.session_at = p.acked_at = now_;
  p.node = 0;
  lacks(p);
  p.session_start = seq;
  if (before && is_before(before->seq, seq)) {  // it began with that one: what came since is missing
    p.session_start = before->seq;
    p.last = p.last_kept = before->seq - 1;
    p.add_missing({.from = p.last - kBelievableGap, .to = p.last});
    p.ack_pending = false;
    p.acked = before->ours;
  } else {
    p.received = false;
    if (p.ack_pending) {
      p.ack_start = seq;
      p.window = options_.ack_window - 1;
    }
    p.acked = next_seq_;
  }
  forget_resend(p, *p.acked);
}

// None of its first messages came through, so what it has told since then passes for the earlier session's. It is asked
// to tell all of it once more.
void FtFw::restarted_unseen(Peer& p) {
  context_.events.peer_restarted(peers_.id(p));
  anew(p, p.last);
  request_resync(now_);
}

// What it told before `first` is of an earlier session.
void FtFw::anew(Peer& p, std::uint32_t first) {
  ++p.session;
  p.told_all = false;
  p.repair_until.reset();
  p.session_at = now_;
  p.session_start = first;
  lacks(p);
}

// A node that comes back at an address where it was not heard before is another peer. What it does not tell again of what
// the earlier one told has ended; nobody else would ever say so.
void FtFw::succeed(Peer& p) {
  for (Peer& part : peers_.all()) {
    if (!Peers::is_part_of(part, p)) continue;
    if (part.last_heard > p.session_at && p.told_all) {  // it may have told there what it has not told here
      p.told_all = false;
      ask_repair(peers_.id(p), {});
    }
    peers_.forget(part);
  }
  if (!p.told_all) return;
  for (Peer& earlier : peers_.all()) {
    const bool same = &earlier != &p && earlier.used && earlier.host == p.host;
    if (same && !is_live(earlier)) peers_.forget(earlier);
  }
  for (const auto& earlier : peers_.take_former(p)) context_.events.peer_succeeded(earlier.owner);
}

// The peer itself needs nothing that was sent before its hello. Nodes that name whom they acknowledge keep what they
// need; if others lose something, that is told.
void FtFw::forget_resend(const Peer& by, std::uint32_t before) {
  const NodeRef first = resend_.first_from(settled_);
  if (!first || !is_before(resend_.seq(first), before)) return;
  bool alone = true;
  for (Peer& p : peers_.all()) {
    if (&p == &by || !is_live(p)) continue;
    alone = false;
    const std::uint32_t from = p.acked.value_or(resend_.seq(first));
    if (p.info || !is_before(from, before)) continue;
    lacks(p);
    context_.events.freed_by_hello(peers_.id(by), peers_.id(p), from, before - 1);
  }
  if (alone) {
    repeats_.clear();
    given_up_.reset();
  }
  if (is_after(before, acked_)) acked_ = before;
  settle();
  overflow_told_ = false;
  work();
}

// A jump to where the session before had come to, for a while: else the new session's numbers up to there would be old.
// A jump of the new one that is taken for that is made later.
bool FtFw::is_of_session_before(const Peer& p, std::uint32_t seq, TimePoint now) {
  if (!p.before || now >= p.before->until) return false;
  return seq - (p.before->next - kLateHelloReach) < 2 * kLateHelloReach;
}

// A copy that came late is followed by what is new.
bool FtFw::began_with_old_hello(const Peer& p, std::uint32_t seq, TimePoint now) {
  return p.old_hello && !is_before(seq, p.old_hello->seq) && now - p.last_accepted >= kLateHello;
}

// The old numbers went on right up to this new one: if they were no copies, they were never used. (That a node of our
// kind has restarted its next capabilities show.)
void FtFw::ask_for_what_followed_old_hello(Peer& p, std::uint32_t seq) {
  const auto hello = std::exchange(p.old_hello, std::nullopt);
  if (seq != p.expected() || p.old_count == 0 || p.old_next != seq || p.info || !may_answer(p, 2)) return;
  answer(p, wire::flag::kNack, hello->seq, p.last);
}

// Whether a message with this number is to be used: not old, and no jump that may be an error.
bool FtFw::may_take(Peer& p, std::uint32_t seq, TimePoint now) {
  if (!p.received) return true;
  switch (relation(seq, p.expected())) {
    case Relation::expected:
      return true;
    case Relation::after:
      if (is_of_session_before(p, seq, now)) {
        ++context_.receive_stats.before;
        return false;
      }
      if (seq - p.expected() > kBelievableGap && !believes_jump(p, seq)) return false;
      break;
    case Relation::before:
      if (began_with_old_hello(p, seq, now)) {
        begin_session(p, seq);
        break;
      }
      if (went_back(p, seq, now)) break;
      ++context_.receive_stats.before;
      return false;
  }
  if (may_answer(p, 2)) return true;
  context_.events.peer_asks_too_much(peers_.id(p));
  return false;
}

// A gap that cannot be answered now is not seen: its message counts as lost, and the next one shows it again. So nobody
// makes the queue of control messages grow faster than it is sent.
bool FtFw::may_answer(Peer& p, std::uint32_t messages) const {
  if (p.answers_turn != turn_) {
    p.answers_turn = turn_;
    p.answers = 0;
  }
  return p.answers + messages <= kAnswersPerTurn && control_.length() + messages <= kControlLimit;
}

void FtFw::answer(Peer& p, std::uint8_t flags, std::uint32_t from, std::uint32_t to) {
  ++p.answers;
  queue_control({.flags = flags, .from = from, .to = to, .addressee = address_of(p)});
}

// Who three or more nodes are on the link reads from it that other numbers than its own are meant.
std::uint32_t FtFw::address_of(const Peer& p) const { return p.info ? p.info->node : 0; }

void FtFw::remember(Peer& p, const wire::Message& m) {
  if (p.info || !wire::is_data(m.header.type)) return;
  p.contents[m.header.seq % p.contents.size()] = {.seq = m.header.seq, .hash = content_of(m)};
}

// Stock nodes count from the time, one message a second while nothing happens: several behind one address have the same
// numbers, and only what they say shows that there are two.
bool FtFw::is_of_one_alike(Peer& p, const wire::Message& m) {
  if (p.info || !wire::is_data(m.header.type)) return false;
  const auto& known = p.contents[m.header.seq % p.contents.size()];
  if (known.seq != m.header.seq || known.hash == 0 || known.hash == content_of(m)) return false;
  if (p.alike < kAlike && now_ - p.alike_at >= kAlikeTime) {
    p.alike_at = now_;
    p.alike = 0;
  }
  if (p.alike < kAlike && ++p.alike == kAlike) context_.events.peers_alike(peers_.id(p));
  if (p.alike < kAlike) return false;
  heard_from(p);
  return true;
}

bool FtFw::believes_jump(Peer& p, std::uint32_t seq) {
  if (p.jump && seq - *p.jump - 1 < kJumpSuccessors) return true;
  p.jump = seq;
  return false;
}

// After a run of old numbers and nothing else for a long time the peer counts anew from where the run began: it has
// restarted, and none of its hellos came through.
bool FtFw::went_back(Peer& p, std::uint32_t seq, TimePoint now) {
  p.jump.reset();  // not confirmed by its successor
  if (p.old_count == 0 || seq != p.old_next) {
    p.old_first = seq;
    p.old_count = 0;
  }
  p.old_next = seq + 1;
  if (++p.old_count < kOldRunCount || now - p.last_accepted < kOldRunTime) return false;
  p.last = p.last_kept = p.old_first - 1;
  p.ack_pending = false;
  p.missing = {};
  p.add_missing({.from = p.last - kBelievableGap, .to = p.last});
  anew(p, p.old_first);
  return true;
}

// Every ACK is heard, counted and in the end acknowledged by all other nodes. With a window no greater than their number
// that would go on as fast as the link carries it, and with several nodes that lose much not long after: leave those
// ACKs to the timer.
bool FtFw::endless_to_acknowledge(const wire::Message& m) const {
  return is_ack(m) && (peers_.count() > 1 || options_.ack_window <= peers_.count());
}

// The sequence rules B and C of spec replication.md 3.2.
void FtFw::take(Peer& p, const wire::Message& m, const wire::Extension& tail, TimePoint now) {
  const std::uint32_t seq = m.header.seq;
  if (p.old_hello) ask_for_what_followed_old_hello(p, seq);
  if (p.received && seq != p.expected()) close_before_gap(p, seq);
  // Whatever it sent before the first number that is heard: it knows from where on that concerns us.
  if (!p.received) {
    p.add_missing({.from = seq - kBelievableGap, .to = seq - 1});
    p.last_kept = seq - 1;
    if ((m.header.flags & wire::flag::kHello) == 0)
      p.session_start = seq - kBelievableGap;  // it began some time before
  }
  p.received = true;
  p.last = seq;
  remember(p, m);
  p.last_accepted = now;
  p.jump.reset();
  p.old_count = 0;
  ++p.accepted;
  if (is_passing(m, tail)) return;
  p.last_kept = seq;
  if (!p.ack_pending) {
    p.ack_start = seq;
    p.ack_pending = true;
  }
  // It tells the end of the repair when all of it has been acknowledged.
  if (p.repair_until && now < *p.repair_until && p.info) p.ack_at = earlier(p.ack_at, now + kMissingDelay);
  if (p.window <= 1 && !endless_to_acknowledge(m) && may_answer(p, 1)) {
    if (p.info) {
      p.ack_at = earlier(p.ack_at, std::max(now, p.acknowledged_at + kAckSpacing * live_peers()));
    } else {
      acknowledge(p);
      p.window = options_.ack_window;
    }
  } else if (p.window > 1) {
    --p.window;
  }
}

// A message that a node of our kind does not keep until it is acknowledged (see sent()).
bool FtFw::is_passing(const wire::Message& m, const wire::Extension& tail) {
  return is_ack(m) && tail.addressee && !tail.bulk_end;
}

// Acknowledges what came before the gap, asks for what is missing. `seq` opens a new window as its first message. A node
// of our kind is told a little later (see kMissingDelay).
void FtFw::close_before_gap(Peer& p, std::uint32_t seq) {
  context_.receive_stats.lost += seq - p.expected();
  p.lost += seq - p.expected();
  context_.events.gap_seen(peers_.id(p), p.expected(), seq - 1);
  p.add_missing({.from = p.expected(), .to = seq - 1});
  if (p.info) {
    if (!p.ack_at) p.ack_at = now_ + kMissingDelay * live_peers();
    return;
  }
  if (p.ack_pending) answer(p, wire::flag::kAck, unacknowledged(p), p.last);
  answer(p, wire::flag::kNack, p.expected(), seq - 1);
  p.ack_pending = false;
  p.window = options_.ack_window;
}

// Its first number that we have not acknowledged; its last one, if there is none or jumps have passed half the numbers.
std::uint32_t FtFw::unacknowledged(const Peer& p) {
  return p.ack_pending && !is_after(p.ack_start, p.last) ? p.ack_start : p.last;
}

// All that has come, up to its last number.
void FtFw::acknowledge(Peer& p) {
  // A node of our kind is told even when nothing new has come: what is missing.
  answer(p, wire::flag::kAck, unacknowledged(p), p.last);
  p.ack_pending = false;
  p.named = p.last;
  p.ack_at.reset();
  p.acknowledged_at = now_;
}

void FtFw::address(const ControlNode& c, wire::Extension& tail) const {
  const auto p = std::ranges::find_if(
      peers_.all(), [&](const Peer& q) { return is_live(q) && q.info && q.info->node == c.addressee; });
  if (p == peers_.all().end()) return;
  tail.addressee = {.node = c.addressee, .heard = p->acked.value_or(settled_)};
  if ((c.flags & wire::flag::kAck) != 0) tail.missing = p->missing;
  if (c.tail == ControlNode::Tail::repair_request) tail.repair_request = p->request;
}

std::optional<TimePoint> FtFw::ack_at() const {
  std::optional<TimePoint> first;
  for (const Peer& p : peers_.all()) first = earlier(first, p.ack_at);
  return first;
}

void FtFw::digest(Peer& p, const wire::Message& m, const wire::Extension& tail, TimePoint now) {
  tell_bulk_end(p);
  switch (wire::control_kind(m.header.flags)) {
    case ControlKind::ack:
      if (tail.addressee) {
        if (tail.addressee->node == options_.self.node) on_whole_ack(p, m.to, tail, now);
      } else if (means_us(p)) {
        on_ack(p, m.from, m.to, now);
      }
      return;
    case ControlKind::nack:
      return on_nack(p, m.from, m.to);
    case ControlKind::resync:
      return answer_resync(peers_.id(p), now);
    default:
      return on_alive(p, tail);
  }
}

void FtFw::on_alive(Peer& p, const wire::Extension& tail) {
  const bool comparable = p.told_all || now_ - p.session_at >= kTellsAll;
  if (tail.sums.count != 0 && p.missing.count == 0 && comparable) {
    context_.events.sums_heard(peers_.id(p), tail.sums);
  }
  if (!tail.addressee || tail.addressee->node != options_.self.node) return;
  if (tail.bulk_end && !is_before(tail.bulk_end->first, p.session_start)) {
    p.told_all = true;
    context_.events.bulk_ended(peers_.id(p), tail.bulk_end->first);
  }
  if (tail.repair_end && tail.repair_end->number == p.request.number) p.repair_until.reset();
  if (tail.repair_end && !is_before(tail.repair_end->first, p.session_start)) {
    context_.events.repair_ended(peers_.id(p), tail.repair_end->number, tail.repair_end->first);
  }
  if (tail.sums_wanted) {
    for (std::uint32_t part = 0; part < kBucketParts; ++part) {
      if ((*tail.sums_wanted >> (part / kPartsOfGroup) & 1) != 0) parts_wanted_.set(part);
    }
  }
  if (tail.repair_request) want_repair(p, *tail.repair_request);
}

// Whether the numbers of an ACK without addressee are ours. A stock node names numbers only. A node of our kind that does
// not name us has not seen yet what we are; then it means us if nobody else is there.
bool FtFw::means_us(const Peer& p) const {
  if (!p.info) return true;
  return live_peers() <= 1;
}

bool FtFw::hears_its_kind() const {
  return std::ranges::any_of(peers_.all(), [this](const Peer& p) { return is_live(p) && p.info; });
}

std::uint32_t FtFw::live_peers() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(peers_.all(), [this](const Peer& q) { return is_live(q); }));
}

void FtFw::on_ack(Peer& p, std::uint32_t from, std::uint32_t to, TimePoint now) {
  if (!is_before(to, next_seq_)) return;  // numbers not sent yet: meant for another node, or for our former self
  if (!skipped(p, from)) return;          // its next ACK shows it again
  heard_us(p, now);
  if (!p.acked || is_after(to + 1, *p.acked)) has_acknowledged(p, to + 1);
  acknowledged(from, to, now);
}

void FtFw::has_acknowledged(Peer& p, std::uint32_t before) {
  p.acked = before;
  if (p.watched_at && is_before(p.watched, before)) p.watched_at.reset();
}

// Of a node of our kind: all up to `to` but what it names as missing, whatever it said before.
void FtFw::on_whole_ack(Peer& p, std::uint32_t to, const wire::Extension& tail, TimePoint now) {
  const std::uint32_t heard = tail.addressee->heard;
  if (!is_after(heard, p.expected())) p.forget_missing(heard);
  if (p.info && !p.ack_pending && !is_after(heard, p.last_kept)) {  // our last ACK was lost
    p.ack_pending = true;
    p.ack_start = heard;
  }
  // Until our next ACK tells that we have heard of it, it goes on saying so.
  if (p.info && !p.ack_pending && tail.missing.count != 0) {
    p.ack_pending = true;
    p.ack_start = p.last;
  }
  const std::uint32_t known = p.acked.value_or(settled_);
  if (!is_before(to, next_seq_) || is_before(to, known)) return;
  heard_us(p, now);
  for (const auto& r : tail.missing.all()) {
    if (is_before(r.to, known) || is_before(to, r.to) || is_before(r.to, r.from)) continue;
    if (!want_repeat(p, is_before(r.from, known) ? known : r.from, r.to)) return;  // its next ACK shows it again
  }
  has_acknowledged(p, to + 1);
  acknowledged(known, to, now);
}

// What was sent while it could not hear us, though we heard it, is not kept for it (see settle()).
void FtFw::heard_us(Peer& p, TimePoint now) {
  if (is_deaf(p)) lacks(p);
  p.acked_at = now;
}

// What both kinds of ACKs mean for all peers together.
void FtFw::acknowledged(std::uint32_t from, std::uint32_t to, TimePoint now) {
  if (resync_seq_ && !is_before(*resync_seq_, from) && !is_after(*resync_seq_, to)) resync_.answered();
  if (is_after(to + 1, acked_)) {
    acked_ = to + 1;
    acked_at_ = now;
  }
  settle();
  work();
  if (resend_length() <= options_.resend_queue_size / 2) overflow_told_ = false;
}

// A stock node that names none of the numbers between its last ACK and this one never got them.
bool FtFw::skipped(Peer& p, std::uint32_t from) {
  const std::uint32_t known = p.acked.value_or(settled_);
  return !is_after(from, known) || want_repeat(p, known, from - 1);
}

void FtFw::on_nack(Peer& p, std::uint32_t from, std::uint32_t to) {
  // As with ACK. Two nodes that believed a damaged number would ask each other for everything without end, because such
  // a NACK is itself repeated. What is really missing the next ACK shows.
  if (!is_before(to, next_seq_)) return;
  if (!want_repeat(p, from, to)) return;
  if (p.acked && !is_after(from, *p.acked) && is_after(to + 1, *p.acked)) p.acked = to + 1;
  work();
  // A stock node counts the messages of all nodes as one sequence: with two others whose numbers are far apart it asks
  // after each message for everything in between. Answered each time, that goes on as fast as the link carries it.
  if (!p.info && live_peers() > 1 && now_ >= repeat_at_) repeat_at_ = now_ + kRepeatSpacing;
}

// --- The resend queue: ascending numbers ---

// False: there is too much to repeat already, and nothing was done.
bool FtFw::want_repeat(Peer& p, std::uint32_t from, std::uint32_t to) {
  if (!add_repeat(from, to)) {
    context_.events.peer_asks_too_much(peers_.id(p));
    return false;
  }
  tell_what_is_gone(p, from, to);
  return true;
}

bool FtFw::add_repeat(std::uint32_t from, std::uint32_t to) {
  for (wire::NumberRange& r : repeats_) {
    if (is_after(from, r.to + 1) || is_before(to + 1, r.from)) continue;
    if (is_before(from, r.from)) r.from = from;
    if (is_after(to, r.to)) r.to = to;
    return true;
  }
  if (repeats_.size() == kMaxRepeats) return false;
  repeats_.push_back({from, to});
  return true;
}

void FtFw::tell_what_is_gone(Peer& p, std::uint32_t from, std::uint32_t to) {
  if (given_up_ && !is_after(from, *given_up_)) {
    lacks(p);
    context_.events.cannot_repeat(peers_.id(p), from, to);
  }
  if (!is_before(from, settled_)) return;
  // Whoever freed it may have fallen silent meanwhile.
  const bool others = std::ranges::any_of(
      peers_.all(), [&](const Peer& q) { return &q != &p && q.used && q.acked && is_after(*q.acked, from); });
  if (!others) return;
  lacks(p);
  context_.events.freed_by_others(peers_.id(p), from, is_before(to, settled_) ? to : settled_ - 1);
}

// What was acknowledged is settled, unless it is still to be repeated. (What one ACK skips is repeated, so everything
// before the highest number acknowledged either has arrived or is sent again.) Of nodes whose acknowledgements tell whom
// they mean each must have acknowledged it, unless it seems to be deaf.
void FtFw::settle() {
  std::uint32_t before = acked_;
  for (const Peer& p : peers_.all()) {
    if (p.info && p.acked && is_live(p) && !is_deaf(p) && is_before(*p.acked, before)) before = *p.acked;
  }
  for (const wire::NumberRange& r : repeats_) {
    if (is_before(r.from, before)) before = r.from;
  }
  if (is_after(before, settled_)) settled_ = before;
}

bool FtFw::is_settled(NodeRef n) const { return is_before(resend_.seq(n), settled_); }

// As much as is left to do, and as a turn may take.
void FtFw::work() {
  if (!repeats_.empty() && now_ >= repeat_at_) {
    while (!repeats_.empty() && steps_left_ != 0 && repeat(repeats_.front())) repeats_.erase(repeats_.begin());
    settle();
  }
  for (; steps_left_ != 0 && !resend_.empty() && is_settled(resend_.front()); --steps_left_) {
    const NodeRef n = resend_.front();
    take_out(n);
    done_with(n);
  }
}

void FtFw::work_on(TimePoint now) {
  now_ = now;
  for (Peer& p : peers_.all()) {
    if (!p.ack_at || *p.ack_at > now) continue;
    acknowledge(p);
    p.window = options_.ack_window;
  }
  settle();  // a peer may have gone
  work();
  ++turn_;
  steps_left_ = kStepsPerTurn;
}

// Whether all of the range is done; else it begins where to go on.
bool FtFw::repeat(wire::NumberRange& r) {
  NodeRef n = resend_.first_from(is_before(r.from, settled_) ? settled_ : r.from);
  steps_left_ -= std::min(steps_left_, kLookUpSteps);
  for (; n && !is_after(resend_.seq(n), r.to); --steps_left_) {
    if (steps_left_ == 0) {
      r.from = resend_.seq(n);
      return false;
    }
    const NodeRef next = resend_.next(n);
    take_out(n);
    if (n.kind() != Kind::control) {
      transmit_.push_back(n);
    } else if (is_superseded(nodes_.control(n))) {
      done_with(n);
    } else {
      control_.push_back(n);
    }
    n = next;
  }
  return true;
}

// An ACK or NACK from when its peers had not shown yet what they are: the ACKs since then say more. Between several
// nodes repeated ones, which each of them takes for news, call for more of the same, in the end as fast as the link
// carries them; what they said the next ones say again.
bool FtFw::is_superseded(const ControlNode& c) const {
  if ((c.flags & (wire::flag::kAck | wire::flag::kNack)) == 0) return false;
  return peers_.count() > 1 ||
         std::ranges::all_of(peers_.all(), [this](const Peer& p) { return !is_live(p) || p.info; });
}

void FtFw::take_out(NodeRef n) {
  resend_.remove(n);
  if (n.kind() == Kind::control) --controls_kept_;
}

void FtFw::make_room() {
  const NodeRef n = resend_.front();
  if (is_settled(n)) {
    take_out(n);
    done_with(n);
  } else {
    give_up(n);
  }
}

void FtFw::give_up(NodeRef n) {
  const std::uint32_t seq = resend_.seq(n);
  take_out(n);
  ++no_space_;
  if (n.kind() != Kind::control) {
    if (!given_up_ || is_after(seq, *given_up_)) given_up_ = seq;
    const bool lacked = lack_all_without(seq);
    if (is_of_bulk(n)) bulk_is_lost();
    if (!overflow_told_ && lacked) {
      overflow_told_ = true;
      context_.events.resend_queue_overflow();
    }
  }
  done_with(n);
}

// The peers that we hear and that have not acknowledged this number lack it from now on. Whether there are any.
bool FtFw::lack_all_without(std::uint32_t seq) {
  bool any = false;
  for (Peer& p : peers_.all()) {
    if (!is_live(p) || (p.acked && is_after(*p.acked, seq))) continue;
    lacks(p);
    any = true;
  }
  return any;
}

// --- Bulks that nobody asked for ---

// Only a bulk can bring it up to date.
void FtFw::lacks(Peer& p) {
  p.in_bulk = false;
  if (!p.lacks_since) p.lacks_since = now_;
}

void FtFw::bulk_begins() {
  arrived_.reset();
  const bool alone = live_peers() == 1;
  for (Peer& p : peers_.all()) {
    p.in_bulk = is_live(p) && (p.info || alone);
    p.endless_bulk = !p.in_bulk && is_live(p);
    p.lacks_since.reset();
  }
}

void FtFw::bulk_arrived(std::uint32_t first, std::uint32_t count) {
  arrived_ = {.first = first, .count = count};
  for (Peer& p : peers_.all()) tell_bulk_end(p);
}

// If all of the last bulk has arrived there, and it can take that word. It may show what it is only after the bulk.
void FtFw::tell_bulk_end(Peer& p) {
  if (!arrived_ || !p.info || !p.in_bulk || !is_live(p)) return;
  p.in_bulk = false;
  say_to(p.info->node, ControlNode::Tail::bulk_end, arrived_->first, arrived_->count);
}

// To a node of our kind; 0: to all of them.
void FtFw::say_to(std::uint32_t node, ControlNode::Tail tail, std::uint32_t from, std::uint32_t to) {
  queue_control({.flags = wire::flag::kAlive, .from = from, .to = to, .addressee = node, .tail = tail});
}

// --- Sums, and repair of what differs ---

void FtFw::ask_sums(PeerId peer, std::uint64_t groups) {
  const Peer& p = peers_[peer];
  if (!p.info) return;
  say_to(p.info->node, ControlNode::Tail::sums_wanted, static_cast<std::uint32_t>(groups),
         static_cast<std::uint32_t>(groups >> 32));
}

void FtFw::ask_repair(PeerId peer, const wire::RepairRequest& request) {
  Peer& p = peers_.all()[peer];
  if (!p.info) return;
  p.request = request;
  if (request.count != 0) p.repair_until = now_ + kRepairPatience;
  say_to(p.info->node, ControlNode::Tail::repair_request);
}

// To whom it may concern: nodes of our kind that we hear.
bool FtFw::can_tell_sums() const {
  if (context_.sums == nullptr || !is_whole() || !repeats_.empty()) return false;
  return hears_its_kind();
}

std::optional<TimePoint> FtFw::tell_at() const {
  if (!can_tell_sums()) return std::nullopt;
  return earlier(sums_due_ ? now_ : sums_at_, parts_due());
}

// When the next sums of buckets may be told that are wanted.
std::optional<TimePoint> FtFw::parts_due() const {
  if (parts_wanted_.none()) return std::nullopt;
  return (parts_wanted_ & ~parts_told_).any() ? parts_at_ : std::max(parts_at_, parts_since_ + kSumsAgain);
}

void FtFw::all_told(TimePoint now) {
  if (!can_tell_sums()) return;
  const auto tell = [this](ControlNode::Tail tail, std::uint32_t part) {
    say_to(0, tail, part * static_cast<std::uint32_t>(wire::Sums::kMost));
  };
  if (sums_due_ || now >= sums_at_) {
    sums_due_ = false;
    sums_at_ = now + kSumsInterval;
    tell(ControlNode::Tail::group_sums, next_part_);
    next_part_ = (next_part_ + 1) % kGroupParts;
  }
  if (const auto at = parts_due(); !at || now < *at) return;
  parts_at_ = now + kSumsPause;
  if (now - parts_since_ >= kSumsAgain) {
    parts_since_ = now;
    parts_told_.reset();
  }
  std::uint32_t left = kSumsAtOnce;
  for (std::uint32_t part = 0; part < kBucketParts && left != 0; ++part) {
    if (!parts_wanted_.test(part) || parts_told_.test(part)) continue;
    parts_wanted_.reset(part);
    parts_told_.set(part);
    tell(ControlNode::Tail::bucket_sums, part);
    --left;
  }
}

void FtFw::want_repair(Peer& p, const wire::RepairRequest& request) {
  if (!p.info) return;
  if (request.count == 0) return lacks(p);
  for (const auto b : request.all()) {
    if (b < wanted_.size()) wanted_.set(b);
  }
  std::erase_if(wanted_by_, [peer = peers_.id(p)](const Asker& a) { return a.peer == peer; });
  wanted_by_.push_back({peers_.id(p), p.info->node, request.number});
}

std::optional<TimePoint> FtFw::repair_at() const {
  if (wanted_by_.empty() || bulk_active() || bulk_arrives() || !is_whole() || context_.flows == nullptr) {
    return std::nullopt;
  }
  return repair_after_;
}

void FtFw::start_repair(TimePoint now) {
  repair_after_ = now + kRepairSpacing;
  repaired_for_ = std::exchange(wanted_by_, {});
  begin_repair(wanted_);
  wanted_.reset();
}

void FtFw::repair_arrived(std::uint32_t first) {
  for (const Asker& a : std::exchange(repaired_for_, {})) {
    say_to(a.node, ControlNode::Tail::repair_end, first, a.number);
  }
}

void FtFw::whole_again() {
  for (Peer& p : peers_.all()) {
    if (is_live(p) && p.info) lacks(p);
  }
}

// When the next bulk is due that is sent because a peer lacks something.
std::optional<TimePoint> FtFw::offer_at() const {
  std::optional<TimePoint> first;
  if (options_.self.node == 0) return first;
  for (const Peer& p : peers_.all()) {
    if (p.lacks_since && is_live(p)) first = earlier(first, *p.lacks_since + kOfferDelay);
  }
  if (first && bulk_began()) first = std::max(*first, *bulk_began() + kOfferSpacing);
  return first;
}

bool FtFw::release_one_dead() {
  if (context_.flows->total() == context_.flows->live()) return false;
  NodeRef n = resend_.first_from(dead_from_);
  for (; n && steps_left_ != 0; n = resend_.next(n), --steps_left_) {
    if (n.kind() != Kind::flow || !is_dead(n)) continue;
    dead_from_ = resend_.seq(n) + 1;
    if (!is_settled(n)) {
      give_up(n);
    } else {
      take_out(n);
      done_with(n);
    }
    return true;
  }
  if (n) {
    dead_from_ = resend_.seq(n);
  } else if (!resend_.empty()) {  // from the front again
    dead_from_ = resend_.seq(resend_.front());
  }
  if (!Engine::release_one_dead()) return false;
  for (Peer& p : peers_.all()) {
    if (is_live(p)) lacks(p);
  }
  return true;
}

void FtFw::unlink(NodeRef n) {
  if (nodes_.queue(n) == table::Queue::resend) {
    take_out(n);
  } else {
    Engine::unlink(n);
  }
}

bool FtFw::is_acknowledged_before(std::uint32_t seq) const {
  const NodeRef first = resend_.first_from(settled_);
  return !first || !is_before(resend_.seq(first), seq);
}

std::uint32_t FtFw::waiting_for(PeerId peer) const {
  const auto from = peers_[peer].acked.value_or(settled_);
  return resend_.length() - resend_.count_before(is_before(from, settled_) ? settled_ : from);
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
  if (n.kind() == Kind::control) {
    // A flood of questions must not fill the queue with answers.
    const ControlNode& c = nodes_.control(n);
    // An ACK to a node of our kind says what the ones before did, so a lost one is no loss.
    const bool end = c.tail == ControlNode::Tail::bulk_end || c.tail == ControlNode::Tail::repair_end;
    const bool passing = !end && (c.flags == wire::flag::kAlive || c.addressee != 0);
    if (passing || controls_kept_ == bulk_share()) return done_with(n);
    ++controls_kept_;
    if (c.flags == wire::flag::kResync) resync_seq_ = seq;
  }
  if (n.kind() != Kind::control) object_sent_ = seq;
  resend_.push_back(n, seq);
  // It may be much longer than it should be, since its size was changed.
  for (int left = kMostRoom; resend_.length() > options_.resend_queue_size && left != 0; --left) make_room();
}

void FtFw::transmitted(TimePoint now) {
  alive_at_ = now + kAliveInterval;
  const auto last = std::exchange(object_sent_, std::nullopt);
  if (!last) return;
  watch(*last, now);
  tail_at_ = hears_its_kind() ? std::optional(now + kTailProbe) : std::nullopt;
}

// For each peer one message at a time: the last object of a turn, as soon as the one before was acknowledged.
void FtFw::watch(std::uint32_t seq, TimePoint now) {
  for (Peer& p : peers_.all()) {
    if (p.watched_at || !is_live(p)) continue;
    p.watched = seq;
    p.watched_at = now;
  }
}

// Half the queue: the other half is for what happens meanwhile, and for what must be repeated.
std::uint32_t FtFw::bulk_share() const { return std::max<std::uint32_t>(options_.resend_queue_size / 2, 1); }

std::uint32_t FtFw::window_room(TimePoint now) const {
  if (!acked_at_ || now - *acked_at_ > kAckIsFresh) return 0;
  const std::uint32_t in_flight = std::min(resend_length(), next_seq_ - acked_);
  const std::uint32_t limit = std::min(kFlightLimit, bulk_share());
  return in_flight < limit ? limit - in_flight : 0;
}

// A bulk must not push its own messages out of the queue while acknowledgements come, or may yet come.
std::optional<TimePoint> FtFw::bulk_held_until(TimePoint now) const {
  if (resend_.length() < bulk_share()) return std::nullopt;
  const TimePoint began = bulk_began().value_or(now);
  const TimePoint patience = std::max(began, acked_at_.value_or(began)) + kAckIsFresh;
  if (now >= patience) return std::nullopt;
  const bool anybody = std::ranges::any_of(peers_.all(), [this](const Peer& p) { return is_live(p); });
  return anybody ? std::optional(patience) : std::nullopt;
}

std::optional<TimePoint> FtFw::next_deadline() const {
  if (!resend_.empty() && is_settled(resend_.front())) return now_;
  auto at = earlier(earlier(alive_at_, ack_at()), Engine::next_deadline());
  if (!repeats_.empty()) at = earlier(at, std::max(now_, repeat_at_));
  at = earlier(at, tail_at_);
  return bulk_active() ? at : earlier(earlier(at, offer_at()), repair_at());
}

void FtFw::on_timer(TimePoint now) {
  now_ = now;
  if (const auto at = offer_at(); at && *at <= now && !bulk_active()) begin_bulk(now);
  if (const auto at = repair_at(); at && *at <= now) start_repair(now);
  if (tail_at_ && *tail_at_ <= now) {
    tail_at_.reset();
    if (now < alive_at_ && resend_.first_from(settled_)) queue_control({.flags = wire::flag::kAlive});
  }
  if (now < alive_at_) return;
  bool any = false;
  for (Peer& p : peers_.all()) {
    const bool unheard = p.info && p.missing.count != 0;  // it may not have heard what is missing
    if (!p.used || (!p.ack_pending && !unheard)) continue;
    if (p.old_hello) continue;  // the numbers may be those of its new session
    acknowledge(p);
    any = true;
  }
  if (!any) queue_control({.flags = wire::flag::kAlive});
  sums_due_ = true;  // in the same datagram
  alive_at_ = now + kAliveInterval;
}

}  // namespace ctsync::replication
