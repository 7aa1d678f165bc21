// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/engine.h"

#include <algorithm>
#include <utility>

#include "ctsync/flow/progress.h"

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

// Into an earlier flow, whose end the peer need not have heard, conntrackd merges an update: NAT and labels of the earlier
// one would stay.
wire::MsgType type_of(const table::FlowSlot& slot) {
  return slot.succeeds && is_live(slot.state) ? wire::MsgType::flow_new : type_of(slot.state, wire::MsgType::flow_new);
}

bool waits_to_be_sent(table::Queue q) { return q == table::Queue::transmit || q == table::Queue::untold; }
bool is_kept(table::Queue q) { return q == table::Queue::young || q == table::Queue::deferred; }

std::uint32_t age(std::uint32_t updated, TimePoint now) {
  const std::uint32_t t = seconds_of(now);
  return t > updated ? t - updated : 0;
}

EngineOptions within_bounds(EngineOptions o) {
  o.ack_window = std::max<std::uint32_t>(o.ack_window, 1);
  o.refresh_time = std::max<std::uint32_t>(o.refresh_time, 1);
  return o;
}

}  // namespace

Engine::Engine(const EngineContext& context, const EngineOptions& options, TimePoint now, const Peers::Apart& apart)
    : context_(context),
      options_(within_bounds(options)),
      nodes_(context.flows, context.expectations),
      peers_(apart),
      control_(nodes_, table::Queue::transmit),
      transmit_(nodes_, table::Queue::transmit),
      young_(nodes_, table::Queue::young, options.min_age),
      deferred_(nodes_, table::Queue::deferred, options.coalesce),
      next_seq_(options.first_sequence),
      slice_start_(now - std::chrono::hours(1)),  // the first slice begins with the first drain
      noted_at_(now) {
  next_seqs_.fill(next_seq_);
}

void Engine::change(const EngineOptions& next, TimePoint now) {
  auto self = options_.self;
  self.addresses = next.self.addresses;
  const auto before = std::exchange(options_, within_bounds(next));
  options_.first_sequence = before.first_sequence;
  options_.seed = before.seed;
  options_.self = self;
  young_.set_delay(options_.min_age);
  if (options_.coalesce == before.coalesce) return;
  deferred_.set_delay(options_.coalesce);
  next_seqs_.fill(next_seq_);  // what was sent before counts as sent long ago
  noted_at_ = now;
}

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
  if (announce == Announce::no || is_kept_back(n, announce, now)) return;
  const auto before = nodes_.queue(n);
  if (is_kept(before)) unlink(n);
  tell(n);
  queue_object(n);
  const bool young = before == table::Queue::young && announce == Announce::yes;
  if (young || announce == Announce::first) nodes_.queue(n) = table::Queue::untold;
}

// The peers know of it from here on.
void Engine::tell(NodeRef n) {
  if (context_.sums != nullptr && n.kind() == Kind::flow) context_.sums->told(n.index());
}

