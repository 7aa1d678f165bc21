// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/engine.h"

#include <algorithm>

namespace ctsync::replication {

namespace {

// The message type follows from the life state (spec replication.md 2.6); `base` is the NEW type of the kind.
wire::MsgType type_of(table::FlowState state, wire::MsgType base) {
  const int step = state == table::FlowState::new_ ? 0 : state == table::FlowState::alive ? 1 : 2;
  return static_cast<wire::MsgType>(static_cast<int>(base) + step);
}

// Goes round in 71 minutes.
std::uint32_t stamp_of(TimePoint t) {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(t.time_since_epoch()).count());
}

bool waits(table::Queue q) { return q == table::Queue::transmit || q == table::Queue::untold; }

std::uint32_t age(std::uint32_t updated, TimePoint now) {
  const std::uint32_t t = seconds_of(now);
  return t > updated ? t - updated : 0;
}

}  // namespace

Engine::Engine(const EngineContext& context, const EngineOptions& options, TimePoint now, const Peers::Apart& apart)
    : context_(context),
      options_(options),
      nodes_(context.flows, context.expectations),
      peers_(apart),
      control_(nodes_, table::Queue::transmit),
      transmit_(nodes_, table::Queue::transmit),
      next_seq_(options.first_sequence),
      slice_start_(now - std::chrono::hours(1)) {}  // the first slice begins with the first drain

// --- Changes ---

void Engine::flow_changed(table::FlowId id, Announce announce, TimePoint now) {
  changed({Kind::flow, id}, announce, now);
}
void Engine::expectation_changed(table::ExpectId id, Announce announce, TimePoint now) {
  changed({Kind::expectation, id}, announce, now);
}
void Engine::flow_dead(table::FlowId id, Announce announce) { dead({Kind::flow, id}, announce); }
void Engine::expectation_dead(table::ExpectId id, Announce announce) { dead({Kind::expectation, id}, announce); }
void Engine::flow_leaving(table::FlowId id) { leaving({Kind::flow, id}); }
void Engine::expectation_leaving(table::ExpectId id) { leaving({Kind::expectation, id}); }

void Engine::changed(NodeRef n, Announce announce, TimePoint now) {
  object_changed(n, now);
  if (announce != Announce::no) {
    tell(n);
    queue_object(n);
  }
  if (announce == Announce::first) nodes_.queue(n) = table::Queue::untold;
}

// The peers know of it from here on.
void Engine::tell(NodeRef n) {
  if (context_.sums != nullptr && n.kind() == Kind::flow) context_.sums->told(n.index());
}

void Engine::dead(NodeRef n, Announce announce) {
  object_gone(n);
  if (nodes_.queue(n) == table::Queue::untold) {
    unlink(n);
  } else if (announce != Announce::no) {
    queue_object(n);
  }
  if (nodes_.queue(n) == table::Queue::none) done_with(n);
}

void Engine::leaving(NodeRef n) {
  object_gone(n);
  unlink(n);
  ledger_.remove(n);
}

bool Engine::is_dead(NodeRef n) const {
  if (n.kind() == Kind::flow) return context_.flows->slot(n.index()).state == table::FlowState::dead;
  if (n.kind() == Kind::expectation) return context_.expectations->slot(n.index()).state == table::FlowState::dead;
  return false;
}

// What was sent already may have arrived, so FtFw looks there first. The slots are looked at in turns, not the queue:
// before a dead flow there may be any number of live ones.
bool Engine::release_one_dead() {
  auto& flows = *context_.flows;
  for (; dead_scan_left_ != 0 && flows.total() != flows.live(); --dead_scan_left_) {
    if (dead_scan_ >= flows.end_id()) dead_scan_ = 0;
    const NodeRef n{Kind::flow, dead_scan_++};
    if (!is_dead(n) || nodes_.queue(n) != table::Queue::transmit) continue;
    unlink(n);
    done_with(n);
    context_.events.end_given_up();
    return true;
  }
  return false;
}

// --- Queues ---

void Engine::unlink(NodeRef n) {
  if (!waits(nodes_.queue(n))) return;
  (n.kind() == Kind::control ? control_ : transmit_).remove(n);
}

