// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/flow_table.h"

#include <algorithm>

namespace ctsync::table {
namespace {

// The side-record bits of an update or insertion that are worth keeping, given those the flow has already.
std::uint32_t extra_bits(const FlowRecord& r, std::uint32_t present) {
  auto bits = r.flow.present & has::kExtra;
  const auto& labels = r.extra.labels;
  if ((bits & has::kLabels) != 0 && (present & has::kLabels) == 0 &&
      std::all_of(labels.begin(), labels.end(), [](std::uint32_t w) { return w == 0; })) {
    bits &= ~has::kLabels;
  }
  return bits;
}

}  // namespace

FlowTable::FlowTable(std::uint32_t limit, std::uint32_t expected, std::uint64_t seed)
    : limit_(limit), hash_(seed), index_(std::min(expected, limit)) {}

FlowId FlowTable::no_memory() {
  ++stats_.create_failed;
  ++stats_.create_no_memory;
  return kNoFlow;
}

FlowId FlowTable::insert(const FlowRecord& r, TimePoint now) {
  if (total() >= limit_) {
    ++stats_.create_failed;
    ++stats_.create_no_space;
    return kNoFlow;
  }
  const auto id = slots_.allocate();
  if (id == kNoFlow) return no_memory();
  auto& s = slots_.at(id);
  const auto extra = extra_bits(r, 0);
  s.extra = 0;
  s.state = FlowState::free;
  if ((extra != 0 && !attach_extra(s)) || !index_.insert(hash_(r.flow.orig), id)) {
    drop_extra(s);
    slots_.release(id);
    return no_memory();
  }
  fill(s, r, extra, now);
  ++live_;
  ++stats_.created;
  return id;
}

void FlowTable::fill(FlowSlot& s, const FlowRecord& r, decltype(Flow::present) extra, TimePoint now) {
  s.flow = r.flow;
  s.flow.present = (r.flow.present & ~has::kExtra) | extra;
  if (extra != 0) copy_extra(extras_.at(s.extra - 1), r.extra, extra);
  s.created = s.updated = seconds_of(now);
  s.link = {};
  s.state = FlowState::new_;
  s.told = s.committed = s.untouched = s.succeeds = false;
  s.queue = Queue::none;
  s.generation = 0;
}

bool FlowTable::renew(FlowId id, const FlowRecord& r, TimePoint now) {
  auto& s = slots_.at(id);
  const auto extra = extra_bits(r, 0);
  if (extra == 0) {
    drop_extra(s);
  } else if (s.extra == 0 && !attach_extra(s)) {
    release(id);
    no_memory();
    return false;
  }
  fill(s, r, extra, now);
  ++stats_.destroyed;
  ++stats_.created;
  return true;
}

void FlowTable::update(FlowId id, const FlowRecord& r, TimePoint now) {
  auto& s = slots_.at(id);
  const auto before = s.flow.present;
  auto extra = extra_bits(r, before);
  const bool room = extra == 0 || s.extra != 0 || attach_extra(s);
  if (!room) extra = 0;
  merge(s.flow, r.flow);
  s.flow.present &= ~has::kExtra | before | extra;
  if (extra != 0) copy_extra(extras_.at(s.extra - 1), r.extra, extra);
  s.updated = seconds_of(now);
  s.state = FlowState::alive;
  ++(room ? stats_.updated : stats_.update_failed);
}

void FlowTable::replace(FlowId id, const FlowRecord& r, TimePoint now) {
  auto& s = slots_.at(id);
  const bool labelled = s.flow.knows(has::kLabels) && r.flow.knows(has::kLabels);
  if (!labelled) drop_extra(s);
  const Tuple orig = s.flow.orig;
  s.flow = {};
  s.flow.orig = orig;
  if (labelled) s.flow.present = has::kLabels;  // so that it stays known when they were cleared
  update(id, r, now);
}

void FlowTable::mark_dead(FlowId id) {
  slots_.at(id).state = FlowState::dead;
  --live_;
  ++stats_.destroyed;
}

void FlowTable::release(FlowId id) {
  auto& s = slots_.at(id);
  if (s.state != FlowState::dead) mark_dead(id);
  index_.erase(hash_(s.flow.orig), id);
  drop_extra(s);
  s.state = FlowState::free;
  slots_.release(id);
}

bool FlowTable::attach_extra(FlowSlot& s) {
  const auto x = extras_.allocate();
  if (x == decltype(extras_)::kNone) return false;
  s.extra = x + 1;
  return true;
}

void FlowTable::drop_extra(FlowSlot& s) {
  if (s.extra == 0) return;
  extras_.release(s.extra - 1);
  s.extra = 0;
}

void FlowTable::copy_to(FlowId id, FlowRecord& out) const {
  const auto& s = slots_.at(id);
  out.flow = s.flow;
  if (s.extra != 0) copy_extra(out.extra, extras_.at(s.extra - 1), s.flow.present);
}

std::size_t FlowTable::memory_bytes() const {
  return slots_.memory_bytes() + extras_.memory_bytes() + index_.memory_bytes();
}

}  // namespace ctsync::table
