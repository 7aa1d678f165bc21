// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_follower.h"

#include <strings.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace ctsync::daemon {
namespace {

using kernel::EventType;
using kernel::Origin;
using replication::Announce;
using table::FlowState;

bool sweeps(KernelFollower::Load load) {
  return load == KernelFollower::Load::mend || load == KernelFollower::Load::repeat;
}

Announce announce_of(Origin o) { return o == Origin::foreign ? Announce::yes : Announce::no; }

// Two flows with the same tuple, one after the other.
bool is_other(const Flow& cached, const Flow& now) {
  return now.knows(has::kId) && cached.knows(has::kId) && now.id != cached.id;
}

// Whether the peers should hear of `now`, given what the cache has. Timeouts and counters change all the time and do
// not count.
bool differs(const Flow& cached, const FlowExtra* cached_extra, const FlowRecord& now) {
  const Flow& f = now.flow;
  if (f.knows(has::kStatus) && f.status != cached.status) return true;
  if (f.knows(has::kProtoState) && f.proto_state != cached.proto_state) return true;
  if (f.knows(has::kMark) && f.mark != cached.mark) return true;
  if (f.knows(has::kReply) && cached.knows(has::kReply) && !(f.reply() == cached.reply())) return true;
  const std::uint32_t extras = f.present & has::kExtra & ~has::kCounters;
  if (extras == 0) return false;
  if (cached_extra == nullptr || (extras & ~cached.present) != 0) return true;
  const FlowExtra& e = now.extra;
  return ((extras & has::kLabels) != 0 && e.labels != cached_extra->labels) ||
         ((extras & has::kHelper) != 0 && std::strcmp(e.helper.data(), cached_extra->helper.data()) != 0) ||
         ((extras & has::kSeqAdjOrig) != 0 &&
          std::memcmp(&e.seqadj_orig, &cached_extra->seqadj_orig, sizeof e.seqadj_orig) != 0) ||
         ((extras & has::kSeqAdjReply) != 0 &&
          std::memcmp(&e.seqadj_reply, &cached_extra->seqadj_reply, sizeof e.seqadj_reply) != 0);
}

}  // namespace

bool HelperFilter::accepts(const Expectation& e) const {
  if (names_.empty()) return true;
  if (!e.knows(expect_has::kHelper)) return false;
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
    return ::strncasecmp(name.c_str(), e.helper.data(), name.size()) == 0;
  });
}

KernelFollower::KernelFollower(const Context& context)
    : c_(context),
      ended_(0, TupleHash(context.hash_seed)),
      died_expected_(0, TupleHash(context.hash_seed)),
      masters_(0, TupleHash(context.hash_seed)) {}

void KernelFollower::on_flow(EventType type, FlowRecord& record, Origin origin) {
  if (origin == Origin::inject) return;
  const bool destroyed = type == EventType::destroy;
  if (!c_.filter.accepts(record.flow, destroyed)) {
    ++stats_.filtered;
    return;
  }
  if (type == EventType::new_ && origin == Origin::foreign && record.flow.knows(has::kMaster)) {
    look_again_at(record.extra.master);
  }
  if (c_.flows == nullptr) {
    if (origin == Origin::foreign) {
      if (!destroyed) complete(record);
      ++(type == EventType::new_ ? stats_.bypass_created : destroyed ? stats_.bypass_destroyed : stats_.bypass_updated);
      send(type, record);
    }
    return;
  }
  if (!destroyed) {
    if (has_ended(record.flow)) return;
    complete(record);
    keep(record, type == EventType::new_, announce_of(origin));
    return;
  }
  const auto id = c_.flows->find(record.flow.orig);
  const bool live = id != table::kNoFlow && is_live(c_.flows->slot(id).state);
  if ((loads_ != 0 || origin != Origin::foreign) && record.flow.knows(has::kId)) {
    ended_[record.flow.orig] = record.flow.id;
  }
  // The other flow: an earlier one with this tuple, whose end is told late (reliable events, or our own flush).
  if (!live || is_other(c_.flows->slot(id).flow, record.flow)) return;
  count_traffic(record);
  if (finished) finished(record);
  bury(id, announce_of(origin));
}