void Engine::queue_object(NodeRef n) {
  if (waits(nodes_.queue(n))) return;
  unlink(n);
  transmit_.push_back(n);
}

void Engine::done_with(NodeRef n) {
  ledger_.remove(n);
  if (n.kind() == Kind::control) {
    nodes_.free_control(n);
  } else if (is_dead(n)) {
    if (n.kind() == Kind::flow) {
      context_.flows->release(n.index());
    } else {
      context_.expectations->release(n.index());
    }
  }
}

// --- Resync and bulk send ---

void Engine::request_resync(TimePoint now, Ask when) {
  if (!knows_resync()) return;
  const bool anybody = std::ranges::any_of(
      peers_.all(), [now](const Peer& p) { return p.used && now - p.last_heard < ResyncRequest::kHeardLately; });
  resync_.open(now, anybody ? Ask::once : when);
  ask_if_due(now);
}

void Engine::ask_if_due(TimePoint now) {
  if (!resync_.is_due(now)) return;
  queue_control({.flags = wire::flag::kResync});
  resync_.asked(now);
}

void Engine::begin_bulk(TimePoint now) {
  if (bulk_.active) {
    bulk_wanted_ = true;
    return;
  }
  context_.events.bulk_started();
  bulk_wanted_ = false;
  bulk_started_ = now;
  if (context_.flows == nullptr) {
    bulk_ = {.active = true, .from_kernel = true};
    context_.events.kernel_bulk_wanted();
    return;
  }
  bulk_ = {.active = true, .flow_end = context_.flows->end_id(), .first_seq = next_seq_};
  if (context_.expectations != nullptr) bulk_.expectation_end = context_.expectations->end_id();
  bulk_was_whole_ = whole_;
  ledger_.close();
  if (whole_) ledger_.open(bulk_.flow_end, bulk_.expectation_end);
  bulk_begins();
}

void Engine::begin_repair(const table::Buckets& buckets) {
  bulk_ = {.active = true, .flow_end = context_.flows->end_id(), .first_seq = next_seq_, .repair = true};
  repaired_ = buckets;
  ledger_.open(bulk_.flow_end, 0);
}

void Engine::set_whole(bool whole) {
  if (whole == whole_) return;
  whole_ = whole;
  if (!whole) {
    if (ledger_.is_open() && !bulk_.repair) bulk_was_whole_ = false;
    ledger_.close();
  } else if (!bulk_was_whole_) {
    whole_again();
  }
}

void Engine::end_bulk_if_arrived() {
  if (bulk_.active || !ledger_.is_open() || ledger_.outstanding() != 0) return;
  ledger_.close();
  if (bulk_.repair) {
    repair_arrived(bulk_.first_seq);
  } else {
    bulk_arrived(bulk_.first_seq, bulk_.count);
  }
}

void Engine::answer_resync(PeerId peer, TimePoint now) {
  ++peers_.all()[peer].resyncs;
  context_.events.resync_requested(peer);
  if (bulk_.active || now < next_bulk_at()) {
    bulk_wanted_ = true;
  } else {
    begin_bulk(now);
  }
}

// The next object to send, nothing when the walk is over or has looked at enough slots for this time.
NodeRef Engine::next_of_bulk(std::uint32_t& scanned) {
  // Dead objects in no queue are gone from the table, so a dead one found here waits for its acknowledgement, or to be
  // released.
  const auto goes = [this](NodeRef n, table::FlowState state, table::Queue queue) {
    if (state == table::FlowState::free) return false;
    if (state == table::FlowState::dead && is_settled(n)) return false;
    if (is_live(state)) tell(n);
    ledger_.add(n);
    return !waits(queue);
  };
  while (bulk_.flow < bulk_.flow_end) {
    if (scanned++ == kScanLimit) return {};
    const table::FlowId id = bulk_.flow++;
    const auto& slot = context_.flows->slot(id);
    if (bulk_.repair && !(slot.told && repaired_.test(bucket_of(slot.flow.orig)))) continue;
    if (goes({Kind::flow, id}, slot.state, slot.queue)) return {Kind::flow, id};
  }
  while (bulk_.expectation < bulk_.expectation_end) {
    if (scanned++ == kScanLimit) return {};
    const table::ExpectId id = bulk_.expectation++;
    const auto& slot = context_.expectations->slot(id);
    if (goes({Kind::expectation, id}, slot.state, slot.queue)) return {Kind::expectation, id};
  }
  bulk_.active = false;
  return {};
}

