// SPDX-License-Identifier: GPL-2.0-or-later
// KernelTable on ctnetlink: the kernel's own table in the network namespace of the process.
#pragma once

#include <memory>

#include "ctsync/base/clock.h"
#include "ctsync/kernel/event_source.h"
#include "ctsync/kernel/flow_query.h"
#include "ctsync/kernel/injector.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::kernel {

class NetlinkTable final : public KernelTable {
 public:
  NetlinkTable(const Clock& clock, const InjectorOptions& options);

  // Opens the three writers and the query socket. Needs CAP_NET_ADMIN.
  Result<> open();

  Result<> open_events(const EventOptions& options) override;
  Result<> set_event_filter(const FlowFilter& filter, bool hide_own) override {
    return events_.set_filter(filter, hide_own);
  }
  Result<> hear_new_flows(bool on) override { return events_.hear_new_flows(on); }
  void set_event_buffer(std::uint32_t size, std::uint32_t maximum) { events_.set_buffer(size, maximum); }
  int events_fd() const { return events_.fd(); }  // to watch for EPOLLIN; -1 while not open
  bool read_events(std::uint32_t limit, EventHandler& handler) override { return events_.read(limit, handler); }
  const EventStats& event_stats() const override { return events_.stats(); }
  using KernelTable::dump;
  Result<std::unique_ptr<Dump>> dump(DumpWhat what, const DumpOptions& options) override;
  Result<bool> get(const Tuple& orig, FlowRecord& out) override { return query_.get(orig, out); }
  TableWriter& writer(Origin origin) override;

 private:
  const Clock& clock_;
  EventSource events_;
  FlowQuery query_;
  Injector commit_;
  Injector flush_;
  Injector inject_;
};

}  // namespace ctsync::kernel