// `replace`: the flow is new, whatever is cached under its tuple is not this flow.
void KernelFollower::keep(FlowRecord& record, bool replace, Announce announce) {
  record.flow.present &= ~has::kCounters;  // they would cost every flow a side record, and nobody asks for them
  const auto id = c_.flows->find(record.flow.orig);
  if (id == table::kNoFlow) {
    insert(record, announce);
  } else if (replace || !is_live(c_.flows->slot(id).state)) {
    const auto& slot = c_.flows->slot(id);
    if (finished && is_live(slot.state) && is_other(slot.flow, record.flow)) {  // its end was missed
      c_.flows->copy_to(id, scratch_);
      finished(scratch_);
    }
    release(id);
    insert(record, announce);
  } else {
    const auto now = c_.clock.now();
    c_.flows->update(id, record, now);
    c_.flows->slot(id).generation = generation_;
    if (c_.engine != nullptr) c_.engine->flow_changed(id, announce, now);
  }
}

void KernelFollower::insert(const FlowRecord& record, Announce announce) {
  const auto now = c_.clock.now();
  const bool full = c_.flows->total() >= c_.flows->limit();
  if (full && c_.engine != nullptr) c_.engine->release_one_dead();
  const auto id = c_.flows->insert(record, now);
  if (id == table::kNoFlow) return;
  c_.flows->slot(id).generation = generation_;
  if (c_.engine != nullptr) c_.engine->flow_changed(id, announce, now);
}

void KernelFollower::bury(table::FlowId id, Announce announce) {
  c_.flows->mark_dead(id);
  if (c_.engine != nullptr) {
    c_.engine->flow_dead(id, announce);
  } else {
    c_.flows->release(id);
  }
}

void KernelFollower::release(table::FlowId id) {
  if (c_.engine != nullptr) c_.engine->flow_leaving(id);
  c_.flows->release(id);
}

// Sequence adjustments are in no event, only in dumps and single look-ups: without them a translated control connection
// stalls after a take-over (spec replication.md 9, item 8).
void KernelFollower::complete(FlowRecord& record) {
  Flow& f = record.flow;
  constexpr std::uint32_t kBoth = has::kSeqAdjOrig | has::kSeqAdjReply;
  if (!f.knows(has::kStatus) || (f.status & status::kSeqAdjust) == 0 || f.knows(kBoth)) return;
  const auto found = c_.kernel.get(f.orig, scratch_);
  if (!found || !*found) return;
  copy_extra(record.extra, scratch_.extra, scratch_.flow.present & kBoth);
  f.present |= scratch_.flow.present & kBoth;
}

// Nor is there an event when they change. But they change when a helper writes another address into a packet, and then
// it also makes an expectation. That event comes before the packet is changed, so the entry is read a moment later.
// Without events of expectations the first packet of the expected flow gives the occasion.
void KernelFollower::look_again_at(const Tuple& master) {
  if (!later || master.l4 != kTcp || masters_.size() >= kMostLate) return;
  if (c_.flows != nullptr) {
    const auto id = c_.flows->find(master);
    if (id == table::kNoFlow) return;
    const auto nat = nat_of(c_.flows->slot(id).flow);
    if (!nat.snat && !nat.dnat && !nat.snat_port && !nat.dnat_port) return;
  }
  masters_.insert(master);
  later();
}

void KernelFollower::catch_up() {
  for (const auto& master : std::exchange(masters_, Tuples(0, masters_.hash_function()))) refresh(master);
  for (const auto& [e, origin] : std::exchange(waiting_, {})) {
    if (master_known(e)) take_expectation(EventType::new_, e, origin);
  }
}

void KernelFollower::refresh(const Tuple& master) {
  const auto found = c_.kernel.get(master, scratch_);
  if (!found || !*found || !c_.filter.accepts(scratch_.flow)) return;
  if ((scratch_.flow.present & (has::kSeqAdjOrig | has::kSeqAdjReply)) == 0) return;
  if (c_.flows == nullptr) {
    ++stats_.bypass_updated;
    return send(EventType::update, scratch_);
  }
  const auto id = c_.flows->find(master);
  if (id == table::kNoFlow || !is_live(c_.flows->slot(id).state)) return;
  if (differs(c_.flows->slot(id).flow, c_.flows->extra(id), scratch_)) keep(scratch_, false, Announce::yes);
}

void KernelFollower::count_traffic(const FlowRecord& record) {
  if (!record.flow.knows(has::kCounters)) return;
  stats_.traffic_bytes += record.extra.counters_orig.bytes + record.extra.counters_reply.bytes;
  stats_.traffic_packets += record.extra.counters_orig.packets + record.extra.counters_reply.packets;
}

