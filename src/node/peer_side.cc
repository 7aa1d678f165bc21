// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer_side.h"

#include <algorithm>
#include <utility>

#include "ctsync/replication/alarm.h"
#include "ctsync/replication/sequence.h"
#include "ctsync/wire/expectation_codec.h"
#include "resend_queue_job.h"

namespace ctsync::node {

namespace {

constexpr Duration kLately = std::chrono::seconds(10);

std::optional<std::uint64_t> microseconds_of(const std::optional<Duration>& d) {
  if (!d) return std::nullopt;
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(*d).count());
}

std::uint64_t seconds_since(TimePoint then, TimePoint now) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now - then).count());
}

// Why a message is malformed, as the log says it. Of payloads there are several reasons.
struct Malformed {
  std::uint64_t wire::ReceiveStats::*count;
  std::string_view what;
};
constexpr std::array kMalformed{
    Malformed{&wire::ReceiveStats::wrong_version, "another protocol version than 1"},
    Malformed{&wire::ReceiveStats::malformed_header, "type and flags mean nothing in this mode"},
    Malformed{&wire::ReceiveStats::bad_type, "an unknown type"},
    Malformed{&wire::ReceiveStats::truncated, "its end is missing"},
    Malformed{&wire::ReceiveStats::bad_size, "a length that cannot be"},
};
enum BadPayload : std::uint8_t { kBadAttribute, kIncomplete, kNoPorts, kEndWithoutPorts };
constexpr std::array<std::string_view, 4> kBadPayloads{
    "an attribute that is unknown or has a wrong size", "no addresses or no protocol",
    "a connection without ports, though its protocol has them",
    "the end of a connection without ports, as conntrackd up to 1.4.6 tells it with `DisableInternalCache'"};

BadPayload reason_of(wire::DecodeStatus why, wire::MsgType type) {
  switch (why) {
    case wire::DecodeStatus::bad_attribute:
      return kBadAttribute;
    case wire::DecodeStatus::no_ports:
      return type == wire::MsgType::flow_delete ? kEndWithoutPorts : kNoPorts;
    default:
      return kIncomplete;
  }
}

}  // namespace

PeerSide::PeerSide(Context context)
    : c_(std::move(context)),
      packer_(c_.options.buffer_size, c_.options.encode, c_.sink),
      store_(make_store()),
      flusher_(c_.jobs, *store_),
      sweeper_(
          c_.jobs, *store_, c_.clock, [this](std::uint32_t owner) { return last_of(owner); },
          [this](std::uint32_t owner, std::uint32_t removed) { swept(owner, removed); }),
      nat_order_(c_.options.own_addresses) {
  store_->full = [this] { external_full(); };
  make_engine();
  if (ftfw_ == nullptr || cache_ == nullptr || c_.options.self.node == 0) return;
  cache_->keep_sums([this](std::uint32_t owner, std::uint32_t bucket) { reconciler_->moved(owner, bucket); });
  reconciler_.emplace(Reconciler::Context{.engine = *ftfw_,
                                          .cache = *cache_,
                                          .clock = c_.clock,
                                          .log = c_.log,
                                          .name_of = [this](replication::PeerId peer) { return name_of(peer); },
                                          .sweep = [this](Told told) { sweeper_.start(std::move(told)); }});
}

// Of several nodes behind one address only the numbers tell whose a message is. Those that are started together would have
// the same ones, so each host adds a number of its own.
std::uint32_t PeerSide::first_sequence() const {
  const auto own = static_cast<std::uint32_t>(c_.options.self.host >> 32U) & 0xff000000U;
  return static_cast<std::uint32_t>(c_.clock.wall_seconds()) + own;
}

replication::EngineOptions PeerSide::engine_options() const {
  return {.first_sequence = first_sequence(),
          .ack_window = c_.options.ack_window,
          .resend_queue_size = c_.options.resend_queue_size,
          .refresh_time = c_.options.refresh_time,
          .seed = c_.options.seed,
          .min_age = c_.options.min_age,
          .established_at_once = c_.options.established_at_once,
          .coalesce = c_.options.coalesce,
          .self = c_.options.self};
}

void PeerSide::options_changed() {
  engine_->change(engine_options(), c_.clock.now());
  packer_.set_send_timeout(c_.options.encode.send_timeout);
  if (cache_ != nullptr) cache_->set_timeout(c_.options.cache_timeout);
}

