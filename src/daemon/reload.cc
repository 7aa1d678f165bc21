// SPDX-License-Identifier: GPL-2.0-or-later
#include "reload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ctsync/link/link_set.h"
#include "node_config.h"

namespace ctsync::daemon {
namespace {

using config::Config;

class Comparison {
 public:
  Comparison(Config& next, const Config& running) : next_(next), running_(running) {}

  template <typename T>
  void at_once(std::string_view keyword, T Config::*value) {
    if (next_.*value != running_.*value) changes_.at_once.push_back(keyword);
  }
  void at_once(std::string_view keyword, bool differs) {
    if (differs) changes_.at_once.push_back(keyword);
  }
  template <typename T>
  void at_restart(std::string_view keyword, T Config::*value) {
    if (next_.*value == running_.*value) return;
    next_.*value = running_.*value;
    changes_.at_restart.push_back(keyword);
  }
  // Whether there is such a number at all.
  template <typename T>
  void presence_at_restart(std::string_view keyword, std::optional<T> Config::*value) {
    if ((next_.*value).has_value() != (running_.*value).has_value()) at_restart(keyword, value);
  }

  Changes take() { return std::move(changes_); }

 private:
  Config& next_;
  const Config& running_;
  Changes changes_;
};

bool same_links(const Config& a, const Config& b) { return link_options(a).links == link_options(b).links; }

}  // namespace

std::string Changes::to_string() const {
  if (at_once.empty() && at_restart.empty()) return "configuration read again: nothing has changed";
  std::string text = "configuration read again";
  if (!at_once.empty()) text += fmt::format(", changed: {}", fmt::join(at_once, ", "));
  if (!at_restart.empty())
    text +=
        fmt::format("{} to change at the next restart: {}", at_once.empty() ? "," : ";", fmt::join(at_restart, ", "));
  return text;
}

bool same_sections(const Config& a, const Config& b) {
  return a.has_sync == b.has_sync && a.has_stats == b.has_stats && a.has_helper == b.has_helper;
}

bool same(const std::optional<config::MetricsConfig>& a, const std::optional<config::MetricsConfig>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->path == b->path && a->address == b->address && a->port == b->port;
}

bool same(const std::optional<config::KeepalivedConfig>& a, const std::optional<config::KeepalivedConfig>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->fifo == b->fifo && a->groups == b->groups && a->instances == b->instances;
}

Changes adopt(Config& next, const Config& running) {
  Comparison c(next, running);
  // General
  c.at_restart("HashSize", &Config::hash_size);
  c.at_once("HashLimit", &Config::hash_limit);
  c.at_once("LogFile", &Config::log_file);
  c.at_once("Syslog", &Config::syslog_facility);
  c.at_restart("LockFile", &Config::lock_file);
  c.at_restart("Path", &Config::unix_path);
  c.at_once("NetlinkBufferSize", &Config::netlink_buffer_size);
  c.at_once("NetlinkBufferSizeMaxGrowth", &Config::netlink_buffer_size_max);
  c.at_once("NetlinkOverrunResync", &Config::overrun_resync);
  c.at_restart("NetlinkEventsReliable", &Config::events_reliable);
  c.at_once("EventIterationLimit", &Config::event_iteration_limit);
  c.at_once("KernelCompareSecs", &Config::kernel_compare_secs);
  c.presence_at_restart("PollSecs", &Config::poll_secs);
  c.at_once("PollSecs", &Config::poll_secs);
  c.at_once("Filter", &Config::filter);
  c.at_once("Scheduler", &Config::scheduler);
  c.at_once("Metrics", !same(next.metrics, running.metrics));
  c.at_restart("Systemd", &Config::systemd);
  // Stats
  c.at_once("LogFile of Stats", &Config::stats_log_file);
  c.at_once("Syslog of Stats", &Config::stats_syslog_facility);
  // Sync
  c.at_restart("Mode", &Config::mode);
  c.at_once("ResendQueueSize", &Config::resend_queue_size);
  c.at_once("ACKWindowSize", &Config::ack_window_size);
  c.at_once("CommitTimeout", &Config::commit_timeout);
  c.at_once("PurgeTimeout", &Config::purge_timeout);
  c.at_once("RefreshTime", &Config::refresh_time);
  c.at_once("CacheTimeout", &Config::cache_timeout);
  c.at_restart("DisableInternalCache", &Config::disable_internal_cache);
  c.at_restart("DisableExternalCache", &Config::disable_external_cache);
  c.at_restart("WarmStandby", &Config::warm_standby);
  c.at_once("MirrorTimeout", &Config::mirror_timeout);
  c.at_restart("StartupResync", &Config::startup_resync);
  c.at_once("links", next.has_sync && !same_links(next, running));
  c.at_once("ErrorQueueLength", &Config::error_queue_length);
  c.at_restart("TCPWindowTracking", &Config::tcp_window_tracking);
  c.at_restart("ExpectationSync", &Config::expectation_sync);
  c.at_once("SyncMinAge", &Config::sync_min_age);
  c.at_once("SyncMinAgeEstablished", &Config::sync_min_age_established);
  c.at_once("SyncCoalesce", &Config::sync_coalesce);
  c.at_restart("SyncMark", &Config::sync_mark);
  c.at_restart("SyncLabels", &Config::sync_labels);
  c.at_restart("SwapNATAddresses", &Config::swap_nat_addresses);
  c.at_once("Keepalived", !same(next.keepalived, running.keepalived));
  return c.take();
}

}  // namespace ctsync::daemon
