// SPDX-License-Identifier: GPL-2.0-or-later
#include "internal_cache.h"

#include <cstring>
#include <utility>

#include "ctsync/flow/progress.h"
#include "dump_job.h"

namespace ctsync::node {
namespace {

using kernel::EventType;
using kernel::Origin;
using replication::Announce;

Announce announce_of(Origin o) { return o == Origin::foreign ? Announce::yes : Announce::no; }

// Of something new in the kernel under whose key nothing was known.
Announce as_first(Announce a) { return a == Announce::yes ? Announce::first : a; }

// Two flows with the same tuple, one after the other.
bool is_other(const Flow& cached, const Flow& now) {
  return now.knows(has::kId) && cached.knows(has::kId) && now.id != cached.id;
}

// The same of what is there now, which is told whole. An entry that our own hand made has no id until the kernel tells one;
// but the translation of a flow never changes.
bool is_another(const Flow& cached, const Flow& now) {
  return is_other(cached, now) || (!cached.knows(has::kId) && now.knows(has::kStatus) && !same_nat(cached, now));
}

// Whether the peers should hear of `now`, given what the cache has. Timeouts and counters change all the time and do
// not count.
bool differs(const Flow& cached, const FlowExtra* cached_extra, const FlowRecord& now) {
  const Flow& f = now.flow;
  if (f.knows(has::kStatus) && ((f.status ^ cached.status) & ~status::kLocal) != 0) return true;
  if (f.knows(has::kProtoState) && f.proto_state != cached.proto_state) return true;
  if (f.knows(has::kWscaleOrig) && f.wscale_orig != cached.wscale_orig) return true;
  if (f.knows(has::kWscaleReply) && f.wscale_reply != cached.wscale_reply) return true;
  if (f.knows(has::kMark) && f.mark != cached.mark) return true;
  if (f.knows(has::kReply) && cached.knows(has::kReply) && !(f.reply() == cached.reply())) return true;
  // No labels, or none that is set: the same.
  const bool labels = cached.knows(has::kLabels);
  if (f.knows(has::kLabels) && now.extra.labels != (labels ? cached_extra->labels : decltype(now.extra.labels){}))
    return true;
  const std::uint32_t extras = f.present & has::kExtra & ~(has::kCounters | has::kLabels);
  if (extras == 0) return false;
  if (cached_extra == nullptr || (extras & ~cached.present) != 0) return true;
  const FlowExtra& e = now.extra;
  return ((extras & has::kHelper) != 0 && std::strcmp(e.helper.data(), cached_extra->helper.data()) != 0) ||
         ((extras & has::kSeqAdjOrig) != 0 &&
          std::memcmp(&e.seqadj_orig, &cached_extra->seqadj_orig, sizeof e.seqadj_orig) != 0) ||
         ((extras & has::kSeqAdjReply) != 0 &&
          std::memcmp(&e.seqadj_reply, &cached_extra->seqadj_reply, sizeof e.seqadj_reply) != 0);
}

}  // namespace

InternalCache::InternalCache(table::FlowTable& flows, table::ExpectationTable* expectations, Copies* copies,
                             const Clock& clock)
    : flows_(flows),
      expectations_(expectations),
      copies_(copies),
      clock_(clock),
      generations_(flows, expectations, clock),
      ended_(flows.hash()),
      taken_(flows.hash()),
      overwritten_(flows.hash()),
      told_(flows.hash()),
      died_expected_(flows.hash()),
      found_(flows.hash()) {}

// What a flush has yet to take away is not found: it goes now.
table::FlowId InternalCache::find(const Tuple& orig) {
  const auto id = flows_.find(orig);
  if (id == table::kNoFlow || !generations_.is_flushed(flows_.slot(id))) return id;
  release(id);
  return table::kNoFlow;
}

table::ExpectId InternalCache::find(const Expectation& e) {
  const auto id = expectations_->find(e);
  if (id == table::kNoExpect || !generations_.is_flushed(expectations_->slot(id))) return id;
  release_expectation(id);
  return table::kNoExpect;
}

// --- Events ---

void InternalCache::on_flow(EventType type, FlowRecord& record, Origin origin) {
  if (!found_.empty()) explained(record.flow.orig);
  if (origin != Origin::foreign && type != EventType::update) replaced(record.flow);
  if (type != EventType::destroy) {
    if (has_ended(record.flow)) return;
    if (loading_) told_[record.flow.orig] |= told_by(type, record.flow);
    const bool replace = type == EventType::new_;
    if (origin != Origin::foreign) return keep_own(record, replace, origin);
    if (!overwritten_.empty() && overwritten_.find(record.flow.orig) != nullptr) {
      const auto there = read_again(record.flow.orig, record);
      if (there && !*there) return;  // nothing more comes of a flow that our hand has ended
      if (there) make_whole(record);
    }
    if (copies_ != nullptr) {
      const bool copy = !replace && copies_->contains(record.flow.orig);
      lives_here(record.flow.orig, replace);
      // The event tells what has changed, not all.
      if (copy && read_again(record.flow.orig, scratch_).value_or(false)) {
        record = scratch_;
        make_whole(record);
      }
    }
    keep(record, replace, Announce::yes);
    return;
  }
  const auto id = find(record.flow.orig);
  const bool live = id != table::kNoFlow && is_live(flows_.slot(id).state);
  const bool told = origin == Origin::foreign && has_ended(record.flow);
  if (origin == Origin::commit && live && flows_.slot(id).told) overwritten_[record.flow.orig] = kTold;
  if (record.flow.knows(has::kId)) {
    if (origin != Origin::foreign) remember_end(taken_, record.flow.orig, record.flow.id);
    if (origin == Origin::foreign && loading_) remember_end(ended_, record.flow.orig, record.flow.id);
  } else if (loading_ && origin != Origin::foreign) {
    told_[record.flow.orig] |= 0;  // whichever it was, what the dump has read of it is older
  }
  if (told) return;
  if (copies_ != nullptr && origin == Origin::flush) copies_->flushed(record.flow.orig);
  if (copies_ != nullptr && copies_->ended(record.flow.orig)) {
    if (id != table::kNoFlow) release(id);
    return;
  }
  // The other flow: an earlier one with this tuple, whose end is told late (reliable events, or our own flush).
  if (!live || is_other(flows_.slot(id).flow, record.flow)) return;
  count_traffic(record);
  flow_ended(record);
  bury(id, announce_of(origin));
}

// `replace`: the flow is new, whatever is cached under its tuple is not this flow. An entry of another flow is replaced
// in any case: merged into it, the later one would keep the earlier one's NAT. False: there is no room for it.
bool InternalCache::keep(FlowRecord& record, bool replace, Announce announce) {
  record.flow.present &= ~has::kCounters;  // they would cost every flow a side record, and nobody asks for them
  const auto id = find(record.flow.orig);
  if (id == table::kNoFlow) {
    return insert(record, replace ? as_first(announce) : announce);
  } else if (replace || !is_live(flows_.slot(id).state) || is_another(flows_.slot(id).flow, record.flow)) {
    const auto& slot = flows_.slot(id);
    if (is_live(slot.state) && is_another(slot.flow, record.flow)) {  // its end was missed
      flows_.copy_to(id, scratch_);
      flow_ended(scratch_);
    }
    release(id);
    return insert(record, announce, true);
  }
  const auto now = clock_.now();
  changing(id);
  flows_.update(id, record, now);
  changed(id);
  generations_.stamp(flows_.slot(id));
  flow_changed(id, announce, now);
  return true;
}

// A dump tells all of an entry, but labels only if some are set: none means that they were cleared.
void InternalCache::make_whole(FlowRecord& record) {
  const auto id = flows_.find(record.flow.orig);
  if (id == table::kNoFlow || !flows_.slot(id).flow.knows(has::kLabels) || record.flow.knows(has::kLabels)) return;
  record.extra.labels = {};
  record.flow.present |= has::kLabels;
}

// What our own hand has written. The peers are told only if they hold an earlier flow of this tuple, or an earlier state.
void InternalCache::keep_own(FlowRecord& record, bool replace, Origin origin) {
  auto& overwritten = overwritten_[record.flow.orig];
  auto announce = overwritten == kTold ? Announce::yes : Announce::no;
  overwritten = kWritten;
  const auto id = find(record.flow.orig);
  // A commit has met what lives here unheard of: it began while new flows were not heard.
  const bool unknown = id == table::kNoFlow || !is_live(flows_.slot(id).state);
  if (unknown && !replace && origin == Origin::commit) announce = Announce::yes;
  if (id != table::kNoFlow && flows_.slot(id).told) {
    const auto& slot = flows_.slot(id);
    if (replace || is_another(slot.flow, record.flow) || differs(slot.flow, flows_.extra(id), record)) {
      announce = Announce::yes;
    }
  }
  // It lived here, too young to be told of, and a peer has told of it.
  if (!unknown && flows_.slot(id).queue == table::Queue::young) announce = Announce::known;
  keep(record, replace, announce);
  if (copies_ != nullptr && replace && origin == Origin::commit) copies_->taken_over(record.flow.orig);
}

// `succeeds`: there was an earlier flow with this tuple.
bool InternalCache::insert(const FlowRecord& record, Announce announce, bool succeeds) {
  const auto now = clock_.now();
  if (flows_.total() >= flows_.limit()) make_room();
  const auto id = flows_.insert(record, now);
  if (id == table::kNoFlow) {
    full();
    return false;
  }
  // A copy that packets touched: the peers know it, and an update says that it lives here now.
  const bool touched = copies_ != nullptr && copies_->was_touched(record.flow.orig);
  if (touched) flows_.slot(id).state = table::FlowState::alive;
  flows_.slot(id).succeeds = succeeds && !touched;
  generations_.stamp(flows_.slot(id));
  flow_changed(id, announce, now);
  return true;
}

// A sixteenth of it is free: else a table that is full all the time would be mended all the time.
bool InternalCache::has_room() const {
  const auto has_some = [](const auto& table) { return table.total() < table.limit() - table.limit() / 16; };
  return has_some(flows_) && (expectations_ == nullptr || has_some(*expectations_));
}

void InternalCache::bury(table::FlowId id, Announce announce) {
  gone(id);
  flows_.mark_dead(id);
  flow_dead(id, announce);
}

void InternalCache::release(table::FlowId id) {
  gone(id);
  flow_leaving(id);
  flows_.release(id);
}

void InternalCache::count_traffic(const FlowRecord& record) {
  if (!record.flow.knows(has::kCounters)) return;
  traffic_.bytes += record.extra.counters_orig.bytes + record.extra.counters_reply.bytes;
  traffic_.packets += record.extra.counters_orig.packets + record.extra.counters_reply.packets;
}

void InternalCache::caught_up() {
  if (copies_ != nullptr) copies_->caught_up();
  found_.clear();
  overwritten_.clear();
  older_wait_ = false;
  if (!loading_) forget_ends();
}

void InternalCache::remember_end(TupleMap& ends, const Tuple& orig, std::uint32_t id) {
  ends[orig] = id;
  older_wait_ = true;
}

void InternalCache::forget_ends() {
  ended_.clear();
  taken_.clear();
}

// Our own hand has ended, or made anew, the flow of this tuple. What it makes has no id until the kernel tells one: by
// the id of the flow that was there, what events and dumps still tell of that one is known for old.
void InternalCache::replaced(const Flow& f) {
  if (f.knows(has::kId)) return;
  const auto id = find(f.orig);
  if (id == table::kNoFlow || !is_live(flows_.slot(id).state) || !flows_.slot(id).flow.knows(has::kId)) return;
  remember_end(taken_, f.orig, flows_.slot(id).flow.id);
}

// What a dump under way cannot tell better. A flow that our own hand made is known whole, and the dump may still show
// another one in its place, whose id the cached one must not get: its own end would be taken for that of a stranger.
std::uint32_t InternalCache::told_by(EventType type, const Flow& f) {
  return type == EventType::new_ && !f.knows(has::kId) ? ~0U : f.present;
}

// Whether `f` was told of before the flow ended. A later flow with its tuple has another id.
bool InternalCache::has_ended(const Flow& f) {
  if (!f.knows(has::kId)) return false;
  const auto has = [&f](TupleMap& map) {
    if (map.empty()) return false;
    const auto* id = map.find(f.orig);
    return id != nullptr && *id == f.id;
  };
  return has(ended_) || has(taken_);
}

void InternalCache::refresh(FlowRecord& record) {
  const auto id = find(record.flow.orig);
  if (id == table::kNoFlow || !is_live(flows_.slot(id).state)) return;
  if (differs(flows_.slot(id).flow, flows_.extra(id), record)) keep(record, false, Announce::yes);
}

bool InternalCache::has_flow(const Tuple& orig) {
  const auto id = find(orig);
  return id != table::kNoFlow && is_live(flows_.slot(id).state);
}

bool InternalCache::may_be_adjusted(const Tuple& orig) const {
  const auto id = flows_.find(orig);
  if (id == table::kNoFlow) return false;
  const auto nat = nat_of(flows_.slot(id).flow);
  return nat.snat || nat.dnat || nat.snat_port || nat.dnat_port;
}

// --- Expectations ---

void InternalCache::on_expectation(EventType type, const Expectation& e, Origin origin) {
  if (expectations_ == nullptr) return;
  const bool destroyed = type == EventType::destroy;
  if (loading_ && destroyed) died_expected_[e.expected] = 1;
  if (loading_ && !destroyed) died_expected_.erase(e.expected);
  const auto id = find(e);
  const bool live = id != table::kNoExpect && is_live(expectations_->slot(id).state);
  if (destroyed) {
    if (live) bury_expectation(id, announce_of(origin));
    return;
  }
  if (live && type != EventType::new_) {
    const auto now = clock_.now();
    expectations_->update(id, e, now);
    generations_.stamp(expectations_->slot(id));
    expectation_changed(id, announce_of(origin), now);
    return;
  }
  const bool first = id == table::kNoExpect && type == EventType::new_;
  if (id != table::kNoExpect) release_expectation(id);
  insert_expectation(e, first ? as_first(announce_of(origin)) : announce_of(origin));
}

void InternalCache::insert_expectation(const Expectation& e, Announce announce) {
  const auto now = clock_.now();
  const auto id = expectations_->insert(e, now);
  if (id == table::kNoExpect) return full();
  generations_.stamp(expectations_->slot(id));
  expectation_changed(id, announce, now);
}

void InternalCache::bury_expectation(table::ExpectId id, Announce announce) {
  expectations_->mark_dead(id);
  expectation_dead(id, announce);
}

void InternalCache::release_expectation(table::ExpectId id) {
  expectation_leaving(id);
  expectations_->release(id);
}

// --- Dumps of the kernel ---

void InternalCache::begin_load(Load load) {
  loading_ = true;
  if (!sweeps(load)) return;
  generations_.next();
  compared_ = {};
  found_.clear();
}

std::uint64_t& InternalCache::number_of(Difference d) {
  switch (d) {
    case Difference::missing:
      return compared_.missing;
    case Difference::left_over:
      return compared_.left_over;
    case Difference::differed:
      break;
  }
  return compared_.differed;
}

void InternalCache::found(const Tuple& orig, Difference d) {
  explained(orig);  // a flow is counted once
  found_[orig] = static_cast<std::uint32_t>(d);
  ++number_of(d);
}

// The dump and the cache did not differ: the event was only on its way.
void InternalCache::explained(const Tuple& orig) {
  const auto* d = found_.find(orig);
  if (d == nullptr) return;
  --number_of(static_cast<Difference>(*d));
  found_.erase(orig);
}

void InternalCache::load_flow(FlowRecord& record, Load load) {
  if (sweeps(load)) ++compared_.flows;
  const auto id = find(record.flow.orig);
  const bool live = id != table::kNoFlow && is_live(flows_.slot(id).state);
  const auto* const told = told_.find(record.flow.orig);
  // Events have told of one that came, and of its end: this is an earlier one, or a later one whose event waits.
  if (told != nullptr && !live) return;
  if (has_ended(record.flow)) return;
  if (copies_ != nullptr && is_of_a_peer(record, load, live ? id : table::kNoFlow)) return;
  Announce announce = Announce::no;
  bool other = false;  // the tuple was used again: this is not the flow that is cached
  bool differed = false;
  if (live) {
    const auto& slot = flows_.slot(id);
    other = is_another(slot.flow, record.flow);
    if (told != nullptr && other) {  // an earlier flow with this tuple, or a later one whose event was lost
      if (!read_again(record.flow.orig, record).value_or(false) || !is_another(slot.flow, record.flow)) return;
    }
    make_whole(record);
    if (told != nullptr && !other) record.flow.present &= ~*told;
    differed = other || differs(slot.flow, flows_.extra(id), record);
    if (sweeps(load) && (differed || load == Load::repeat)) announce = Announce::yes;
  } else if (sweeps(load)) {
    announce = Announce::yes;
  }
  const bool kept = keep(record, false, announce);
  if (copies_ != nullptr && load == Load::start) copies_->found(record.flow);
  if (!kept || !sweeps(load) || (live && !differed)) return;
  found(record.flow.orig, live ? Difference::differed : Difference::missing);
}

// A packet has shown so. `fresh`: it is a new flow. What is cached was no copy for certain.
void InternalCache::lives_here(const Tuple& orig, bool fresh) {
  fresh || (copies_->contains(orig) && has_flow(orig)) ? copies_->forget(orig) : copies_->touched(orig);
}

// A copy is told to nobody. But whose the flows are that were there at the start nobody knows: they are told, for else
// nobody might, and their ends are not, until an event shows that they live here.
bool InternalCache::is_of_a_peer(const FlowRecord& record, Load load, table::FlowId id) {
  if (load == Load::start) return false;
  if (copies_->has_changed(record.flow)) lives_here(record.flow.orig, false);  // the event was lost
  if (!copies_->contains(record.flow.orig)) return false;
  if (id != table::kNoFlow) {
    generations_.stamp(flows_.slot(id));
    if (load == Load::repeat) flow_changed(id, Announce::yes, clock_.now());
  }
  return true;
}

void InternalCache::load_expectation(Expectation& e, Load load) {
  if (expectations_ == nullptr || died_expected_.find(e.expected) != nullptr) return;
  const auto id = find(e);
  if (id != table::kNoExpect && is_live(expectations_->slot(id).state)) {
    const auto now = clock_.now();
    expectations_->update(id, e, now);
    generations_.stamp(expectations_->slot(id));
    expectation_changed(id, load == Load::repeat ? Announce::yes : Announce::no, now);
    return;
  }
  if (id != table::kNoExpect) release_expectation(id);
  insert_expectation(e, sweeps(load) ? Announce::yes : Announce::no);
}

void InternalCache::end_load() {
  loading_ = false;
  if (!older_wait_) forget_ends();
  died_expected_.clear();
  told_.clear();
}

bool InternalCache::has_leftovers() const {
  return ended_.has_leftovers() || taken_.has_leftovers() || overwritten_.has_leftovers() || told_.has_leftovers() ||
         died_expected_.has_leftovers() || found_.has_leftovers();
}

bool InternalCache::free_leftovers(TimePoint budget_end) {
  for (auto* map : {&ended_, &taken_, &overwritten_, &told_, &died_expected_, &found_}) {
    while (map->has_leftovers()) {
      map->free_some();
      if (clock_.now() >= budget_end) return !has_leftovers();
    }
  }
  return true;
}

// Entries that came after the dump began carry its number as well, so what has another one was not in the kernel.
bool InternalCache::sweep(Walk& walk, Scope scope, TimePoint budget_end) {
  const auto gone = [this](const auto& slot) { return is_live(slot.state) && generations_.is_old(slot); };
  return generations_.each(
      walk, scope, budget_end, gone,
      [this](table::FlowId id) {
        if (is_in_kernel(flows_.slot(id).flow)) return generations_.stamp(flows_.slot(id));
        if (copies_ != nullptr && copies_->ended(flows_.slot(id).flow.orig)) return release(id);
        flows_.copy_to(id, scratch_);
        flow_ended(scratch_);
        found(scratch_.flow.orig, Difference::left_over);
        bury(id, Announce::yes);
      },
      [this](table::ExpectId id) { bury_expectation(id, Announce::yes); });
}

bool InternalCache::flush(Walk& walk, TimePoint budget_end) {
  return generations_.flush(
      walk, budget_end, [this](table::FlowId id) { release(id); },
      [this](table::ExpectId id) { release_expectation(id); });
}

// --- What the peers tell, written into the kernel ---

Injection::Wanted SyncCache::judge(wire::MsgType type, const Flow& f) {
  using enum Injection::Wanted;
  const bool ends = type == wire::MsgType::flow_delete;
  const auto id = find(f.orig);
  const bool live = id != table::kNoFlow && is_live(flows_.slot(id).state);
  if (!live && id != table::kNoFlow && !ends && InjectedCopies::same(f, flows_.slot(id).flow))
    return no;  // has not heard yet
  if (!live) return !ends && injected_->is_another(f) ? anew : yes;
  auto& slot = flows_.slot(id);
  const bool sure = !injected_->contains(f.orig);
  if (type == wire::MsgType::flow_update && further_on(slot.flow, f)) {
    // An older picture; or packets pass over there, and it was older before.
    if (sure) doubt(slot);
    return no;
  }
  // Of a bulk, for the most part, and if the peer has taken it from its kernel at its start it may be old.
  if (type == wire::MsgType::flow_new) {
    const bool begun = !sure && progress_of(slot.flow) == 0;
    return progress_of(f) == 0 && (begun || closed_before(slot.flow, f)) ? yes : no;
  }
  if (!sure) return yes;
  // The flow was taken over from the peer, which does not know yet.
  if (injected_->was_touched(f.orig) && slot.queue != table::Queue::none) return no;
  // Of a connection that closes soon after it has moved, the end may be the first word. Else it is that of a copy.
  if (ends) return closed_before(f, slot.flow) ? yes : no;
  return injected_->is_known(f) || InjectedCopies::same(f, slot.flow) ? no : yes;
}

// As of what was there at the start: told as new, its end not.
void SyncCache::doubt(table::FlowSlot& slot) {
  injected_->given(slot.flow);
  slot.state = table::FlowState::new_;
}

// What is the peer's from now on is no longer told.
void SyncCache::written(const kernel::WriteResult& result, const Flow& f) {
  outdate_dump(f.orig);
  if (!injected_->written(result, f)) return;
  if (const auto id = find(f.orig); id != table::kNoFlow) release(id);
}

// --- For people ---

std::unique_ptr<Job> InternalCache::dump(const Command& command, const Client& client) {
  if (command.flows())
    return std::make_unique<FlowDumpJob>(flows_, clock_, client,
                                         FlowDumpOptions{.form = command.form, .expires_in = {}});
  if (expectations_ == nullptr) return nullptr;
  return std::make_unique<ExpectationDumpJob>(*expectations_, clock_, client, command.form);
}

text::StoreNumbers InternalCache::expectation_numbers() const {
  return expectations_ == nullptr ? text::CacheNumbers{} : numbers_of(*expectations_);
}

}  // namespace ctsync::node