void KernelFollower::on_expectation(EventType type, Expectation& e, Origin origin) {
  if (origin == Origin::inject) return;
  if (type == EventType::new_ && origin == Origin::foreign) look_again_at(e.master);
  if (!c_.helpers.accepts(e)) {
    ++stats_.filtered;
    return;
  }
  if (type == EventType::destroy) {
    std::erase_if(waiting_, [&](const Waiting& w) { return same_key(w.expectation, e); });
  } else if (!master_known(e)) {
    // The first packet of a flow may make an expectation (TFTP, SIP); its event comes before that of the flow.
    if (!later || waiting_.size() >= kMostLate) return;
    waiting_.push_back({e, origin});
    return later();
  }
  take_expectation(type, e, origin);
}

void KernelFollower::take_expectation(EventType type, const Expectation& e, Origin origin) {
  const bool destroyed = type == EventType::destroy;
  if (c_.expectations == nullptr) {
    if (origin != Origin::foreign || !send_expectation) return;
    ++(type == EventType::new_ ? stats_.bypass_expectations_created
       : destroyed             ? stats_.bypass_expectations_destroyed
                               : stats_.bypass_expectations_updated);
    return send_expectation(type, e);
  }
  if (loads_ != 0 && destroyed) died_expected_.insert(e.expected);
  if (loads_ != 0 && !destroyed) died_expected_.erase(e.expected);
  const auto id = c_.expectations->find(e);
  const bool live = id != table::kNoExpect && is_live(c_.expectations->slot(id).state);
  if (destroyed) {
    if (live) bury_expectation(id, announce_of(origin));
    return;
  }
  if (id != table::kNoExpect && (!live || type == EventType::new_)) {
    release_expectation(id);
    insert_expectation(e, announce_of(origin));
  } else if (live) {
    const auto now = c_.clock.now();
    c_.expectations->update(id, e, now);
    if (c_.engine != nullptr) c_.engine->expectation_changed(id, announce_of(origin), now);
  } else {
    insert_expectation(e, announce_of(origin));
  }
}

void KernelFollower::insert_expectation(const Expectation& e, Announce announce) {
  const auto now = c_.clock.now();
  const auto id = c_.expectations->insert(e, now);
  if (id == table::kNoExpect) return;
  c_.expectations->slot(id).generation = generation_;
  if (c_.engine != nullptr) c_.engine->expectation_changed(id, announce, now);
}

void KernelFollower::bury_expectation(table::ExpectId id, Announce announce) {
  c_.expectations->mark_dead(id);
  if (c_.engine != nullptr) {
    c_.engine->expectation_dead(id, announce);
  } else {
    c_.expectations->release(id);
  }
}

void KernelFollower::release_expectation(table::ExpectId id) {
  if (c_.engine != nullptr) c_.engine->expectation_leaving(id);
  c_.expectations->release(id);
}

bool KernelFollower::master_known(const Expectation& e) {
  if (c_.flows != nullptr) {
    const auto id = c_.flows->find(e.master);
    return id != table::kNoFlow && is_live(c_.flows->slot(id).state);
  }
  const auto found = c_.kernel.get(e.master, scratch_);
  return found && *found && c_.filter.accepts(scratch_.flow);
}

void KernelFollower::on_bad_event(kernel::DecodeStatus why) {
  ++stats_.filtered;
  if (!bad_event_limit_.allow(c_.clock.now())) return;
  switch (why) {
    case kernel::DecodeStatus::no_family:
      c_.log.error("kernel event without layer 3 protocol");
      break;
    case kernel::DecodeStatus::no_addresses:
      c_.log.error("kernel event without addresses");
      break;
    default:
      c_.log.error("malformed kernel event");
      break;
  }
  if (bad_event_limit_.held_back() != 0) c_.log.error("{} more such events", bad_event_limit_.held_back());
}

void KernelFollower::on_overrun(kernel::BufferGrowth growth, std::uint32_t buffer_size) {
  if (growth == kernel::BufferGrowth::doubled) {
    c_.log.notice("netlink event socket buffer size has been doubled to {} bytes", buffer_size);
  } else if (overrun_limit_.allow(c_.clock.now())) {
    c_.log.warning(
        "netlink event socket buffer size cannot be doubled further since it will exceed NetlinkBufferSizeMaxGrowth. "
        "We "
        "are likely to be losing events, this may lead to unsynchronized replicas. Please, consider increasing netlink "
        "socket buffer size via NetlinkBufferSize and NetlinkBufferSizeMaxGrowth clauses in conntrackd.conf");
    if (overrun_limit_.held_back() != 0) {
      c_.log.warning("kernel events were lost {} more times since the last warning", overrun_limit_.held_back());
    }
  }
  if (overrun) overrun();
}

