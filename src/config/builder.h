// SPDX-License-Identifier: GPL-2.0-or-later
// Turns statements into a Config, one method per statement, and complains about values. Which statements may stand
// where is the grammar's business; the messages are conntrackd's (spec config.md 14), so that whoever looks for them in
// a log still finds them.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ctsync/config/config.h"
#include "report.h"
#include "statement.h"

namespace ctsync::config {

// Longer names of helpers and policies are cut or refused (spec config.md 10, 12).
inline constexpr std::size_t kMaxHelperName = 16;

class TokenStream;

class Builder {
 public:
  explicit Builder(Report& report) : report_(report) {}

  Config config;  // what the file said so far; the grammar sets plain values itself

  // `expected`: names of the tokens that could stand there.
  void syntax_error(const TokenStream& tokens, std::vector<std::string_view> expected);
  void error(Position where, std::string text) { report_.error(where, std::move(text)); }
  bool is_full() const { return report_.is_full(); }

  // The checks that need the whole file (spec config.md 13); call once, at the end.
  void finish();

  void set(std::uint32_t Config::*member, const Number& number) { config.*member = to_u32(number); }
  // For values where the file's 0 means the default.
  void set_nonzero(std::uint32_t Config::*member, const Number& number);

  void begin_sync(Position where);
  void begin_stats(Position where);
  void begin_helper() { config.has_helper = true; }

  // General
  void hash_size(const Number& number);
  void log_file(Position where, bool on);
  void log_file(Position where, std::string_view path);
  void syslog(bool on);
  void syslog(Position where, std::string_view facility);
  void lock_file(Position where, std::string_view path);
  void unix_path(Position where, std::string_view path);
  void overrun_resync(bool on);
  void overrun_resync(const Number& seconds);
  void kernel_compare_secs(const Number& seconds) { config.kernel_compare_secs = to_u32(seconds); }
  void poll_secs(const Number& seconds);
  void warn_nice(Position where);
  void warn_backlog(Position where);
  void scheduler_type(Position where, std::string_view type);
  void scheduler_priority(const Number& priority);

  // Metrics
  void begin_metrics(Position where);
  void metrics_path(Position where, std::string_view path);
  void metrics_address(Position where, Family family, std::string_view text);
  void metrics_port(const Number& port);

  // Filter
  void filter_protocols(Position where, FilterAction action);
  void filter_protocol(Position where, std::string_view name);
  void filter_addresses(Position where, FilterAction action);
  void filter_address(Position where, Family family, std::string_view text);
  void filter_states(Position where, FilterAction action);
  void filter_state(unsigned state);
  void filter_ports(Position where, FilterAction action);
  void filter_port(const Number& port);

  // Sync
  void mode(Position where, SyncMode mode);
  void old_mode_name(Position where, std::string_view old_name, std::string_view new_name);
  void disable_external_cache(Position where, bool on);
  void warm_standby(Position where, bool on);
  void mirror_timeout(Position where, const Number& seconds);
  void expectation_helper(std::string_view name);
  void sync_min_age(const Number& seconds);
  void sync_coalesce(const Number& milliseconds);
  void begin_keepalived(Position where);
  void keepalived_fifo(Position where, std::string_view path);

  // Links. link() is the one begun last.
  void begin_link(Position where, LinkKind kind, bool is_default);
  LinkConfig& link() { return link_; }
  void link_interface(Position where, std::string_view name);
  void link_quoted_interface(Position where, std::string_view quoted);
  void link_address(Position where, Family family, std::string_view text);
  void link_destination(Position where, Family family, std::string_view text);
  void link_ipv4_interface(Position where, std::string_view text);
  void warn_ipv6_interface(Position where);
  void link_port(const Number& port);
  void link_buffer(std::optional<std::uint32_t> LinkConfig::*member, const Number& bytes);
  void end_link();

  // Stats
  void stats_log_file(Position where, bool on);
  void stats_log_file(Position where, std::string_view path);
  void stats_syslog(bool on);
  void stats_syslog(Position where, std::string_view facility);

  // Helper
  void helper_type(Word name, Word l3, Word l4);
  void queue_number(const Number& number);
  void queue_length(const Number& number) { pending_helper_.queue_length = to_u32(number); }
  void begin_policy(Position where, std::string_view name);
  void expect_max(const Number& number);
  void expect_timeout(const Number& seconds);
  void end_policy();

 private:
  // `QueueNum`, `QueueLen` and `Policy` statements wait here for the end of the `Type` block that they belong to.
  struct PendingHelper {
    std::uint16_t queue_number = 0;
    std::uint32_t queue_length = 0;
    std::vector<std::pair<Position, HelperPolicy>> policies;
  };

  std::uint32_t to_u32(const Number& number);
  std::uint16_t to_u16(const Number& number, std::string_view what);
  std::string checked_path(Position where, std::string_view path, std::size_t longest, std::string_view what);
  std::optional<IpAddress> checked_ip(Position where, Family family, std::string_view text);
  void set_action(Position where, std::optional<FilterAction>& action, FilterAction value, std::string_view what);
  void finish_link(LinkConfig& link);
  void finish_helpers();

  Report& report_;
  std::optional<SchedulerPolicy> scheduler_type_;
  std::optional<int> scheduler_priority_;
  std::set<std::pair<IpAddress, unsigned>> seen_addresses_;
  std::set<std::uint8_t> seen_protocols_;
  std::set<std::string, std::less<>> seen_helpers_;
  std::optional<SyncMode> mode_;
  Position external_cache_;  // of the last `DisableExternalCache`
  Position warm_standby_;    // of the last `WarmStandby`
  LinkConfig link_;
  PendingHelper pending_helper_;
  bool policy_has_values_ = false;
  std::map<const KnownHelper*, HelperPolicy> helper_policies_;
};

}  // namespace ctsync::config