void PeerSide::make_engine() {
  const auto o = engine_options();
  const replication::EngineContext context{c_.internal, c_.internal_expectations, *this, received_, c_.sums};
  const auto now = c_.clock.now();
  switch (c_.options.mode) {
    case Mode::notrack: {
      auto e = std::make_unique<replication::Notrack>(context, o, now);
      notrack_ = e.get();
      engine_ = std::move(e);
      return;
    }
    case Mode::alarm:
      engine_ = std::make_unique<replication::Alarm>(context, o, now);
      return;
    default: {
      auto e = std::make_unique<replication::FtFw>(context, o, now);
      ftfw_ = e.get();
      engine_ = std::move(e);
    }
  }
}

std::unique_ptr<ExternalStore> PeerSide::make_store() {
  if (!c_.options.external_cache) {
    auto injection = std::make_unique<Injection>(c_.kernel.writer(kernel::Origin::inject), c_.clock, c_.log);
    injection_ = injection.get();
    return injection;
  }
  std::optional<Duration> timeout;
  if (c_.options.mode == Mode::alarm) timeout = c_.options.cache_timeout;
  const auto picture = c_.options.mode == Mode::notrack ? Picture::part : Picture::whole;
  auto cache = std::make_unique<ExternalCache>(c_.external, c_.external_expectations, picture, timeout, c_.clock);
  cache_ = cache.get();
  return cache;
}

void PeerSide::started() {
  started_at_ = c_.clock.now();
  switch (c_.options.resync_at_start) {
    case AskAtStart::never:
      return;
    case AskAtStart::at_once:
      return request_resync(replication::Ask::now);
    case AskAtStart::when_heard:
      return request_resync(replication::Ask::when_heard);
  }
}

void PeerSide::request_resync(replication::Ask when) {
  if (c_.options.mode == Mode::alarm) return;  // has no such message
  c_.log.notice("resync requested");
  engine_->request_resync(c_.clock.now(), when);
}

void PeerSide::flush_store(Scope scope, std::function<void()> on_done) {
  if (reconciler_) reconciler_->cache_flushed();
  flusher_.start(scope, std::move(on_done));
}

// --- The link ---

bool PeerSide::on_datagram(const replication::PeerAddress& from, std::span<const std::uint8_t> datagram) {
  const auto now = c_.clock.now();
  const auto before = received_;
  bool heard = false;
  wire::MessageReader reader(datagram);
  wire::Message m;
  while (reader.next(m, received_)) {
    switch (engine_->on_message(from, m, now)) {
      case replication::Verdict::accept_data:
        heard = true;
        take(m);
        break;
      case replication::Verdict::consumed:
        heard = true;
        break;
      case replication::Verdict::bad:
        received_.count_malformed_header();
        break;
      case replication::Verdict::old:
        break;
    }
  }
  if (received_.malformed != before.malformed) tell_malformed(from.address, before);
  return heard;
}

void PeerSide::take(const wire::Message& m) {
  if (wire::is_flow(m.header.type)) {
    take_flow(m);
  } else if (wire::is_expectation(m.header.type)) {
    Expectation e;
    if (const auto why = wire::decode_expectation(m.payload, e); why != wire::DecodeStatus::ok) {
      refuse(why, m.header.type);
    } else if (c_.options.expectations) {
      store_->take(m.header.type, e, origin_of(m));
    }
  } else {
    received_.count_bad_type();
  }
}

void PeerSide::take_flow(const wire::Message& m) {
  if (const auto why = wire::decode_flow(m.payload, record_); why != wire::DecodeStatus::ok) {
    return refuse(why, m.header.type);
  }
  Flow& f = record_.flow;
  f.present &= ~c_.options.encode.left_out;
  if (c_.options.encode.swap_nat) wire::swap_nat_addresses(f);
  if ((f.present & (has::kSnat | has::kDnat)) != 0) look_at_nat_order();
  store_->take(m.header.type, record_, origin_of(m));
  if (ended && cache_ != nullptr && m.header.type == wire::MsgType::flow_delete) ended(f.orig);
}

// There is no index by addresses alone, and the table is not searched for whom it might mean.
void PeerSide::refuse(wire::DecodeStatus why, wire::MsgType type) {
  received_.count_malformed_payload();
  bad_payload_ = reason_of(why, type);
  if (bad_payload_ == kEndWithoutPorts) ++received_.ends_without_ports;
}

