// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/expectation_table.h"

namespace ctsync::table {

ExpectationTable::ExpectationTable(std::uint32_t limit, std::uint64_t seed)
    : limit_(limit), hash_(seed), expected_hash_(~seed), index_(0) {}

ExpectId ExpectationTable::find(const Expectation& e) const {
  return index_.find(hash(e), [&](ExpectId id) { return same_key(slots_.at(id).expect, e); });
}

ExpectId ExpectationTable::insert(const Expectation& e, TimePoint now) {
  if (total() >= limit_) {
    ++stats_.create_failed;
    ++stats_.create_no_space;
    return kNoExpect;
  }
  const auto id = slots_.allocate();
  if (id != kNoExpect) slots_.at(id).state = FlowState::free;
  if (id == kNoExpect || !index_.insert(hash(e), id)) {
    if (id != kNoExpect) slots_.release(id);
    ++stats_.create_failed;
    ++stats_.create_no_memory;
    return kNoExpect;
  }
  auto& s = slots_.at(id);
  s = ExpectSlot{};
  s.expect = e;
  s.created = s.updated = seconds_of(now);
  s.state = FlowState::new_;
  ++live_;
  ++stats_.created;
  return id;
}

void ExpectationTable::update(ExpectId id, const Expectation& e, TimePoint now) {
  auto& s = slots_.at(id);
  s.expect = e;
  s.updated = seconds_of(now);
  s.state = FlowState::alive;
  ++stats_.updated;
}

void ExpectationTable::mark_dead(ExpectId id) {
  slots_.at(id).state = FlowState::dead;
  --live_;
  ++stats_.destroyed;
}

void ExpectationTable::release(ExpectId id) {
  auto& s = slots_.at(id);
  if (s.state != FlowState::dead) mark_dead(id);
  index_.erase(hash(s.expect), id);
  s.state = FlowState::free;
  slots_.release(id);
}

}  // namespace ctsync::table