void Engine::dead(NodeRef n, Announce announce) {
  object_gone(n);
  const auto before = nodes_.queue(n);
  const bool untold = before == table::Queue::untold || before == table::Queue::young;
  if (untold || is_kept(before)) unlink(n);
  if (!untold && announce != Announce::no) queue_object(n);
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

// --- Keeping back ---

// Whether the peers are to be told of that change later, or not at all.
bool Engine::is_kept_back(NodeRef n, Announce announce, TimePoint now) {
  if (n.kind() != Kind::flow || announce == Announce::known || now < keeps_back_from_) return false;
  const auto& slot = context_.flows->slot(n.index());
  const bool fresh = announce == Announce::first && young_.delay() != Duration{};
  if (fresh || slot.queue == table::Queue::young) {
    if (options_.established_at_once && is_established(slot.flow)) return false;
    if (fresh) young_.push_back(n, now);
    return true;
  }
  if (slot.queue == table::Queue::deferred) return true;
  if (deferred_.delay() == Duration{} || announce == Announce::first || waits_to_be_sent(slot.queue)) return false;
  note_time(now);
  if (!was_told_lately(slot)) return false;
  unlink(n);  // what was told last need not be repeated
  deferred_.push_back(n, now);
  return true;
}

// Nothing is sent but by drain(), which calls this first.
void Engine::note_time(TimePoint now) {
  const Duration step = deferred_.delay() / kNoted;
  const auto steps = (now - noted_at_) / step;
  noted_at_ += steps * step;
  const auto first_kept = next_seqs_.begin() + std::min<Duration::rep>(steps, kNoted);
  std::fill(std::copy(first_kept, next_seqs_.end(), next_seqs_.begin()), next_seqs_.end(), next_seq_);
}

// What has been kept back long enough waits to be sent from here on. The sums say what the peers have been told: as soon as
// they are to be told, nothing is put off.
void Engine::take_due(TimePoint now) {
  if (deferred_.delay() != Duration{}) note_time(now);
  more_due_ = false;
  if (kept_back() == 0) return;
  const bool all = now < keeps_back_from_;
  const auto sums_at = tell_at();
  const bool sums_due = sums_at && *sums_at <= now;
  for (std::uint32_t left = kDueLimit; left != 0; --left) {
    NodeRef n = young_.pop_due(now, all);
    const bool young{n};
    if (!young) n = deferred_.pop_due(now, all || sums_due);
    if (!n) return;
    tell(n);
    transmit_.push_back(n);
    if (young) nodes_.queue(n) = table::Queue::untold;
  }
  more_due_ = true;
}

// In the table; kNoFlow if there is none.
table::FlowId Engine::master_of(NodeRef n) const {
  if (n.kind() == Kind::expectation) return context_.flows->find(context_.expectations->slot(n.index()).expect.master);
  const Flow& f = context_.flows->slot(n.index()).flow;
  if (!f.knows(has::kMaster)) return table::kNoFlow;
  Tuple master = context_.flows->extra(n.index())->master;
  if (master.zone == 0) master.zone = f.orig.zone;
  return context_.flows->find(master);
}

// A peer can do nothing with what depends on a flow that it does not know.
void Engine::send_young_masters(wire::Packer& packer, NodeRef n, TimePoint now) {
  std::array<table::FlowId, kMostMasters> masters;
  std::size_t count = 0;
  for (auto id = master_of(n); id != table::kNoFlow && count != masters.size(); id = master_of({Kind::flow, id})) {
    if (context_.flows->slot(id).queue != table::Queue::young) break;
    unlink({Kind::flow, id});
    masters[count++] = id;
  }
  while (count != 0) {
    const NodeRef master{Kind::flow, masters[--count]};
    tell(master);
    send_object(packer, master, now);
  }
}

// --- Queues ---

void Engine::unlink(NodeRef n) {
  switch (nodes_.queue(n)) {
    case table::Queue::transmit:
    case table::Queue::untold:
      return (n.kind() == Kind::control ? control_ : transmit_).remove(n);
    case table::Queue::young:
      return young_.remove(n);
    case table::Queue::deferred:
      return deferred_.remove(n);
    default:
      return;
  }
}

void Engine::queue_object(NodeRef n) {
  if (waits_to_be_sent(nodes_.queue(n)) || is_kept(nodes_.queue(n))) return;
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
  } else if (n.kind() == Kind::flow) {
    context_.flows->slot(n.index()).succeeds = false;
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
    if (state == table::FlowState::free || queue == table::Queue::young) return false;
    if (state == table::FlowState::dead && is_settled(n)) return false;
    if (is_live(state)) tell(n);
    ledger_.add(n);
    return !waits_to_be_sent(queue);
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
    if (echo.held > since || took > kLongestRoundTrip) continue;
    p.round_trip = took;
    delays_.add(took / 2);
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
    auto& slot = context_.flows->slot(n.index());
    packer.flow(type_of(slot), flags, seq, slot.flow, context_.flows->extra(n.index()), age(slot.updated, now));
    slot.link.seq = seq;  // for was_told_lately()
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
    if (!young_.empty()) send_young_masters(packer, n, now);
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
  take_due(now);
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
  if (!congested && transmit_.empty() && deferred_.empty() && !bulk_.active) {
    all_told(now);
    send_controls(packer, now);
  }
  packer.flush();
  if (any) transmitted(now);
}

std::optional<TimePoint> Engine::next_deadline() const {
  std::optional<TimePoint> t;
  if (!control_.empty() || !transmit_.empty() || more_due_ || (bulk_.active && !bulk_.from_kernel)) {
    t = congested_at_ ? *congested_at_ + kCongestedPause : slice_start_ + slice().interval;
  }
  if (bulk_held_until_ && control_.empty() && transmit_.empty()) t = bulk_held_until_;
  if (bulk_wanted_ && !bulk_.active) t = earlier(t, next_bulk_at());
  if (transmit_.empty() && !bulk_.active) {
    auto told = tell_at();
    if (told && congested_at_) told = std::max(*told, *congested_at_ + kCongestedPause);
    t = earlier(t, told);
  }
  t = earlier(earlier(t, young_.next_deadline()), deferred_.next_deadline());
  return earlier(t, resync_.deadline());
}

}  // namespace ctsync::replication
