// SPDX-License-Identifier: GPL-2.0-or-later
// A node on the operating system: the kernel's table over netlink, the dedicated links, the loop's descriptors, timers
// and jobs. May be destroyed and made again while the loop runs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/result.h"
#include "ctsync/config/config.h"
#include "ctsync/kernel/link_watcher.h"
#include "ctsync/kernel/netlink_table.h"
#include "ctsync/link/link_set.h"
#include "ctsync/node/node.h"
#include "flow_log.h"
#include "keepalived.h"

namespace ctsync::daemon {

class NodeRunner {
 public:
  // For a configuration with `Sync` or `Stats`, which may be another one later: see reload(). Everything must outlive the
  // runner.
  NodeRunner(const config::Config& config, EventLoop& loop, SystemLog& log, const Clock& clock);
  ~NodeRunner();
  NodeRunner(const NodeRunner&) = delete;
  NodeRunner& operator=(const NodeRunner&) = delete;

  // Opens everything and fills the internal cache. Blocks; an error ends the start.
  Result<> start();
  // Requests are served from now on.
  void started();
  // The configuration is another one than `before`, in what may change while it runs (adopt()). An error, of links and of
  // the flow log, changes nothing: `before` is to be put back.
  Result<> reload(const config::Config& before);

  void on_command(const node::Command& command, const node::Client& client) { node_->on_command(command, client); }
  // All but the numbers of the process.
  text::Snapshot snapshot() const;
  std::string status() const { return node_->status(); }
  // Whether this node could take over now; nothing in statistics mode.
  std::optional<text::Health> health() const;
  // SIGHUP: the flow log is opened anew.
  void reopen_logs();

 private:
  Result<> open_links();
  Result<> change_links(const config::Config& before);
  void set_pause();
  void follow_keepalived();
  void on_kernel_event();
  void on_role(Role role);
  void read_interfaces();
  void look_at_links();
  void on_link_error(std::size_t link, std::string_view what, int code);
  void end_turn();
  void write_flow_log();

  const config::Config& config_;
  EventLoop& loop_;
  SystemLog& log_;
  const Clock& clock_;
  kernel::NetlinkTable kernel_;
  kernel::LinkWatcher watcher_;
  std::unique_ptr<link::LinkSet> links_;  // not in statistics mode
  std::unique_ptr<wire::DatagramSink> nowhere_;
  FlowLog flow_log_;
  std::unique_ptr<node::Node> node_;
  Timer timer_;
  Timer flow_log_timer_;
  Timer interfaces_timer_;
  TurnHook turn_end_;
  std::optional<KeepalivedFifo> keepalived_;
  bool interfaces_stale_ = false;              // their last reading failed
  std::optional<TimePoint> links_down_since_;  // all of them
  RateLimit link_error_limit_{std::chrono::seconds(10)};
};

}  // namespace ctsync::daemon