void KernelFollower::begin_load(Load load) {
  ++loads_;
  if (sweeps(load) && ++generation_ == 0) ++generation_;
}

void KernelFollower::load_flow(FlowRecord& record, Load load) {
  if (c_.flows == nullptr || !c_.filter.accepts(record.flow)) return;
  if (has_ended(record.flow)) return;
  const auto id = c_.flows->find(record.flow.orig);
  const bool live = id != table::kNoFlow && is_live(c_.flows->slot(id).state);
  Announce announce = Announce::no;
  bool other = false;  // the tuple was used again: this is not the flow that is cached
  if (live) {
    auto& slot = c_.flows->slot(id);
    other = is_other(slot.flow, record.flow);
    // A dump tells all of an entry, but labels only if some are set: none means that they were cleared.
    if (slot.flow.knows(has::kLabels) && !record.flow.knows(has::kLabels)) {
      record.extra.labels = {};
      record.flow.present |= has::kLabels;
    }
    const bool tell = load == Load::repeat || other || differs(slot.flow, c_.flows->extra(id), record);
    if (sweeps(load) && tell) announce = Announce::yes;
  } else if (sweeps(load)) {
    announce = Announce::yes;
  }
  keep(record, other, announce);
  const auto kept = c_.flows->find(record.flow.orig);
  if (kept != table::kNoFlow) c_.flows->slot(kept).generation = generation_;
}

void KernelFollower::load_expectation(Expectation& e, Load load) {
  if (c_.expectations == nullptr || !wanted(e) || died_expected_.contains(e.expected)) return;
  const auto id = c_.expectations->find(e);
  if (id != table::kNoExpect && is_live(c_.expectations->slot(id).state)) {
    const auto now = c_.clock.now();
    c_.expectations->update(id, e, now);
    if (c_.engine != nullptr) {
      c_.engine->expectation_changed(id, load == Load::repeat ? Announce::yes : Announce::no, now);
    }
    c_.expectations->slot(id).generation = generation_;
    return;
  }
  if (id != table::kNoExpect) release_expectation(id);
  insert_expectation(e, sweeps(load) ? Announce::yes : Announce::no);
}

void KernelFollower::end_load() {
  if (--loads_ == 0) died_expected_.clear();
}

void KernelFollower::caught_up() {
  if (loads_ == 0 && !ended_.empty()) ended_ = {};
}

// Whether `f` was told of before the flow ended. A later flow with its tuple has another id.
bool KernelFollower::has_ended(const Flow& f) {
  if (ended_.empty()) return false;
  const auto it = ended_.find(f.orig);
  if (it == ended_.end()) return false;
  if (f.knows(has::kId) && it->second == f.id) return true;
  ended_.erase(it);
  return false;
}

// Flows born after the dump began carry its number as well (insert), so what has another one was not in the kernel.
bool KernelFollower::sweep_flows(table::FlowId& next, TimePoint budget_end) {
  if (c_.flows == nullptr) return true;
  while (next < c_.flows->end_id()) {
    const auto id = next++;
    const auto& slot = c_.flows->slot(id);
    if (is_live(slot.state) && slot.generation != generation_) {
      c_.flows->copy_to(id, scratch_);
      if (finished) finished(scratch_);
      bury(id, Announce::yes);
    }
    if (next % 64 == 0 && c_.clock.now() >= budget_end) return next >= c_.flows->end_id();
  }
  return true;
}

void KernelFollower::sweep_expectations() {
  if (c_.expectations == nullptr) return;
  for (table::ExpectId id = 0; id < c_.expectations->end_id(); ++id) {
    const auto& slot = c_.expectations->slot(id);
    if (is_live(slot.state) && slot.generation != generation_) bury_expectation(id, Announce::yes);
  }
}

void KernelFollower::flush_flows() {
  if (c_.flows == nullptr) return;
  for (table::FlowId id = 0; id < c_.flows->end_id(); ++id) {
    if (c_.flows->slot(id).state != FlowState::free) release(id);
  }
}

void KernelFollower::flush_expectations() {
  if (c_.expectations == nullptr) return;
  for (table::ExpectId id = 0; id < c_.expectations->end_id(); ++id) {
    if (c_.expectations->slot(id).state != FlowState::free) release_expectation(id);
  }
}

}  // namespace ctsync::daemon
