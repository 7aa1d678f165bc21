// SPDX-License-Identifier: GPL-2.0-or-later
#include "builder.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <netdb.h>
#include <syslog.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "ctsync/config/keywords.h"
#include "token_stream.h"

namespace ctsync::config {
namespace {

constexpr std::size_t kMaxLogPath = 256;   // spec config.md 3, without the final NUL
constexpr std::size_t kMaxUnixPath = 107;  // sun_path of unix(7), without the final NUL
constexpr std::size_t kMaxHelperName = 16;
constexpr const char* kDefaultLogFile = "/var/log/conntrackd.log";
constexpr const char* kDefaultStatsLogFile = "/var/log/conntrackd-stats.log";
constexpr std::uint32_t kDefaultOverrunResync = 30;
constexpr std::int64_t kMaxHashSize = std::numeric_limits<std::int32_t>::max();

std::optional<IpAddress> parse_ip(int family, std::string_view text) {
  IpAddress address{.family = family};
  if (inet_pton(family, std::string(text).c_str(), address.bytes.data()) != 1) return std::nullopt;
  return address;
}

// Clears what lies behind the first `prefix` bits.
void mask(IpAddress& address, unsigned prefix) {
  for (unsigned i = 0; i < address.bytes.size(); ++i) {
    const unsigned kept = prefix > 8 * i ? std::min(prefix - 8 * i, 8U) : 0;
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] & (0xff00U >> kept));
  }
}

