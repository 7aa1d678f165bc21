// SPDX-License-Identifier: GPL-2.0-or-later
// What the configuration file says, as one plain value with every default applied (spec config.md 3 to 13).
// Made by parse_file() and parse_text() of ctsync/config/parse.h. "Absent" is an empty optional only where the daemon
// behaves differently from any value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/config/filter_config.h"
#include "ctsync/config/helper_config.h"
#include "ctsync/config/link_config.h"

namespace ctsync::config {

inline constexpr std::size_t kMaxLinks = 4;

enum class SyncMode { ftfw, alarm, notrack };
enum class SchedulerPolicy { round_robin, fifo };

// Real-time scheduling of the process. A failure to set it is never fatal; priority 0 always fails.
struct SchedulerConfig {
  SchedulerPolicy policy = SchedulerPolicy::round_robin;
  int priority = 99;

  bool operator==(const SchedulerConfig&) const = default;
};

// Where expectations are synchronised (`ExpectationSync`).
struct ExpectationSync {
  bool enabled = false;
  std::vector<std::string> helpers;  // empty: of all helpers. Otherwise of those whose name starts with one of these,
                                     // case-insensitively; at most 16 characters each

  bool operator==(const ExpectationSync&) const = default;
};

// Whose changes of state the daemon follows by itself (`Keepalived`).
struct KeepalivedConfig {
  std::string fifo;                    // empty: not given
  std::vector<std::string> groups;     // vrrp_sync_group
  std::vector<std::string> instances;  // vrrp_instance
  int line = 0;                        // where the block begins
  int column = 0;
};

// Where metrics are served over HTTP (`Metrics`): on a UNIX socket, a TCP address, or both.
struct MetricsConfig {
  std::string path;        // empty: no UNIX socket
  IpAddress address;       // none: no TCP
  std::uint16_t port = 0;  // 0: not given
  int line = 0;            // where the block begins
  int column = 0;
  int address_line = 0;  // where the address stands
  int address_column = 0;
};

struct Config {
  // Which top-level blocks the file has; never both sync and stats. With none of the three the daemon idles.
  bool has_sync = false;
  bool has_stats = false;
  bool has_helper = false;

  // General
  std::uint32_t hash_size = 65536;    // buckets of each table; at most 2^31 - 1
  std::uint32_t hash_limit = 262144;  // most entries of each table
  std::optional<std::string> log_file;
  std::optional<int> syslog_facility;  // LOG_DAEMON, LOG_LOCAL0 ...; absent: no syslog
  std::string lock_file = "/var/lock/conntrackd.lock";
  std::string unix_path;                             // control socket; empty: not given
  std::uint32_t netlink_buffer_size = 0;             // bytes; 0: not given, kernel default
  std::uint32_t netlink_buffer_size_max = 0;         // bytes; ceiling of the growth on overrun
  std::optional<std::uint32_t> overrun_resync = 30;  // seconds after the last overrun; absent: never
  bool events_reliable = false;
  std::uint32_t event_iteration_limit = 100;
  std::uint32_t kernel_compare_secs = 3600;  // between comparisons of the internal cache with the kernel; 0: none
  std::optional<std::uint32_t> poll_secs;    // seconds, at least 1; absent: events, no polling
  FilterConfig filter;
  SchedulerConfig scheduler;
  bool systemd = true;
  std::optional<MetricsConfig> metrics;

  // Stats
  std::optional<std::string> stats_log_file;
  std::optional<int> stats_syslog_facility;  // its value counts only if General has none

  // Sync. Of several Mode blocks the strongest (ftfw, alarm, notrack) counts, with the options of all of them.
  SyncMode mode = SyncMode::ftfw;
  std::uint32_t resend_queue_size = 131072;  // messages
  std::uint32_t ack_window_size = 300;       // messages
  std::uint32_t commit_timeout = 0;          // seconds; 0: remaining time of each entry is estimated
  std::uint32_t purge_timeout = 60;          // seconds
  std::uint32_t refresh_time = 60;           // seconds
  std::uint32_t cache_timeout = 180;         // seconds
  bool disable_internal_cache = false;
  bool disable_external_cache = false;
  bool warm_standby = false;
  std::uint32_t mirror_timeout = 600;  // seconds
  bool startup_resync = false;
  std::vector<LinkConfig> links;           // in file order, all of one kind, at most kMaxLinks
  std::uint32_t error_queue_length = 128;  // bundles, of each TCP link
  bool tcp_window_tracking = false;
  ExpectationSync expectation_sync;
  std::uint32_t sync_min_age = 0;  // seconds, at most a day; 0: new flows are announced at once
  bool sync_min_age_established = false;
  std::uint32_t sync_coalesce = 0;  // milliseconds, at most a second; 0: each change is announced at once
  bool sync_mark = true;            // marks are sent and taken
  bool sync_labels = true;          // and labels
  bool swap_nat_addresses = false;  // for peers up to conntrackd 1.4.6
  std::optional<KeepalivedConfig> keepalived;

  HelperConfig helper;

  // Index of the link to be active first: the last one marked `Default`, else 0. Meaningless without links.
  std::size_t first_link() const;
};

}  // namespace ctsync::config
