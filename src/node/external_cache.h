// SPDX-License-Identifier: GPL-2.0-or-later
// The external cache. In ALARM mode entries that are not repeated expire.
#pragma once

#include <cstdint>
#include <optional>

#include "expiry.h"
#include "external_store.h"
#include "generations.h"

namespace ctsync::node {

// What a message of a peer tells of a flow.
enum class Picture : std::uint8_t {
  whole,  // all that the peer's internal cache knows: what is not told is not so, or no more
  part,   // what an event told: the peer may have no internal cache (NOTRACK)
};

class ExternalCache final : public ExternalStore {
 public:
  // `expectations` is nullptr without ExpectationSync. `cache_timeout`: ALARM. Everything must outlive the cache.
  ExternalCache(table::FlowTable& flows, table::ExpectationTable* expectations, Picture picture,
                std::optional<Duration> cache_timeout, const Clock& clock);

  void take(wire::MsgType type, const FlowRecord& record, const table::Origin& from = {}) override;
  void take(wire::MsgType type, const Expectation& e, const table::Origin& from = {}) override;
  std::optional<TimePoint> next_deadline() const override;
  void on_timer() override;

  bool sweep(const table::Origin& now, Walk& walk, TimePoint budget_end, std::uint32_t& removed) override;
  void begin_flush(Scope scope) override { generations_.begin_flush(scope); }
  bool flush(Walk& walk, TimePoint budget_end) override;
  std::unique_ptr<Job> dump(const Command& command, const Client& client) override;
  text::StoreNumbers flow_numbers() const override;
  text::StoreNumbers expectation_numbers() const override;

  // To walk over; what shows() denies is about to be flushed.
  const table::FlowTable& flows() const { return flows_; }
  const table::ExpectationTable* expectations() const { return expectations_; }
  bool shows(const table::FlowSlot& s) const { return is_live(s.state) && !generations_.is_flushed(s); }
  bool shows(const table::ExpectSlot& s) const { return is_live(s.state) && !generations_.is_flushed(s); }

 private:
  void put(const FlowRecord& record, table::FlowId id, const table::Origin& from);
  void release(table::FlowId id);
  void release_expectation(table::ExpectId id);
  std::optional<std::uint32_t> expires_in(table::FlowId id) const;  // seconds; ALARM only

  table::FlowTable& flows_;
  table::ExpectationTable* expectations_;
  const Picture picture_;
  const Clock& clock_;
  std::optional<Expiry> flow_expiry_;
  std::optional<Expiry> expect_expiry_;
  Generations generations_;
};

}  // namespace ctsync::node
