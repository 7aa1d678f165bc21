// SPDX-License-Identifier: GPL-2.0-or-later
// The external cache. In ALARM mode entries that are not repeated expire.
#pragma once

#include <cstdint>
#include <optional>

#include "expiry.h"
#include "external_store.h"
#include "generations.h"
#include "owner_sums.h"

namespace ctsync::node {

// What a message of a peer tells of a flow.
enum class Picture : std::uint8_t {
  whole,  // all that the peer's internal cache knows: what is not told is not so, or no more
  part,   // what an event told: the peer may have no internal cache (NOTRACK)
};

class Mirror;

class ExternalCache final : public ExternalStore {
 public:
  // `expectations` is nullptr without ExpectationSync. `cache_timeout`: ALARM. Everything must outlive the cache.
  ExternalCache(table::FlowTable& flows, table::ExpectationTable* expectations, Picture picture,
                std::optional<Duration> cache_timeout, const Clock& clock);

  // Keeps sums from now on; the cache is empty still. `on_moved` is called when a flow that `owner` told last is told by
  // another one, or its end is.
  using OnMoved = std::function<void(std::uint32_t owner, std::uint32_t bucket)>;
  void keep_sums(OnMoved on_moved) {
    keeps_sums_ = true;
    on_moved_ = std::move(on_moved);
  }
  void peer_appeared(replication::PeerId peer, std::uint32_t owner) { sums_.appeared(peer, owner); }
  const table::FlowSums* sums_of(std::uint32_t owner) const { return sums_.of(owner); }
  // Called when a message of peer `owner` changes a flow of these buckets: what was there, if anything, and what is there
  // now, if anything. Empty: no more.
  using OnMended = std::function<void(const FlowRecord* before, const FlowRecord* after)>;
  void watch(std::uint32_t owner, std::shared_ptr<const table::Buckets> buckets, OnMended on_mended) {
    watched_owner_ = owner;
    watched_ = std::move(buckets);
    on_mended_ = std::move(on_mended);
  }
  std::uint32_t watched_owner() const { return watched_owner_; }

  void take(wire::MsgType type, const FlowRecord& record, const table::Origin& from = {}) override;
  void take(wire::MsgType type, const Expectation& e, const table::Origin& from = {}) override;
  std::optional<TimePoint> next_deadline() const override;
  void on_timer() override;

  bool sweep(const Told& told, Walk& walk, TimePoint budget_end, std::uint32_t& removed) override;
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
  // WarmStandby: whether the kernel has a copy of it.
  bool is_copy(table::FlowId id) const;
  // Whether the kernel has been given the flow as it is here. True: the kernel still has a copy of an earlier flow with this tuple, which is to be removed first.
  bool set_committed(table::FlowId id, bool committed);
  // ALARM: of what is told from now on.
  void set_timeout(Duration timeout);
  // WarmStandby. It must outlive the cache, or never be called again.
  void set_mirror(Mirror* mirror) { mirror_ = mirror; }
  Mirror* mirror() const { return mirror_; }

 private:
  void take_flow(wire::MsgType type, const FlowRecord& record, const table::Origin& from);
  bool is_watched(const Tuple& orig, std::uint32_t owner) const {
    return watched_ != nullptr && watched_owner_ == owner && watched_->test(bucket_of(orig));
  }
  FlowPrint print(table::FlowId id) const;
  void count(table::FlowId id);
  void discount(table::FlowId id);
  void put(wire::MsgType type, const FlowRecord& record, table::FlowId id, const table::Origin& from);
  bool renew(table::FlowId id, const FlowRecord& record, TimePoint now);
  void merge(table::FlowId id, const FlowRecord& record, TimePoint now);
  void forget(table::FlowId id);
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
  Mirror* mirror_ = nullptr;
  bool keeps_sums_ = false;
  OnMoved on_moved_;
  OwnerSums sums_;
  std::uint32_t watched_owner_ = 0;
  std::shared_ptr<const table::Buckets> watched_;
  OnMended on_mended_;
};

}  // namespace ctsync::node