void PeerSide::tell_malformed(const IpAddress& from, const wire::ReceiveStats& before) {
  const auto say = [&](std::size_t kind, std::string_view what) {
    const auto held_back = malformed_lines_.allow(from, static_cast<std::uint8_t>(kind), c_.clock.now());
    if (!held_back) return;
    c_.log.warning("malformed message from {}: {}{}", to_string(from), what,
                   *held_back == 0 ? "" : fmt::format(" ({} more since the last such line)", *held_back));
  };
  for (std::size_t i = 0; i < kMalformed.size(); ++i) {
    if (received_.*kMalformed[i].count != before.*kMalformed[i].count) say(i, kMalformed[i].what);
  }
  if (received_.malformed_payload != before.malformed_payload) {
    say(kMalformed.size() + bad_payload_, kBadPayloads[bad_payload_]);
  }
}

// One line for each peer: it has no other way to show which conntrackd it is.
void PeerSide::look_at_nat_order() {
  const auto& peer = engine_->sender();
  const auto id = engine_->peers().id(peer);
  if (nat_order_told_[id] == peer.owner) return;
  const auto now = c_.clock.now();
  const auto address = nat_order_.turned(record_.flow, now);
  if (!address || !nat_order_limit_.allow(now)) return;
  nat_order_told_[id] = peer.owner;
  const auto told = to_string(IpAddress{Family::ipv4, *address});
  const auto meant = to_string(IpAddress{Family::ipv4, wire::swapped(*address)});
  if (c_.options.encode.swap_nat) {
    c_.log.warning(
        "peer {} tells NAT addresses as conntrackd does from 1.4.7 on, `SwapNATAddresses' turns {} into {}: remove it",
        name_of(id), meant, told);
  } else {
    c_.log.warning(
        "peer {} tells NAT addresses with their bytes swapped ({} for {}), as conntrackd does up to 1.4.6: translated "
        "connections are lost at a take-over; upgrade it, or see `SwapNATAddresses'",
        name_of(id), told, meant);
  }
}

table::Origin PeerSide::origin_of(const wire::Message& m) const {
  const auto& p = engine_->sender();
  return {.owner = p.owner, .session = p.session, .seq = m.header.seq};
}

std::optional<TimePoint> PeerSide::next_deadline() const {
  return earlier(earlier(engine_->next_deadline(), store_->next_deadline()), sweeper_.next_deadline());
}

void PeerSide::on_timer() {
  const auto now = c_.clock.now();
  if (const auto at = engine_->next_deadline(); at && *at <= now) engine_->on_timer(now);
  if (const auto at = store_->next_deadline(); at && *at <= now) store_->on_timer();
  sweeper_.on_timer();
  tell_lacks();
  if (now >= states_at_) watch_states();
}

void PeerSide::end_turn() {
  store_->end_turn();
  if (reconciler_) reconciler_->end_turn();
  engine_->drain(packer_, c_.clock.now(), c_.sink.congested());
}

// --- What the engine tells ---

// The address at which it was heard last.
std::string PeerSide::name_of(replication::PeerId peer) const {
  const auto& p = engine_->peers()[peer];
  if (p.places[p.link].is_set()) return to_string(p.places[p.link]);
  for (const auto& place : p.places) {
    if (place.is_set()) return to_string(place);
  }
  return "?";
}

// `text`: makes it, if it is to be told. What a stranger can cause as often as it likes must cost next to nothing.
template <typename Text>
void PeerSide::tell(RateLimit& limit, Level level, Text&& text) {
  if (!limit.allow(c_.clock.now())) return;
  c_.log.write(level, text());
  if (const auto n = limit.held_back(); n != 0)
    c_.log.write(level, fmt::format("{} more such messages were held back", n));
}

void PeerSide::peer_appeared(replication::PeerId peer) {
  lacks_[peer].untold = false;
  const auto& p = engine_->peers()[peer];
  if (cache_ != nullptr) cache_->peer_appeared(peer, p.owner);
  if (!p.shares || std::exchange(told_of_sharing_, true)) return;
  c_.log.warning("several nodes speak from {}, as behind a relay: they are kept apart by their numbers", name_of(peer));
}

void PeerSide::resync_requested(replication::PeerId) {
  tell(resync_limit_, Level::notice, [] { return "resync requested by other node"; });
}

// Comes once a second at most, but for an operator's -B.
void PeerSide::bulk_started() { c_.log.notice("sending bulk update"); }