// --- Tails ---

wire::Extension Engine::tail_for(const ControlNode& c, TimePoint now) {
  wire::Extension e;
  if (options_.self.node == 0) return e;
  if (!shown_at_ || now - *shown_at_ >= kShowSpacing) {
    e.capabilities = options_.self;
    shown_at_ = now;
    if (std::ranges::any_of(peers_.all(), [](const Peer& p) { return p.info.has_value(); })) e.probe = probe(now);
  }
  if (c.addressee != 0) address(c, e);
  write_tail(c, e);
  return e;
}

// Once a second: so long an answer is held at most, unless there are more peers than answers in a message.
wire::Probe Engine::probe(TimePoint now) {
  wire::Probe probe{.stamp = stamp_of(now)};
  const auto peers = peers_.all();
  for (std::size_t i = 0; i < peers.size() && probe.count < wire::Probe::kMost; ++i) {
    Peer& p = peers[next_echo_ % peers.size()];
    next_echo_ = static_cast<PeerId>((next_echo_ + 1) % peers.size());
    if (!p.info || !p.probe) continue;
    const auto held = std::chrono::duration_cast<std::chrono::microseconds>(now - p.probe_at).count();
    probe.echoes[probe.count++] = {
        .node = p.info->node, .stamp = *p.probe, .held = static_cast<std::uint32_t>(std::min<long>(held, UINT32_MAX))};
    p.probe.reset();
  }
  return probe;
}

void Engine::hear_probe(Peer& p, const wire::Probe& probe) {
  p.probe = probe.stamp;
  p.probe_at = p.last_heard;
  for (const auto& echo : probe.all()) {
    if (echo.node != options_.self.node) continue;
    const std::uint32_t since = stamp_of(p.last_heard) - echo.stamp;
    const auto took = std::chrono::microseconds(since - echo.held);
    if (echo.held <= since && took <= kLongestRoundTrip) p.round_trip = took;
  }
}

void Engine::write_tail(const ControlNode& c, wire::Extension& e) const {
  using Tail = ControlNode::Tail;
  switch (c.tail) {
    case Tail::usual:
    case Tail::repair_request:
      return;
    case Tail::bulk_end:
      e.bulk_end = {.first = c.from, .count = c.to};
      return;
    case Tail::repair_end:
      e.repair_end = {.number = c.to, .first = c.from};
      return;
    case Tail::sums_wanted:
      e.sums_wanted = c.from | std::uint64_t{c.to} << 32;
      return;
    case Tail::group_sums:
    case Tail::bucket_sums: {
      const auto& sums = context_.sums->sums();
      e.sums = {.of_buckets = c.tail == Tail::bucket_sums,
                .first = static_cast<std::uint16_t>(c.from),
                .count = wire::Sums::kMost};
      for (std::uint32_t i = 0; i < wire::Sums::kMost; ++i) {
        e.sums.sums[i] = e.sums.of_buckets ? sums.bucket(c.from + i) : sums.group(c.from + i);
      }
      return;
    }
  }
}

wire::Extension Engine::read_tail(const wire::Message& m) const {
  const auto tail = wire::tail_of(m);
  return tail.empty() || options_.self.node == 0 ? wire::Extension() : wire::read_extension(tail);
}

void Engine::hear_tail(Peer& p, const wire::Extension& e) {
  if (p.info && p.last_heard - p.shown_at > kShownLately) {
    p.info.reset();
    p.round_trip.reset();
  }
  if (e.probe && (p.info || e.capabilities)) hear_probe(p, *e.probe);
  if (!e.capabilities) return;
  p.shown_at = p.last_heard;
  if (p.info == e.capabilities) return;
  p.info = e.capabilities;
  shown_at_.reset();  // it may not know us yet either
  context_.events.peer_shown(peers_.id(p));
}

// Whether there are peers, and each that was heard lately has shown in its present session that it can take these.
bool Engine::all_take(std::uint32_t bits, TimePoint now) const {
  bool any = false;
  for (const Peer& p : peers_.all()) {
    if (!p.used || now - p.last_heard >= kShownLately) continue;
    if (!p.info || p.node != p.info->node || (p.info->bits & bits) != bits) return false;
    any = true;
  }
  return any;
}

