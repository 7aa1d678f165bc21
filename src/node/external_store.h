// SPDX-License-Identifier: GPL-2.0-or-later
// What the peers have: kept in a cache until it is committed (spec replication.md 4.3), or, with DisableExternalCache,
// put straight into the kernel (5.5). The mirror of InternalStore.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"
#include "ctsync/table/flow_sums.h"
#include "ctsync/wire/header.h"
#include "internal_store.h"

namespace ctsync::node {

// What a peer has told anew: everything, or its flows of some buckets.
struct Told {
  table::Origin from{};                             // the first of the messages that tell it
  std::uint32_t last = 0;                           // the last number that was heard of the peer
  std::shared_ptr<const table::Buckets> buckets{};  // nullptr: everything
  bool nothing_holds = false;                       // there is no such peer any more: all of its owner's has ended
};

class ExternalStore {
 public:
  virtual ~ExternalStore() = default;

  // Called when something was not taken because there is no room for it.
  std::function<void()> full = [] {};

  // A message of a peer. `type` tells what has happened to it there.
  virtual void take(wire::MsgType type, const FlowRecord& record, const table::Origin& from) = 0;
  virtual void take(wire::MsgType type, const Expectation& e, const table::Origin& from) = 0;
  // End of a turn of the loop: what was collected is done.
  virtual void end_turn() {}

  virtual std::optional<TimePoint> next_deadline() const { return std::nullopt; }
  virtual void on_timer() {}

  // All that the peer `told.from.owner` has was told in its session `told.from.session`, in messages from
  // `told.from.seq` to `told.last`: what else is here of it has ended. Goes on from `walk` until `budget_end`, counts what it removes;
  // true when it is through.
  virtual bool sweep(const Told& /*told*/, Walk&, TimePoint /*budget_end*/, std::uint32_t& /*removed*/) { return true; }

  // As of InternalStore.
  virtual void begin_flush(Scope) {}
  virtual bool flush(Walk&, TimePoint /*budget_end*/) { return true; }
  virtual std::unique_ptr<Job> dump(const Command& command, const Client& client) = 0;
  virtual text::StoreNumbers flow_numbers() const = 0;
  virtual text::StoreNumbers expectation_numbers() const = 0;
};

}  // namespace ctsync::node