void PeerSide::peer_restarted(replication::PeerId peer) {
  tell(restart_limit_, Level::info, [&] { return fmt::format("peer {} has restarted", name_of(peer)); });
}

void PeerSide::peer_shown(replication::PeerId peer) {
  tell(shown_limit_, Level::info, [&] {
    const auto& info = *engine_->peers()[peer].info;
    return fmt::format("peer {} is ctsyncd {}, node {:08x}", name_of(peer), info.version.data(), info.node);
  });
}

void PeerSide::bulk_ended(replication::PeerId peer, std::uint32_t first) {
  const auto& p = engine_->peers()[peer];
  if (reconciler_) reconciler_->bulk_ended(peer);
  sweeper_.start({.from = {.owner = p.owner, .session = p.session, .seq = first}});
}

void PeerSide::peer_succeeded(std::uint32_t owner) {
  sweeper_.start({.from = {.owner = owner}, .nothing_holds = true});
}

void PeerSide::sums_heard(replication::PeerId peer, const wire::Sums& sums) {
  if (reconciler_) reconciler_->sums_heard(peer, sums);
}

void PeerSide::repair_ended(replication::PeerId peer, std::uint32_t number, std::uint32_t first) {
  if (reconciler_) reconciler_->repair_ended(peer, number, first);
}

std::optional<std::uint32_t> PeerSide::last_of(std::uint32_t owner) const {
  const auto* p = engine_->peers().with_owner(owner);
  return p == nullptr ? std::nullopt : std::optional(p->last);
}

void PeerSide::swept(std::uint32_t owner, std::uint32_t removed) {
  if (reconciler_ && !sweeper_.has_left(owner)) reconciler_->swept(owner);
  if (removed == 0) return;
  const auto* p = engine_->peers().with_owner(owner);
  tell(sweep_limit_, Level::info, [&] {
    return fmt::format("{} entries that ended at peer {} meanwhile are removed", removed,
                       p == nullptr ? "?" : name_of(engine_->peers().id(*p)));
  });
}

void PeerSide::gap_seen(replication::PeerId peer, std::uint32_t from, std::uint32_t to) {
  tell(gap_limit_, Level::info,
       [&] { return fmt::format("{} messages of peer {} were lost", to - from + 1, name_of(peer)); });
}

void PeerSide::resend_queue_overflow() {
  tell(overflow_limit_, Level::warning,
       [] { return "resend queue is full, the oldest unacknowledged messages are given up (see ResendQueueSize)"; });
}

void PeerSide::cannot_repeat(replication::PeerId peer, std::uint32_t from, std::uint32_t to) {
  lacks(peer, Why::given_up, peer, from, to);
}

void PeerSide::freed_by_others(replication::PeerId peer, std::uint32_t from, std::uint32_t to) {
  lacks(peer, Why::freed, peer, from, to);
}

void PeerSide::freed_by_hello(replication::PeerId by, replication::PeerId other, std::uint32_t from, std::uint32_t to) {
  lacks(other, Why::hello, by, from, to);
}

void PeerSide::lacks(replication::PeerId peer, Why why, replication::PeerId by, std::uint32_t from, std::uint32_t to) {
  Lack& l = lacks_[peer];
  if (!l.untold || replication::is_before(from, l.from)) l.from = from;
  if (!l.untold || replication::is_after(to, l.to)) l.to = to;
  l.untold = true;
  l.why = why;
  l.by = by;
  tell_lacks();
}

// Called at least once a second: FT-FW, which alone has such, wakes so often.
void PeerSide::tell_lacks() {
  const auto now = c_.clock.now();
  if (lack_told_at_ && now - *lack_told_at_ < kLackPause) return;
  for (std::size_t i = 0; i < lacks_.size(); ++i) {
    const auto peer = next_lack_;
    next_lack_ = (next_lack_ + 1) % static_cast<replication::PeerId>(lacks_.size());
    Lack& l = lacks_[peer];
    if (!l.untold || (l.told_at && now - *l.told_at < kLackSpacing)) continue;
    l.untold = false;
    l.told_at = lack_told_at_ = now;
    return tell_lack(peer, l);
  }
}