// --- Sending ---

// Whether there was any.
bool Engine::send_controls(wire::Packer& packer, TimePoint now) {
  if (control_.empty()) return false;
  while (!control_.empty()) send_control(packer, now);
  return true;
}

void Engine::send_control(wire::Packer& packer, TimePoint now) {
  const NodeRef n = control_.pop_front();
  const ControlNode c = nodes_.control(n);
  const std::uint32_t seq = take_seq();
  const auto flags = static_cast<std::uint8_t>(c.flags | next_flags());
  const wire::Extension tail = tail_for(c, now);
  if ((c.flags & wire::flag::kRange) != 0) {
    packer.control(flags, seq, c.from, c.to, tail);
  } else {
    packer.alive(flags, seq, tail);
  }
  sent(n, seq, now);
}

void Engine::send_object(wire::Packer& packer, NodeRef n, TimePoint now) {
  const std::uint32_t seq = take_seq();
  const std::uint8_t flags = next_flags();
  if (n.kind() == Kind::flow) {
    const auto& slot = context_.flows->slot(n.index());
    packer.flow(type_of(slot.state, wire::MsgType::flow_new), flags, seq, slot.flow, context_.flows->extra(n.index()),
                age(slot.updated, now));
  } else {
    const auto& slot = context_.expectations->slot(n.index());
    packer.expectation(type_of(slot.state, wire::MsgType::expect_new), flags, seq, slot.expect, age(slot.updated, now));
  }
  sent(n, seq, now);
}

bool Engine::send_data(wire::Packer& packer, TimePoint now) {
  if (now - slice_start_ >= slice().interval) {
    slice_start_ = now;
    slice_left_ = slice().burst;
  }
  std::uint32_t room = window_room(now);
  std::uint32_t scanned = 0;
  bool any = false;
  while (room + slice_left_ != 0) {
    NodeRef n = transmit_.pop_front();
    if (!n && bulk_.active && !bulk_.from_kernel) {
      bulk_held_until_ = bulk_held_until(now);
      if (!bulk_held_until_) n = next_of_bulk(scanned);
      if (n) ++bulk_.count;
    }
    if (!n) break;
    unlink(n);  // of the bulk, out of the resend queue
    send_object(packer, n, now);
    --(room != 0 ? room : slice_left_);
    any = true;
  }
  return any;
}

void Engine::drain(wire::Packer& packer, TimePoint now, bool congested) {
  dead_scan_left_ = kDeadScanLimit;
  packer.set_one_way_zones(all_take(wire::Capabilities::kOneWayZones, now));
  work_on(now);
  end_bulk_if_arrived();
  ask_if_due(now);
  bool any = send_controls(packer, now);
  if (bulk_wanted_ && !bulk_.active && now >= next_bulk_at()) begin_bulk(now);
  congested_at_.reset();
  bulk_held_until_.reset();
  if (congested) {
    congested_at_ = now;
  } else if (send_data(packer, now)) {
    any = true;
  }
  end_bulk_if_arrived();
  any |= send_controls(packer, now);
  any |= !packer.empty();
  // What is said then puts no acknowledgement off.
  if (!congested && transmit_.empty() && !bulk_.active) {
    all_told(now);
    send_controls(packer, now);
  }
  packer.flush();
  if (any) transmitted(now);
}

std::optional<TimePoint> Engine::next_deadline() const {
  std::optional<TimePoint> t;
  if (!control_.empty() || !transmit_.empty() || (bulk_.active && !bulk_.from_kernel)) {
    t = congested_at_ ? *congested_at_ + kCongestedPause : slice_start_ + slice().interval;
  }
  if (bulk_held_until_ && control_.empty() && transmit_.empty()) t = bulk_held_until_;
  if (bulk_wanted_ && !bulk_.active) t = earlier(t, next_bulk_at());
  if (transmit_.empty() && !bulk_.active) {
    auto told = tell_at();
    if (told && congested_at_) told = std::max(*told, *congested_at_ + kCongestedPause);
    t = earlier(t, told);
  }
  return earlier(t, resync_.deadline());
}

}  // namespace ctsync::replication
