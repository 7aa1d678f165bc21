// SPDX-License-Identifier: GPL-2.0-or-later
#include "builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <syslog.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "hint.h"
#include "keywords.h"
#include "token_stream.h"

namespace ctsync::config {
namespace {

constexpr std::size_t kMaxLogPath = 256;   // spec config.md 3, without the final NUL
constexpr std::size_t kMaxUnixPath = 107;  // sun_path of unix(7), without the final NUL
constexpr const char* kDefaultLogFile = "/var/log/conntrackd.log";
constexpr const char* kDefaultStatsLogFile = "/var/log/conntrackd-stats.log";
constexpr std::uint32_t kDefaultOverrunResync = 30;
constexpr std::int64_t kMaxHashSize = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxMinAge = 86400;
constexpr std::int64_t kMaxCoalesce = 1000;

std::optional<int> facility_of(std::string_view name) {
  if (name == "daemon") return LOG_DAEMON;
  if (name.size() != 6 || !name.starts_with("local") || name[5] < '0' || name[5] > '7') return std::nullopt;
  return LOG_LOCAL0 + ((name[5] - '0') << 3);
}

bool is_alias(std::string_view name) {
  return std::ranges::any_of(keywords(), [&](const Keyword& k) { return k.name == name && !k.alias_of.empty(); });
}

bool is_keyword(std::string_view name) { return name.find(' ') == std::string_view::npos && name.size() > 1; }

// A block that may come more than once is one.
template <typename Block>
void begin_block(std::optional<Block>& block, Position where) {
  if (block) return;
  block.emplace();
  block->line = where.line;
  block->column = where.column;
}

}  // namespace

Number make_number(std::string_view text, Position where) {
  std::int64_t value = std::numeric_limits<std::int64_t>::max();
  std::from_chars(text.data(), text.data() + text.size(), value);
  return {value, where, text};
}

void Builder::syntax_error(const TokenStream& tokens, std::vector<std::string_view> expected) {
  // Words that stand for themselves first, sorted; then braces and classes of words.
  std::erase_if(expected, is_alias);
  std::ranges::sort(expected, {}, [](std::string_view name) { return std::pair(!is_keyword(name), name); });
  std::string text = fmt::format("parsing config file in line ({}), symbol '{}': syntax error", tokens.position().line,
                                 printable(tokens.word()));
  if (tokens.at_end()) text += ", unexpected end of file";
  if (!expected.empty()) {
    text += fmt::format(", expected {}{}", expected.size() > 1 ? "one of: " : "", fmt::join(expected, ", "));
  }
  std::string hint = unit_hint(tokens.number_before(), tokens.word());
  std::erase_if(expected, [](std::string_view name) { return !is_keyword(name); });
  if (hint.empty()) hint = hint_for(tokens.word(), expected);
  report_.error(tokens.position(), std::move(text), std::move(hint));
}

std::uint32_t Builder::to_u32(const Number& number) {
  constexpr std::uint32_t kMax = std::numeric_limits<std::uint32_t>::max();
  if (number.value <= kMax) return static_cast<std::uint32_t>(number.value);
  report_.warning(number.where, fmt::format("{} is too large, using {}", printable(number.text), kMax));
  return kMax;
}

// conntrackd keeps the low 16 bits; a pair of nodes configured that way works, so it has to go on working.
std::uint16_t Builder::to_u16(const Number& number, std::string_view what) {
  const auto low = static_cast<std::uint16_t>(number.value & 0xffff);
  if (number.value != low) {
    report_.warning(number.where, fmt::format("`{}' {} is above 65535, using its low 16 bits, {}", what,
                                              printable(number.text), low));
  }
  return low;
}

void Builder::set_nonzero(std::uint32_t Config::*member, const Number& number) {
  const std::uint32_t value = to_u32(number);
  config.*member = value != 0 ? value : Config{}.*member;
}

std::string Builder::checked_path(Position where, std::string_view path, std::size_t longest, std::string_view what) {
  if (path.size() > longest) {
    report_.error(where, fmt::format("{} is longer than {} characters", what, longest));
  } else if (path.find('\0') != std::string_view::npos) {
    report_.error(where, fmt::format("{} contains a NUL byte", what));
  }
  return std::string(path);
}

std::optional<IpAddress> Builder::checked_ip(Position where, Family family, std::string_view text) {
  const std::optional<IpAddress> address = parse_ip(family, text);
  if (!address) {
    report_.warning(where, fmt::format("{} is not a valid {} address", printable(text), to_string(family)));
  }
  return address;
}

void Builder::begin_sync(Position where) {
  config.has_sync = true;
  if (config.has_stats) report_.error(where, "cannot use both `Stats' and `Sync' clauses in conntrackd.conf");
}

void Builder::begin_stats(Position where) {
  config.has_stats = true;
  if (config.has_sync) report_.error(where, "cannot use both `Stats' and `Sync' clauses in conntrackd.conf");
}

// General

void Builder::hash_size(const Number& number) {
  if (number.value > kMaxHashSize) {
    report_.error(number.where, fmt::format("`HashSize' must be at most {}", kMaxHashSize));
    return;
  }
  set_nonzero(&Config::hash_size, number);
}

void Builder::log_file(Position where, bool on) {
  if (on) {
    config.log_file = kDefaultLogFile;
  } else if (config.log_file) {
    report_.warning(where, fmt::format("`LogFile off' does not undo an earlier `LogFile', still logging to {}",
                                       printable(*config.log_file)));
  }
}

void Builder::log_file(Position where, std::string_view path) {
  config.log_file = checked_path(where, path, kMaxLogPath, "LogFile path");
}

void Builder::syslog(bool on) { config.syslog_facility = on ? std::optional(LOG_DAEMON) : std::nullopt; }

void Builder::syslog(Position where, std::string_view facility) {
  const std::optional<int> value = facility_of(facility);
  if (!value) {
    report_.warning(where, fmt::format("'{}' is not a known syslog facility, ignoring", printable(facility)));
    return;
  }
  config.syslog_facility = value;
  if (config.stats_syslog_facility && config.stats_syslog_facility != value) {
    report_.warning(where, "conflicting Syslog facility values, defaulting to General");
  }
}

void Builder::lock_file(Position where, std::string_view path) {
  config.lock_file = checked_path(where, path, kMaxLogPath, "LockFile path");
}

void Builder::unix_path(Position where, std::string_view path) {
  config.unix_path = checked_path(where, path, kMaxUnixPath, "Path");
}

void Builder::begin_metrics(Position where) { begin_block(config.metrics, where); }

void Builder::metrics_path(Position where, std::string_view path) {
  config.metrics->path = checked_path(where, path, kMaxUnixPath, "Path");
}

void Builder::metrics_address(Position where, Family family, std::string_view text) {
  const std::optional<IpAddress> address = checked_ip(where, family, text);
  if (!address) return;
  config.metrics->address = *address;
  config.metrics->address_line = where.line;
  config.metrics->address_column = where.column;
}

void Builder::metrics_port(const Number& port) {
  constexpr std::int64_t kMaxPort = 65535;
  if (port.value == 0 || port.value > kMaxPort) {
    report_.error(port.where, fmt::format("`Port' must be [1, {}]", kMaxPort));
    return;
  }
  config.metrics->port = static_cast<std::uint16_t>(port.value);
}

void Builder::sync_min_age(const Number& seconds) {
  if (seconds.value > kMaxMinAge) {
    report_.error(seconds.where, fmt::format("`SyncMinAge' must be at most {} seconds", kMaxMinAge));
    return;
  }
  config.sync_min_age = to_u32(seconds);
}

void Builder::sync_coalesce(const Number& milliseconds) {
  if (milliseconds.value > kMaxCoalesce) {
    report_.error(milliseconds.where, fmt::format("`SyncCoalesce' must be at most {} milliseconds", kMaxCoalesce));
    return;
  }
  config.sync_coalesce = to_u32(milliseconds);
}

void Builder::begin_keepalived(Position where) { begin_block(config.keepalived, where); }

void Builder::keepalived_fifo(Position where, std::string_view path) {
  config.keepalived->fifo = checked_path(where, path, kMaxLogPath, "NotifyFifo path");
}

void Builder::overrun_resync(bool on) {
  config.overrun_resync = on ? std::optional(kDefaultOverrunResync) : std::nullopt;
}

void Builder::overrun_resync(const Number& seconds) {
  const std::uint32_t value = to_u32(seconds);
  config.overrun_resync = value != 0 ? value : kDefaultOverrunResync;
}

void Builder::poll_secs(const Number& seconds) {
  if (seconds.value == 0) {
    report_.error(seconds.where, "`PollSecs' clause must be > 0");
    return;
  }
  config.poll_secs = to_u32(seconds);
}

void Builder::warn_nice(Position where) {
  report_.warning(where,
                  "deprecated nice configuration, ignoring. The nice value can be set externally with nice(1) and "
                  "renice(1).");
}

void Builder::warn_backlog(Position where) {
  report_.warning(where, "deprecated unix backlog configuration, ignoring.");
}

void Builder::scheduler_type(Position where, std::string_view type) {
  if (equals_ignoring_case(type, "rr")) {
    scheduler_type_ = SchedulerPolicy::round_robin;
  } else if (equals_ignoring_case(type, "fifo")) {
    scheduler_type_ = SchedulerPolicy::fifo;
  } else {
    report_.error(where, fmt::format("unknown scheduler `{}', expected one of: FIFO, RR", printable(type)));
  }
}

void Builder::scheduler_priority(const Number& priority) {
  if (priority.value > 99) {
    report_.error(priority.where, "`Priority' must be [0, 99]");
    return;
  }
  scheduler_priority_ = static_cast<int>(priority.value);
}

// Sync

void Builder::mode(Position where, SyncMode mode) {
  if (mode_ && *mode_ != mode) {
    report_.warning(where,
                    "more than one `Mode': FTFW goes before ALARM, ALARM before NOTRACK; all their options apply");
  }
  mode_ = mode_ ? std::min(*mode_, mode) : mode;
}

void Builder::old_mode_name(Position where, std::string_view old_name, std::string_view new_name) {
  report_.warning(where, fmt::format("Now `{}' mode is called `{}'. Please, update your conntrackd.conf file.",
                                     old_name, new_name));
}

void Builder::disable_external_cache(Position where, bool on) {
  config.disable_external_cache = on;
  external_cache_ = where;
}

void Builder::warm_standby(Position where, bool on) {
  config.warm_standby = on;
  warm_standby_ = where;
}

void Builder::mirror_timeout(Position where, const Number& seconds) {
  constexpr std::uint32_t kLeast = 5;  // each copy is refreshed three times within it
  config.mirror_timeout = to_u32(seconds);
  if (config.mirror_timeout >= kLeast) return;
  report_.warning(where, fmt::format("`MirrorTimeout' is {} seconds at least", kLeast));
  config.mirror_timeout = kLeast;
}

void Builder::expectation_helper(std::string_view name) {
  std::string kept(name.substr(0, kMaxHelperName));
  if (seen_helpers_.insert(kept).second) config.expectation_sync.helpers.push_back(std::move(kept));
}

// Stats

void Builder::stats_log_file(Position where, bool on) {
  if (on) {
    config.stats_log_file = kDefaultStatsLogFile;
  } else if (config.stats_log_file) {
    report_.warning(where, fmt::format("`LogFile off' does not undo an earlier `LogFile', still logging to {}",
                                       printable(*config.stats_log_file)));
  }
}

void Builder::stats_log_file(Position where, std::string_view path) {
  config.stats_log_file = checked_path(where, path, kMaxLogPath, "stats LogFile path");
}

void Builder::stats_syslog(bool on) { config.stats_syslog_facility = on ? std::optional(LOG_DAEMON) : std::nullopt; }

void Builder::stats_syslog(Position where, std::string_view facility) {
  const std::optional<int> value = facility_of(facility);
  if (!value) {
    report_.warning(where, fmt::format("'{}' is not a known syslog facility, ignoring.", printable(facility)));
    return;
  }
  config.stats_syslog_facility = value;
  if (config.syslog_facility && config.syslog_facility != value) {
    report_.warning(where, "conflicting Syslog facility values, defaulting to General");
  }
}

// The whole

void Builder::finish() {
  if (scheduler_type_) config.scheduler = {*scheduler_type_, scheduler_priority_.value_or(0)};
  if (mode_) config.mode = *mode_;
  if (report_.has_errors()) return;  // the rest would be about statements that were left out

  finish_helpers();
  for (LinkConfig& link : config.links) finish_link(link);
  if (config.has_sync && !mode_) {
    report_.whole_file_warning("No synchronization mode specified. Defaulting to FT-FW mode.");
  }
  if (config.commit_timeout != 0 && config.disable_external_cache) {
    report_.warning(external_cache_,
                    "`CommitTimeout' can't be combined with `DisableExternalCache', ignoring this option. Fix your "
                    "configuration file.");
    config.commit_timeout = 0;
  }
  if (config.disable_internal_cache && config.mode != SyncMode::notrack) {  // of a second `Mode'
    report_.whole_file_warning("`DisableInternalCache' is possible in mode NOTRACK only, ignoring this option");
    config.disable_internal_cache = false;
  }
  if (config.warm_standby && (config.disable_external_cache || config.disable_internal_cache || config.poll_secs)) {
    report_.warning(warm_standby_, fmt::format("`WarmStandby' can't be combined with `{}', ignoring this option",
                                               config.disable_external_cache   ? "DisableExternalCache"
                                               : config.disable_internal_cache ? "DisableInternalCache"
                                                                               : "PollSecs"));
    config.warm_standby = false;
  }
  if (config.unix_path.empty() && (config.has_sync || config.has_stats || config.has_helper)) {
    report_.whole_file_warning("no `Path' for the control socket in `UNIX', no client will find the daemon");
  }
}

}  // namespace ctsync::config