void PeerSide::tell_lack(replication::PeerId peer, const Lack& l) {
  switch (l.why) {
    case Why::given_up:
      return c_.log.warning(
          "peer {} asks for messages {} to {}, of which some were given up; it may lack flows until the next bulk",
          name_of(peer), l.from, l.to);
    case Why::freed:
      return c_.log.warning(
          "peer {} asks for messages {} to {}, which another peer has acknowledged; it may lack flows until the next "
          "bulk",
          name_of(peer), l.from, l.to);
    case Why::hello:
      return c_.log.warning(
          "peer {} has started anew; if messages {} to {} did not reach peer {}, it lacks flows until the next bulk",
          name_of(l.by), l.from, l.to, name_of(peer));
  }
}

void PeerSide::peers_alike(replication::PeerId peer) {
  if (std::exchange(told_of_sharing_, true)) return;
  c_.log.warning(
      "several nodes of conntrackd speak from {} with the same numbers, as behind a relay: what one of them "
      "loses is not repeated",
      name_of(peer));
}

void PeerSide::peer_asks_too_much(replication::PeerId peer) {
  tell(too_much_limit_, Level::warning, [&] {
    return fmt::format("peer {} asks for more than can be answered at once, the rest is dropped", name_of(peer));
  });
}

void PeerSide::end_given_up() {
  tell(end_limit_, Level::warning, [] {
    return "the internal cache is full, ends of connections that wait to be sent are given up (see HashLimit); peers "
           "may keep these connections";
  });
}

void PeerSide::external_full() {
  tell(full_limit_, Level::warning,
       [] { return "the external cache is full, what is new at the peers is not taken (see HashLimit)"; });
}

// --- What is known of the peers ---

text::PeerState PeerSide::state_of(replication::PeerId peer) const {
  const auto& p = engine_->peers()[peer];
  if (c_.clock.now() - p.last_heard >= kLately) return text::PeerState::lost;
  if (!reconciler_ || !p.info) return text::PeerState::unknown;
  return reconciler_->in_step_since(peer) ? text::PeerState::in_sync : text::PeerState::catching_up;
}

// One line for each change. That a peer has appeared is none: what it is it says, or it is a stock one. What may not be
// told now is told later.
void PeerSide::watch_states() {
  const auto now = c_.clock.now();
  states_at_ = now + std::chrono::milliseconds(500);
  for (; state_lines_ < kMostStateLines && now - state_lines_at_ >= kStateLineSpacing; ++state_lines_) {
    state_lines_at_ += kStateLineSpacing;
  }
  while (state_lines_ > 0) {
    const auto peer = next_state_to_tell();
    if (!peer) return;
    if (state_lines_-- == kMostStateLines) state_lines_at_ = now;
    tell_state(*peer);
  }
}

// Of several the one that has told most: that is no stranger.
std::optional<replication::PeerId> PeerSide::next_state_to_tell() {
  const auto now = c_.clock.now();
  std::optional<replication::PeerId> next;
  const auto peers = engine_->peers().all();
  for (replication::PeerId i = 0; i < peers.size(); ++i) {
    if (!peers[i].used) continue;
    const auto state = state_of(i);
    PeerTold& told = states_[i];
    const bool other = told.owner != peers[i].owner;
    if (!other && told.state == state) continue;
    if (state == text::PeerState::unknown && (other || told.state != text::PeerState::lost)) {
      // No news: what a peer is it says, or it is a stock one.
      told = {.owner = peers[i].owner, .state = state, .since = now};
    } else if (!next || peers[i].accepted > peers[*next].accepted) {
      next = i;
    }
  }
  return next;
}

void PeerSide::tell_state(replication::PeerId peer) {
  const auto state = state_of(peer);
  states_[peer] = {.owner = engine_->peers()[peer].owner, .state = state, .since = c_.clock.now()};
  switch (state) {
    case text::PeerState::lost:
      return c_.log.warning("peer {} is lost: nothing was heard of it for {} seconds", name_of(peer),
                            kLately / std::chrono::seconds(1));
    case text::PeerState::unknown:  // it was lost
      return c_.log.notice("peer {} is heard again", name_of(peer));
    default:
      return c_.log.notice("peer {}: {}", name_of(peer), text::to_string(state));
  }
}

// --- For people ---

std::unique_ptr<Job> PeerSide::list_resend_queue(const Client& client, Form form) {
  if (ftfw_ == nullptr) return nullptr;
  return std::make_unique<ResendQueueJob>(*ftfw_, c_.clock, client, form);
}

