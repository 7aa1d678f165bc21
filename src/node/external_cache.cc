// SPDX-License-Identifier: GPL-2.0-or-later
#include "external_cache.h"

#include "ctsync/flow/progress.h"
#include "ctsync/replication/sequence.h"
#include "dump_job.h"
#include "internal_cache.h"
#include "mirror.h"

namespace ctsync::node {

using wire::MsgType;

namespace {

// Whether an update can make the kernel's entry what it should be. It can't take a mark or labels away, and a flow that has
// come less far than the last one with its tuple is another one.
bool can_be_updated(const Flow& there, const Flow& wanted) {
  return same_nat(there, wanted) && !further_on(there, wanted) && !closed_before(there, wanted) &&
         (there.present & ~wanted.present & (has::kMark | has::kLabels)) == 0;
}

}  // namespace

ExternalCache::ExternalCache(table::FlowTable& flows, table::ExpectationTable* expectations, Picture picture,
                             std::optional<Duration> cache_timeout, const Clock& clock)
    : flows_(flows),
      expectations_(expectations),
      picture_(picture),
      clock_(clock),
      generations_(flows, expectations, clock) {
  if (!cache_timeout) return;
  flow_expiry_.emplace(*cache_timeout, clock.now());
  if (expectations_ != nullptr) expect_expiry_.emplace(*cache_timeout, clock.now());
}

void ExternalCache::take(MsgType type, const FlowRecord& record, const table::Origin& from) {
  if (!is_watched(record.flow.orig, from.owner)) return take_flow(type, record, from);
  const auto copy = [&](FlowRecord& to) -> const FlowRecord* {
    const auto id = flows_.find(record.flow.orig);
    if (id == table::kNoFlow || generations_.is_flushed(flows_.slot(id))) return nullptr;
    flows_.copy_to(id, to);
    return &to;
  };
  FlowRecord before;
  FlowRecord after;
  const auto* const was = copy(before);
  take_flow(type, record, from);
  on_mended_(was, copy(after));
}

void ExternalCache::take_flow(MsgType type, const FlowRecord& record, const table::Origin& from) {
  const auto id = flows_.find(record.flow.orig);
  if (keeps_sums_ && id != table::kNoFlow) {
    const auto owner = table::origin_of(flows_.slot(id).link).owner;
    if (owner != from.owner) on_moved_(owner, bucket_of(record.flow.orig));
  }
  if (type != MsgType::flow_delete) return put(type, record, id, from);
  if (id != table::kNoFlow) release(id);
}

// `id`: what there is under its tuple already, if anything.
void ExternalCache::put(MsgType type, const FlowRecord& record, table::FlowId id, const table::Origin& from) {
  const auto now = clock_.now();
  if (id == table::kNoFlow) {
    id = flows_.insert(record, now);
    if (id == table::kNoFlow) return full();
    if (mirror_ != nullptr) mirror_->changed(id);
  } else {
    discount(id);
    if (type == MsgType::flow_update && !generations_.is_flushed(flows_.slot(id))) {
      merge(id, record, now);
    } else if (!renew(id, record, now)) {
      return full();
    }
  }
  auto& slot = flows_.slot(id);
  generations_.stamp(slot);
  slot.link = table::link_of(from);
  slot.committed = false;
  count(id);
  if (flow_expiry_) flow_expiry_->touched(id, now);
}

// The earlier flow has ended. False: there is no memory, and it is gone.
bool ExternalCache::renew(table::FlowId id, const FlowRecord& record, TimePoint now) {
  if (mirror_ != nullptr) mirror_->leaving(id);
  if (!flows_.renew(id, record, now)) {
    if (flow_expiry_) flow_expiry_->removed(id);
    return false;
  }
  if (mirror_ != nullptr) mirror_->changed(id);
  return true;
}

void ExternalCache::merge(table::FlowId id, const FlowRecord& record, TimePoint now) {
  const bool mirrored = mirror_ != nullptr && mirror_->mirrored().contains(id);
  const Flow before = mirrored ? flows_.slot(id).flow : Flow{};
  const FlowPrint print_before = mirrored ? print(id) : FlowPrint{};
  if (picture_ == Picture::whole) {
    // An update may be of a later flow with this tuple whose beginning is told in no other message: the sender's queue
    // holds one message a flow. Nothing of the earlier flow, NAT and labels above all, may stay.
    flows_.replace(id, record, now);
  } else {
    flows_.update(id, record, now);
  }
  if (mirror_ == nullptr || (mirrored && print(id) == print_before)) return;
  if (mirrored && !can_be_updated(before, flows_.slot(id).flow)) mirror_->leaving(id);
  mirror_->changed(id);
}

void ExternalCache::set_timeout(Duration timeout) {
  if (flow_expiry_) flow_expiry_->set_timeout(timeout);
  if (expect_expiry_) expect_expiry_->set_timeout(timeout);
}

bool ExternalCache::is_copy(table::FlowId id) const { return mirror_ != nullptr && mirror_->mirrored().contains(id); }

bool ExternalCache::set_committed(table::FlowId id, bool committed) {
  flows_.slot(id).committed = committed;
  return mirror_ != nullptr && mirror_->committed(id, committed);
}

void ExternalCache::take(MsgType type, const Expectation& e, const table::Origin& from) {
  if (expectations_ == nullptr) return;
  const auto now = clock_.now();
  auto id = expectations_->find(e);
  const bool stays =
      type == MsgType::expect_update && id != table::kNoExpect && !generations_.is_flushed(expectations_->slot(id));
  if (id != table::kNoExpect && !stays) {
    release_expectation(id);
    id = table::kNoExpect;
  }
  if (type == MsgType::expect_delete) return;
  if (id == table::kNoExpect) {
    id = expectations_->insert(e, now);
    if (id == table::kNoExpect) return full();
  } else {
    expectations_->update(id, e, now);
  }
  generations_.stamp(expectations_->slot(id));
  expectations_->slot(id).link = table::link_of(from);
  if (expect_expiry_) expect_expiry_->touched(id, now);
}

FlowPrint ExternalCache::print(table::FlowId id) const {
  return print_of(flows_.slot(id).flow, flows_.extra(id), true);
}

void ExternalCache::count(table::FlowId id) {
  if (keeps_sums_) sums_.add(table::origin_of(flows_.slot(id).link).owner, print(id));
}

void ExternalCache::discount(table::FlowId id) {
  if (keeps_sums_) sums_.remove(table::origin_of(flows_.slot(id).link).owner, print(id));
}

void ExternalCache::release(table::FlowId id) {
  discount(id);
  if (flow_expiry_) flow_expiry_->removed(id);
  forget(id);
}

void ExternalCache::forget(table::FlowId id) {
  if (mirror_ != nullptr) mirror_->leaving(id);
  flows_.release(id);
}

void ExternalCache::release_expectation(table::ExpectId id) {
  if (expect_expiry_) expect_expiry_->removed(id);
  expectations_->release(id);
}

bool ExternalCache::sweep(const Told& told, Walk& walk, TimePoint budget_end, std::uint32_t& removed) {
  if (!told.nothing_holds && replication::is_before(told.last, told.from.seq)) return true;
  const auto has_ended = [&now = told.from, last = told.last, all = told.nothing_holds](const auto& slot) {
    if (!is_live(slot.state)) return false;
    const auto o = table::origin_of(slot.link);
    if (o.owner != now.owner) return false;
    if (all) return true;
    if (o.session > now.session) return false;
    return o.session < now.session || o.seq - now.seq > last - now.seq;  // also what a damaged number told
  };
  return generations_.each(
      walk, {.flows = true, .expectations = told.buckets == nullptr}, budget_end, has_ended,
      [&](table::FlowId id) {
        const Tuple& orig = flows_.slot(id).flow.orig;
        if (told.buckets != nullptr && !told.buckets->test(bucket_of(orig))) return;
        if (is_watched(orig, told.from.owner)) {
          FlowRecord before;
          flows_.copy_to(id, before);
          on_mended_(&before, nullptr);
        }
        release(id);
        ++removed;
      },
      [&](table::ExpectId id) { release_expectation(id), ++removed; });
}

bool ExternalCache::flush(Walk& walk, TimePoint budget_end) {
  return generations_.flush(
      walk, budget_end, [this](table::FlowId id) { release(id); },
      [this](table::ExpectId id) { release_expectation(id); });
}

std::optional<TimePoint> ExternalCache::next_deadline() const {
  return earlier(flow_expiry_ ? flow_expiry_->next_deadline() : std::nullopt,
                 expect_expiry_ ? expect_expiry_->next_deadline() : std::nullopt);
}

// When a peer has died, all that it told expires within a moment: a part of it now, the rest in the next turns.
void ExternalCache::on_timer() {
  constexpr std::size_t kMost = 2000;
  const auto now = clock_.now();
  if (flow_expiry_) flow_expiry_->on_timer(now, kMost, [this](std::uint32_t id) { forget(id); });
  if (expect_expiry_) expect_expiry_->on_timer(now, kMost, [this](std::uint32_t id) { expectations_->release(id); });
}

std::optional<std::uint32_t> ExternalCache::expires_in(table::FlowId id) const {
  if (!flow_expiry_) return std::nullopt;
  return flow_expiry_->seconds_left(flows_.slot(id).updated, clock_.now());
}

std::unique_ptr<Job> ExternalCache::dump(const Command& command, const Client& client) {
  if (command.flows()) {
    FlowDumpOptions options{.form = command.form, .expires_in = {}};
    if (flow_expiry_) options.expires_in = [this](table::FlowId id) { return expires_in(id); };
    return std::make_unique<FlowDumpJob>(flows_, clock_, client, std::move(options));
  }
  if (expectations_ == nullptr) return nullptr;
  return std::make_unique<ExpectationDumpJob>(*expectations_, clock_, client, command.form);
}

text::StoreNumbers ExternalCache::flow_numbers() const { return numbers_of(flows_); }

text::StoreNumbers ExternalCache::expectation_numbers() const {
  return expectations_ == nullptr ? text::CacheNumbers{} : numbers_of(*expectations_);
}

}  // namespace ctsync::node
