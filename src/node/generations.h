// SPDX-License-Identifier: GPL-2.0-or-later
// The tables of a cache, their entries stamped with the number of the last mark: so a flush tells what was there when
// it was asked for, and a sweep what a dump did not have. Walks go in slices.
#pragma once

#include <cstdint>

#include "internal_store.h"

namespace ctsync::node {

class Generations {
 public:
  // `expectations`: nullptr if they are not synchronised. Everything must outlive it.
  Generations(table::FlowTable& flows, table::ExpectationTable* expectations, const Clock& clock)
      : flows_(flows), expectations_(expectations), clock_(clock) {}

  // Of an entry that is inserted or seen. `Slot`: FlowSlot or ExpectSlot.
  template <typename Slot>
  void stamp(Slot& slot) const {
    slot.generation = current_;
  }
  template <typename Slot>
  bool is_old(const Slot& slot) const {
    return slot.generation != current_;
  }
  // What is in the tables is old from here on.
  void next() {
    if (++current_ == 0) ++current_;  // 0 is that of a fresh slot
  }

  // What was there when the flush began counts as gone.
  void begin_flush(Scope scope) {
    next();
    flushing_ = {.flows = scope.flows, .expectations = scope.expectations && expectations_ != nullptr};
  }
  bool is_flushed(const table::FlowSlot& slot) const { return flushing_.flows && is_old(slot); }
  bool is_flushed(const table::ExpectSlot& slot) const { return flushing_.expectations && is_old(slot); }
  // Calls release_flow(id) and release_expectation(id) for that, until `budget_end`. True when it is through.
  template <typename F, typename E>
  bool flush(Walk& walk, TimePoint budget_end, F&& release_flow, E&& release_expectation) {
    const auto goes = [this](const auto& slot) {
      return slot.state != table::FlowState::free && this->is_flushed(slot);
    };
    if (!each(walk, flushing_, budget_end, goes, release_flow, release_expectation)) return false;
    flushing_ = {.flows = false, .expectations = false};
    return true;
  }

  // Calls on_flow(id) and on_expectation(id) for the entries that are meant, until `budget_end`. They may go meanwhile.
  // True when it is through.
  template <typename M, typename F, typename E>
  bool each(Walk& walk, Scope scope, TimePoint budget_end, M&& is_meant, F&& on_flow, E&& on_expectation) {
    constexpr std::uint32_t kAtOnce = 32;  // between two looks at the clock
    while (scope.flows && walk.flow < flows_.end_id()) {
      const auto id = walk.flow++;
      if (is_meant(flows_.slot(id))) on_flow(id);
      if (walk.flow % kAtOnce == 0 && clock_.now() >= budget_end) return false;
    }
    while (scope.expectations && expectations_ != nullptr && walk.expectation < expectations_->end_id()) {
      const auto id = walk.expectation++;
      if (is_meant(expectations_->slot(id))) on_expectation(id);
      if (walk.expectation % kAtOnce == 0 && clock_.now() >= budget_end) return false;
    }
    return true;
  }

 private:
  table::FlowTable& flows_;
  table::ExpectationTable* expectations_;
  const Clock& clock_;
  std::uint16_t current_ = 1;
  Scope flushing_{.flows = false, .expectations = false};
};

}  // namespace ctsync::node
