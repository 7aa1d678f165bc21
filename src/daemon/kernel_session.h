// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel side that both modes share: filters, the event socket in the loop, the first dump, resync after lost
// events, polling, and the commands that concern the kernel's table.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/netlink_table.h"
#include "kernel_follower.h"
#include "kernel_load_job.h"
#include "mode.h"

namespace ctsync::daemon {

FlowFilter make_filter(const config::FilterConfig& config);

class KernelSession {
 public:
  // Tables and engine as in KernelFollower::Context. `expectations_wanted`: listen to their events.
  struct Caches {
    table::FlowTable* flows;
    table::ExpectationTable* expectations;
    bool expectations_wanted;
  };

  KernelSession(const ModeContext& context, const Caches& caches);
  ~KernelSession();
  KernelSession(const KernelSession&) = delete;
  KernelSession& operator=(const KernelSession&) = delete;

  // Opens the sockets: events first, so that nothing slips between them and the dump. `engine` may be nullptr.
  Result<> open(replication::Engine* engine);
  // Fills the caches; blocks. Then serves events (or polls).
  Result<> load();

  kernel::NetlinkTable& table() { return table_; }
  KernelFollower& follower() { return *follower_; }
  const KernelFollower& follower() const { return *follower_; }
  const FlowFilter& filter() const { return filter_; }

  // -R
  void resync(KernelLoadJob::Scope scope, std::function<void()> on_done);
  // -F and the purge: deletes what passes the filter. `on_done` comes at once if a flush is under way already.
  void flush(std::function<void()> on_done);

  void fill_runtime(control::RuntimeNumbers& n) const;

  // Stops a flush under way; its on_done is not called.
  void stop_flush();

  // For who writes to the kernel: to be called with what has become of an entry, because the events of our own writers
  // are not received; empty if they are.
  std::function<void(kernel::EventType, FlowRecord&)> written(kernel::Origin origin);
  std::function<void(kernel::EventType, Expectation&)> expectation_written(kernel::Origin origin);

 private:
  std::function<void(FlowRecord&)> deleted();
  void read_events();
  void after_overrun();
  void mend(KernelFollower::Load load);
  void poll();
  void log_load_error(const Error* error);

  ModeContext c_;
  Caches caches_;
  FlowFilter filter_;
  HelperFilter helpers_;
  kernel::NetlinkTable table_;
  std::unique_ptr<KernelFollower> follower_;
  Timer resync_timer_;
  Timer poll_timer_;
  bool own_events_hidden_ = false;
  bool polled_ = false;
  bool mending_ = false;
  bool mend_again_ = false;
  Job* flush_ = nullptr;
  std::uint64_t flushes_ = 0;
  std::uint64_t resyncs_ = 0;
};

}  // namespace ctsync::daemon
