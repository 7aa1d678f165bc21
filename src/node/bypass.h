// SPDX-License-Identifier: GPL-2.0-or-later
// DisableInternalCache: nothing is kept, every event of somebody else's becomes a message at once (NOTRACK alone).
//
// One thing is remembered: which flows of the kernel are copies that the peers gave us (DisableExternalCache) and that
// no packet has touched since. The kernel lets such a copy run out, for it sees none of the flow's packets; to tell the
// peers so would end the live flow over there.
#pragma once

#include <unordered_map>

#include "ctsync/base/log.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/wire/packer.h"
#include "internal_store.h"

namespace ctsync::node {

class Bypass final : public InternalStore {
 public:
  // Everything must outlive the store. `most_copies`: how many are remembered.
  Bypass(kernel::KernelTable& kernel, const FlowFilter& filter, replication::Notrack& engine, wire::Packer& packer,
         Log& log, bool expectations, std::uint64_t seed, std::size_t most_copies);

  void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void on_expectation(kernel::EventType type, const Expectation& e, kernel::Origin origin) override;
  void caught_up() override { ++look_; }
  void refresh(FlowRecord& record) override;
  bool has_flow(const Tuple& orig) override;
  bool may_be_adjusted(const Tuple&) const override { return true; }
  bool keeps_flows() const override { return false; }
  bool keeps_expectations() const override { return false; }
  std::unique_ptr<Job> dump(const Command& command, const Client& client) override;
  text::StoreNumbers flow_numbers() const override { return flows_; }
  text::StoreNumbers expectation_numbers() const override { return expectations_; }

  // A peer's flow was written into the kernel, or removed from it, in the peer's name.
  void copied(const Tuple& orig);
  void uncopied(const Tuple& orig) { copies_.erase(key_of(orig)); }

 private:
  bool copy_ended(const Tuple& orig);
  std::uint64_t key_of(const Tuple& orig) const { return std::uint64_t{hash_(orig)} << 32 | other_hash_(orig); }

  kernel::KernelTable& kernel_;
  const FlowFilter& filter_;
  replication::Notrack& engine_;
  wire::Packer& packer_;
  Log& log_;
  const bool with_expectations_;
  const std::size_t most_copies_;
  TupleHash hash_;
  TupleHash other_hash_;
  // By hashes of the original tuple: after which look at the events the peer gave it.
  std::unordered_map<std::uint64_t, std::uint32_t> copies_;
  std::uint32_t look_ = 0;
  text::BypassNumbers flows_;
  text::BypassNumbers expectations_;
  FlowRecord scratch_;
};

}  // namespace ctsync::node