// A peer that is not heard lags no more.
std::optional<std::uint64_t> PeerSide::lag_of(const replication::Peer& p, text::PeerState state) const {
  if (ftfw_ == nullptr || state == text::PeerState::lost) return std::nullopt;
  return microseconds_of(p.watched_at ? c_.clock.now() - *p.watched_at : Duration::zero());
}

void PeerSide::fill(text::Snapshot& s) const {
  s.external = store_->flow_numbers();
  s.external_expectations = store_->expectation_numbers();
  s.network = {.malformed = received_.malformed,
               .wrong_version = received_.wrong_version,
               .bad_header = received_.malformed_header,
               .bad_payload = received_.malformed_payload,
               .ends_without_ports = received_.ends_without_ports,
               .bad_type = received_.bad_type,
               .truncated = received_.truncated,
               .bad_size = received_.bad_size,
               .lost = received_.lost,
               .before = received_.before};
  const auto now = c_.clock.now();
  const auto peers = engine_->peers().all();
  for (replication::PeerId i = 0; i < peers.size(); ++i) {
    const auto& p = peers[i];
    if (!p.used) continue;
    const auto state = state_of(i);
    const bool told = states_[i].owner == p.owner && states_[i].state == state;
    const auto* sums = cache_ == nullptr ? nullptr : cache_->sums_of(p.owner);
    const auto numbers = reconciler_ ? reconciler_->numbers(i) : Reconciler::Numbers{};
    s.peers.push_back(
        {.name = name_of(i),
         .software = p.info ? fmt::format("ctsyncd {}, node {:08x}", p.info->version.data(), p.info->node) : "",
         .state = state,
         .since = told ? seconds_since(states_[i].since, now) : 0,
         .heard = seconds_since(p.last_heard, now),
         .held = sums == nullptr ? 0 : sums->flows(),
         .announced = c_.sums == nullptr ? 0 : c_.sums->sums().flows(),
         .waiting = ftfw_ == nullptr ? 0 : ftfw_->waiting_for(i),
         .round_trip = microseconds_of(p.round_trip),
         .lag = lag_of(p, state),
         .received = p.accepted,
         .lost = p.lost,
         .resyncs = p.resyncs,
         .compared = numbers.compared,
         .differed = numbers.differed,
         .repairs = numbers.repairs,
         .mended = numbers.mended});
  }
  s.queue_nodes = engine_->queue_nodes();
  constexpr std::uint64_t kNoMaximum = 2147483647;  // as conntrackd says
  s.queues.push_back({.name = "txqueue", .elements = engine_->transmit_length(), .maximum = kNoMaximum});
  if (ftfw_ == nullptr) return;
  s.delays = ftfw_->delays();
  s.queues.push_back({.name = "rsqueue",
                      .elements = ftfw_->resend_length(),
                      .maximum = ftfw_->resend_maximum(),
                      .no_space = ftfw_->resend_no_space()});
}

bool PeerSide::hears_anybody(Duration within) const {
  const auto since = c_.clock.now() - within;
  return std::ranges::any_of(engine_->peers().all(),
                             [since](const replication::Peer& p) { return p.used && p.last_heard > since; });
}

// Of a node of ours it is known when it has told everything. Of others it is not, so they are given the time of a few
// messages.
bool PeerSide::is_filling() const {
  const auto age = c_.clock.now() - started_at_;
  if (age >= kLongestFill) return false;
  bool all_told = false;
  for (const auto& p : engine_->peers().all()) {
    if (!p.used || !p.info || ftfw_ == nullptr) continue;
    if (state_of(engine_->peers().id(p)) == text::PeerState::lost) continue;
    if (!p.told_all) return true;
    all_told = true;
  }
  return !all_told && age < kFirstWord;
}

std::string PeerSide::status() const {
  std::string text = cache_ == nullptr ? ", no external cache" : fmt::format(", {} external", c_.external.live());
  if (c_.options.mode == Mode::alarm) return text;  // keeps no account of its peers
  int heard = 0;
  int in_sync = 0;
  for (const auto& p : engine_->peers().all()) {
    if (!p.used) continue;
    const auto state = state_of(engine_->peers().id(p));
    if (state != text::PeerState::lost) ++heard;
    if (state == text::PeerState::in_sync) ++in_sync;
  }
  text += fmt::format(", {} peer{} heard", heard, heard == 1 ? "" : "s");
  return in_sync == 0 ? text : text + fmt::format(", {} in sync", in_sync);
}

}  // namespace ctsync::node
