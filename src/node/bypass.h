// SPDX-License-Identifier: GPL-2.0-or-later
// DisableInternalCache: nothing is kept, every event of somebody else's becomes a message at once (NOTRACK alone).
#pragma once

#include "copies.h"
#include "ctsync/base/log.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/wire/packer.h"
#include "internal_store.h"

namespace ctsync::node {

class Bypass final : public InternalStore {
 public:
  // `copies`: nullptr if no peer's flow is written into the kernel. Everything must outlive the store.
  Bypass(kernel::KernelTable& kernel, const FlowFilter& filter, replication::Notrack& engine, wire::Packer& packer,
         Log& log, bool expectations, Copies* copies);

  void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void on_expectation(kernel::EventType type, const Expectation& e, kernel::Origin origin) override;
  void caught_up() override {
    if (copies_ != nullptr) copies_->caught_up();
  }
  void refresh(FlowRecord& record) override;
  bool has_flow(const Tuple& orig) override;
  bool may_be_adjusted(const Tuple&) const override { return true; }
  bool keeps_flows() const override { return false; }
  bool keeps_expectations() const override { return false; }
  std::unique_ptr<Job> dump(const Command& command, const Client& client) override;
  text::StoreNumbers flow_numbers() const override { return flows_; }
  text::StoreNumbers expectation_numbers() const override { return expectations_; }

 private:
  kernel::KernelTable& kernel_;
  const FlowFilter& filter_;
  replication::Notrack& engine_;
  wire::Packer& packer_;
  Log& log_;
  const bool with_expectations_;
  Copies* const copies_;
  text::BypassNumbers flows_;
  text::BypassNumbers expectations_;
  FlowRecord scratch_;
};

}  // namespace ctsync::node