std::optional<int> facility_of(std::string_view name) {
  if (name == "daemon") return LOG_DAEMON;
  if (name.size() != 6 || !name.starts_with("local") || name[5] < '0' || name[5] > '7') return std::nullopt;
  return LOG_LOCAL0 + ((name[5] - '0') << 3);
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool is_alias(std::string_view name) {
  return std::ranges::any_of(keywords(), [&](const Keyword& k) { return k.name == name && !k.alias_of.empty(); });
}

bool is_keyword(std::string_view name) { return name.find(' ') == std::string_view::npos && name.size() > 1; }

const KnownHelper* find_helper(std::string_view name, std::uint8_t l4_protocol) {
  const auto found = std::ranges::find_if(
      known_helpers(), [&](const KnownHelper& h) { return h.name == name && h.l4_protocol == l4_protocol; });
  return found == known_helpers().end() ? nullptr : &*found;
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
  report_.error(tokens.position(), std::move(text));
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

// Filter

template <class T>
void Builder::set_action(Position where, std::optional<T>& action, T value, std::string_view what) {
  if (action && *action != value) {
    report_.warning(where, fmt::format("this action replaces that of the earlier `{}' list, the entries of both lists "
                                       "count as one list",
                                       what));
  }
  action = value;
}

void Builder::filter_protocols(Position where, FilterAction action) {
  set_action(where, config.filter.protocol_action, action, "Protocol");
}

void Builder::filter_addresses(Position where, FilterAction action) {
  set_action(where, config.filter.address_action, action, "Address");
}

void Builder::filter_states(Position where, FilterAction action) {
  set_action(where, config.filter.state_action, action, "State");
}

void Builder::filter_protocol(Position where, std::string_view name) {
  protoent entry{};
  protoent* found = nullptr;
  char buffer[4096];
  const int status = getprotobyname_r(std::string(name).c_str(), &entry, buffer, sizeof buffer, &found);
  if (status != 0 || found == nullptr || found->p_proto < 0 || found->p_proto > 255) {
    // The two protocols that have keywords of their own do not depend on a file.
    if (name == "tcp" || name == "udp") {
      entry.p_proto = name == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
    } else {
      report_.warning(where,
                      fmt::format("getprotobyname() cannot find protocol `{}' in /etc/protocols", printable(name)));
      return;
    }
  }
  const auto number = static_cast<std::uint8_t>(entry.p_proto);
  if (seen_protocols_.insert(number).second) config.filter.protocols.push_back(number);
}

void Builder::filter_address(Position where, int family, std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view ip = text.substr(0, slash);
  const unsigned longest = family == AF_INET ? 32 : 128;
  unsigned prefix = longest;
  if (slash != std::string_view::npos) {
    const Number given = make_number(text.substr(slash + 1), where);
    if (given.value > longest) {
      report_.warning(where, fmt::format("{} is not a valid network, ignoring", printable(text)));
      return;
    }
    prefix = static_cast<unsigned>(given.value);
  }
  std::optional<IpAddress> address = parse_ip(family, ip);
  if (!address) {
    report_.warning(where,
                    fmt::format("{} is not a valid {}, ignoring", printable(ip), family == AF_INET ? "IPv4" : "IPv6"));
    return;
  }
  mask(*address, prefix);
  std::vector<std::uint8_t> key(address->bytes.begin(), address->bytes.end());
  key.push_back(static_cast<std::uint8_t>(family));
  if (seen_addresses_.emplace(std::move(key), prefix).second) {
    config.filter.addresses.push_back({*address, prefix});
  } else if (family == AF_INET && prefix != longest) {
    report_.warning(where, fmt::format("netmask {} is repeated in the ignore pool", printable(ip)));
  }
}

void Builder::filter_state(unsigned state) {
  config.filter.tcp_states = static_cast<std::uint16_t>(config.filter.tcp_states | (1U << state));
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

void Builder::expectation_helper(std::string_view name) {
  std::string kept(name.substr(0, kMaxHelperName));
  if (seen_helpers_.insert(kept).second) config.expectation_sync.helpers.push_back(std::move(kept));
}

// Links

void Builder::begin_link(Position where, LinkKind kind, bool is_default) {
  if (!config.links.empty() && config.links.front().kind != kind) {
    report_.error(where, fmt::format("cannot use `{}' with other dedicated link protocols!", to_string(kind)));
  } else if (config.links.size() >= kMaxLinks) {
    report_.error(where, fmt::format("too many dedicated links in the configuration file (Maximum: {})", kMaxLinks));
  }
  link_ = {};
  link_.kind = kind;
  link_.is_default = is_default;
  link_.line = where.line;
  link_.column = where.column;
}

void Builder::end_link() {
  if (config.links.size() < kMaxLinks) config.links.push_back(link_);
}

void Builder::link_interface(Position where, std::string_view name) {
  link_.interface = name;
  if (if_nametoindex(link_.interface.c_str()) == 0) {
    report_.warning(where, fmt::format("{} is an invalid interface", printable(name)));
  }
}

void Builder::link_quoted_interface(Position where, std::string_view quoted) {
  const std::string_view name = quoted.substr(1, quoted.size() - 2);
  if (name.empty() || name.find('\0') != std::string_view::npos) {
    report_.error(where, fmt::format("{} cannot be the name of an interface", printable(quoted)));
    return;
  }
  link_interface(where, name);
}

std::optional<IpAddress> Builder::link_ip(Position where, int family, std::string_view text) {
  const std::optional<IpAddress> address = parse_ip(family, text);
  if (!address) {
    report_.warning(where,
                    fmt::format("{} is not a valid {} address", printable(text), family == AF_INET ? "IPv4" : "IPv6"));
  }
  return address;
}

// The last address decides the family of a UDP or TCP link. In a Multicast block the first one does, and an address of
// the other family is kept only to make check_start() refuse the link.
void Builder::link_address(Position where, int family, std::string_view text) {
  const std::optional<IpAddress> address = link_ip(where, family, text);
  if (!address) return;
  link_.address = *address;
  if (link_.kind == LinkKind::multicast && link_.family != AF_UNSPEC && link_.family != family) {
    report_.warning(where, family == AF_INET
                               ? "your multicast address is IPv4 but is binded to an IPv6 interface? Surely, this is "
                                 "not what you want"
                               : "your multicast address is IPv6 but is binded to an IPv4 interface? Surely this is "
                                 "not what you want");
    return;
  }
  link_.family = family;
}

void Builder::link_ipv4_interface(Position where, std::string_view text) {
  const std::optional<IpAddress> address = link_ip(where, AF_INET, text);
  if (!address) return;
  if (link_.family == AF_INET6) {
    report_.warning(where,
                    "your multicast interface is IPv4 but is binded to an IPv6 interface? Surely, this is not "
                    "what you want");
    return;
  }
  link_.family = AF_INET;
  link_.ipv4_interface = *address;
}

void Builder::warn_ipv6_interface(Position where) { report_.warning(where, "`IPv6_interface' not required, ignoring"); }

void Builder::link_destination(Position where, int family, std::string_view text) {
  const std::optional<IpAddress> address = link_ip(where, family, text);
  if (!address) return;
  link_.destination = *address;
  link_.family = family;
}

void Builder::link_port(const Number& port) {
  link_.port = to_u16(port, link_.kind == LinkKind::multicast ? "Group" : "Port");
}

void Builder::link_buffer(std::optional<std::uint32_t> LinkConfig::*member, const Number& bytes) {
  const std::uint32_t value = to_u32(bytes);
  link_.*member = value != 0 ? std::optional(value) : std::nullopt;
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

// Helper

void Builder::queue_number(const Number& number) { pending_helper_.queue_number = to_u16(number, "QueueNum"); }

void Builder::begin_policy(Position where, std::string_view name) {
  if (name.size() > kMaxHelperName) {
    report_.error(where, fmt::format("Helper Policy is longer than {} characters", kMaxHelperName));
  }
  pending_helper_.policies.push_back({where, {.name = std::string(name)}});
  policy_has_values_ = false;
}

void Builder::expect_max(const Number& number) {
  pending_helper_.policies.back().second.expect_max = to_u32(number);
  policy_has_values_ = true;
}

void Builder::expect_timeout(const Number& seconds) {
  pending_helper_.policies.back().second.expect_timeout = to_u32(seconds);
  policy_has_values_ = true;
}

void Builder::end_policy() {
  if (policy_has_values_) return;
  report_.error(pending_helper_.policies.back().first,
                "Helper policy configuration empty, fix your configuration file, please");
}

void Builder::helper_type(Word name, Word l3, Word l4) {
  const PendingHelper settings = std::exchange(pending_helper_, {});
  HelperInstance instance;
  instance.name = name.text;
  instance.line = name.where.line;
  instance.queue_number = settings.queue_number;
  instance.queue_length = settings.queue_length;

  if (l3.text != "inet" && l3.text != "inet6") {
    report_.error(l3.where,
                  fmt::format("unknown layer 3 protocol `{}', expected one of: inet, inet6", printable(l3.text)));
    return;
  }
  instance.l3_family = l3.text == "inet" ? AF_INET : AF_INET6;
  if (l4.text != "tcp" && l4.text != "udp") {
    report_.error(l4.where,
                  fmt::format("unknown layer 4 protocol `{}', expected one of: tcp, udp", printable(l4.text)));
    return;
  }
  instance.l4_protocol = l4.text == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
  const KnownHelper* helper = find_helper(name.text, instance.l4_protocol);
  if (helper == nullptr) {
    report_.error(name.where, fmt::format("Unknown `{}' helper for {}", printable(name.text), l4.text));
    return;
  }

  for (const auto& [where, policy] : settings.policies) {
    if (policy.name != helper->name) {
      report_.error(where, fmt::format("Unknown policy `{}' in helper configuration, expected {}",
                                       printable(policy.name), helper->name));
      return;
    }
    helper_policies_[helper] = policy;
  }
  config.helper.instances.push_back(std::move(instance));
}

// A policy given once holds for every instance of the helper, before and after it, and replaces both built-in values.
void Builder::finish_helpers() {
  for (HelperInstance& instance : config.helper.instances) {
    const KnownHelper* helper = find_helper(instance.name, instance.l4_protocol);
    const auto given = helper_policies_.find(helper);
    instance.policy = given != helper_policies_.end()
                          ? given->second
                          : HelperPolicy{helper->name, helper->expect_max, helper->expect_timeout};
  }
}

// The whole

void Builder::finish_link(LinkConfig& link) {
  const Position where{.line = link.line, .column = link.column};
  const bool is_multicast = link.kind == LinkKind::multicast;
  if (link.port == 0) {
    report_.warning(where, fmt::format("{} link has no `{}', it uses a random port and nothing will be exchanged",
                                       to_string(link.kind), is_multicast ? "Group" : "Port"));
  }
  if (is_multicast) return;
  if (link.destination.is_set() && link.destination.family != link.family) {
    report_.warning(
        where, fmt::format("{} link has addresses of both families, ignoring the destination", to_string(link.kind)));
    link.destination = {};
  }
  if (!link.destination.is_set()) {
    report_.warning(
        where, fmt::format("{} link has no destination address, nothing will reach the peer", to_string(link.kind)));
  }
}

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
  if (config.unix_path.empty() && (config.has_sync || config.has_stats || config.has_helper)) {
    report_.whole_file_warning("no `Path' for the control socket in `UNIX', no client will find the daemon");
  }
}

}  // namespace ctsync::config
