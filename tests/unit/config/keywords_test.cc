// SPDX-License-Identifier: GPL-2.0-or-later
// Keyword table, grammar and defaults agree.
#include "keywords.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ctsync/config/explain.h"
#include "ctsync/config/parse.h"

namespace ctsync::config {
namespace {

// A file with `statement` in the given section.
std::string in_section(Section section, const std::string& statement) {
  static const std::map<Section, std::pair<const char*, const char*>> kWrap = {
      {Section::top, {"", ""}},
      {Section::general, {"General {", "}"}},
      {Section::keepalived, {"Sync { Keepalived {", "} }"}},
      {Section::unix_socket, {"General { UNIX {", "} }"}},
      {Section::metrics, {"General { Metrics {", "} }"}},
      {Section::scheduler, {"General { Scheduler {", "} }"}},
      {Section::filter, {"General { Filter {", "} }"}},
      {Section::filter_address, {"General { Filter { Address Ignore {", "} } }"}},
      {Section::sync, {"Sync {", "}"}},
      {Section::mode_ftfw, {"Sync { Mode FTFW {", "} }"}},
      {Section::mode_alarm, {"Sync { Mode ALARM {", "} }"}},
      {Section::mode_notrack, {"Sync { Mode NOTRACK {", "} }"}},
      {Section::multicast, {"Sync { Multicast {", "} }"}},
      {Section::udp, {"Sync { UDP {", "} }"}},
      {Section::tcp, {"Sync { TCP {", "} }"}},
      {Section::options, {"Sync { Options {", "} }"}},
      {Section::stats, {"Stats {", "}"}},
      {Section::helper, {"Helper {", "}"}},
      {Section::helper_type, {"Helper { Type ftp inet tcp {", "} }"}},
      {Section::helper_policy, {"Helper { Type ftp inet tcp { Policy ftp { ExpectMax 1", "} } }"}},
  };
  const auto& [before, after] = kWrap.at(section);
  return fmt::format("{} {} {}", before, statement, after);
}

std::vector<std::string> samples(Argument argument) {
  switch (argument) {
    case Argument::block:
      return {"{ }"};
    case Argument::boolean:
      return {"on", "off", "YES", "no"};
    case Argument::number:
    case Argument::seconds:
    case Argument::milliseconds:
    case Argument::bytes:
      return {"1"};
    case Argument::signed_number:
      return {"+1", "-1"};
    case Argument::path:
      return {"/x"};
    case Argument::boolean_or_path:
      return {"on", "off", "/x"};
    case Argument::boolean_or_facility:
      return {"on", "off", "daemon", "local0", "local7"};
    case Argument::boolean_or_seconds:
      return {"on", "off", "1"};
    case Argument::boolean_or_list:
      return {"on", "off", "{ ftp sip }"};
    case Argument::address:
      return {"192.0.2.1", "fd00::1"};
    case Argument::identifier:
      return {"lo", "\"be0\""};
    case Argument::scheduler_type:
      return {"RR", "FIFO"};
    case Argument::mode_block:
      return {"FTFW { }", "ALARM { }", "NOTRACK { }"};
    case Argument::filter_block:
      return {"{ }", "From Userspace { }", "From Kernelspace { }"};
    case Argument::action_block:
      return {"Accept { }", "Ignore { }"};
    case Argument::link_block:
      return {"{ }", "Default { }"};
    case Argument::helper_block:
      return {"ftp inet tcp { }"};
    case Argument::policy_block:
      return {"ftp { ExpectMax 1 }"};
  }
  return {};
}

constexpr int kSections = static_cast<int>(Section::helper_policy) + 1;

TEST(Keywords, EveryKeywordIsTakenWhereTheTableSaysWithEveryArgument) {
  for (const Keyword& keyword : keywords()) {
    for (const std::string& argument : samples(keyword.argument)) {
      const std::string text = in_section(keyword.section, fmt::format("{} {}", keyword.name, argument));
      const ParseResult result = parse_text(text, "f");
      EXPECT_TRUE(result.ok()) << text << "\n" << result.diagnostics.front().text;
    }
  }
}

TEST(Keywords, NoKeywordIsTakenWhereTheTableDoesNotSay) {
  std::map<std::string_view, std::set<Section>> sections;
  std::map<std::string_view, std::set<Argument>> arguments;
  for (const Keyword& keyword : keywords()) {
    sections[keyword.name].insert(keyword.section);
    arguments[keyword.name].insert(keyword.argument);
  }
  int tried = 0;
  for (const auto& [name, valid] : sections) {
    for (int i = 0; i < kSections; ++i) {
      const auto section = static_cast<Section>(i);
      if (valid.contains(section)) continue;
      for (const Argument argument : arguments.at(name)) {
        const std::string text = in_section(section, fmt::format("{} {}", name, samples(argument).front()));
        EXPECT_FALSE(parse_text(text, "f").ok()) << text;
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 500);
}

// An unknown word makes the parser list all it expects: exactly the names of the table, without the aliases.
TEST(Keywords, TheParserExpectsExactlyTheKeywordsOfTheTable) {
  for (int i = 0; i < kSections; ++i) {
    const auto section = static_cast<Section>(i);
    std::set<std::string> names;
    for (const Keyword& keyword : keywords()) {
      if (keyword.section == section && keyword.alias_of.empty()) names.emplace(keyword.name);
    }
    const ParseResult result = parse_text(in_section(section, "XyzzY"), "f");
    ASSERT_FALSE(result.ok());
    const std::string& text = result.diagnostics.front().text;
    const std::string_view list = std::string_view(text).substr(text.find("expected one of: ") + 17);
    EXPECT_EQ(list, fmt::format("{}, {}", fmt::join(names, ", "), section == Section::top ? "end of file" : "}"));
  }
}

TEST(Keywords, DefaultsOfTheTableAreThoseOfConfig) {
  const Config config;
  const std::map<std::string_view, std::uint32_t> numbers = {
      {"HashSize", config.hash_size},
      {"HashLimit", config.hash_limit},
      {"EventIterationLimit", config.event_iteration_limit},
      {"NetlinkOverrunResync", config.overrun_resync.value()},
      {"KernelCompareSecs", config.kernel_compare_secs},
      {"NetlinkBufferSizeMaxGrowth", config.netlink_buffer_size_max},
      {"ResendQueueSize", config.resend_queue_size},
      {"ACKWindowSize", config.ack_window_size},
      {"CommitTimeout", config.commit_timeout},
      {"PurgeTimeout", config.purge_timeout},
      {"MirrorTimeout", config.mirror_timeout},
      {"RefreshTime", config.refresh_time},
      {"CacheTimeout", config.cache_timeout},
      {"ErrorQueueLength", config.error_queue_length},
      {"SyncMinAge", config.sync_min_age},
      {"SyncCoalesce", config.sync_coalesce},
      {"Priority", static_cast<std::uint32_t>(config.scheduler.priority)},
  };
  const std::map<std::string_view, bool> switches = {{"NetlinkEventsReliable", config.events_reliable},
                                                     {"Systemd", config.systemd},
                                                     {"DisableInternalCache", config.disable_internal_cache},
                                                     {"DisableExternalCache", config.disable_external_cache},
                                                     {"StartupResync", config.startup_resync},
                                                     {"WarmStandby", config.warm_standby},
                                                     {"TCPWindowTracking", config.tcp_window_tracking},
                                                     {"ExpectationSync", config.expectation_sync.enabled},
                                                     {"SyncMinAgeEstablished", config.sync_min_age_established},
                                                     {"SyncMark", config.sync_mark},
                                                     {"SyncLabels", config.sync_labels},
                                                     {"SwapNATAddresses", config.swap_nat_addresses},
                                                     {"Setup", config.helper.register_private_data},
                                                     {"Checksum", LinkConfig{}.checksum}};
  std::size_t compared = 0;
  for (const Keyword& keyword : keywords()) {
    if (const auto number = numbers.find(keyword.name); number != numbers.end()) {
      EXPECT_EQ(keyword.default_text, fmt::format("{}", number->second)) << keyword.name;
      ++compared;
    }
    if (const auto on = switches.find(keyword.name); on != switches.end()) {
      EXPECT_EQ(keyword.default_text, on->second ? "on" : "off") << keyword.name;
      ++compared;
    }
    if (keyword.name == "LockFile") {
      EXPECT_EQ(keyword.default_text, config.lock_file);
    }
  }
  EXPECT_GE(compared, numbers.size() + switches.size());
}

TEST(Keywords, AreExplainedInEverySection) {
  const std::string list = list_keywords();
  for (const Keyword& keyword : keywords()) {
    const std::string_view section = keyword.section == Section::top ? "top level" : to_string(keyword.section);
    const std::string text = explain(keyword.name);
    EXPECT_NE(text.find(fmt::format("{} {}\n  section: {}\n", keyword.name, to_string(keyword.argument), section)),
              std::string::npos)
        << text;
    EXPECT_NE(text.find(fmt::format("  meaning: {}\n", keyword.help)), std::string::npos) << text;
    EXPECT_NE(list.find(fmt::format("  {} {}\n", keyword.name, to_string(keyword.argument))), std::string::npos);
  }
  EXPECT_EQ(explain("HASHSIZE"),
            "HashSize NUMBER\n  section: General\n  default: 65536\n  meaning: buckets of each flow table\n");
  EXPECT_EQ(explain("HashSise"), "");
  EXPECT_EQ(unknown_keyword("HashSise"), "no keyword `HashSise': did you mean `HashSize'? It belongs into `General'");
  EXPECT_EQ(unknown_keyword("Xyzzy"), "no keyword `Xyzzy'");
}

TEST(Keywords, EveryEntryIsComplete) {
  for (const Keyword& keyword : keywords()) {
    EXPECT_FALSE(keyword.help.empty()) << keyword.name;
    EXPECT_FALSE(to_string(keyword.argument).empty()) << keyword.name;
    EXPECT_EQ(to_string(keyword.section).empty(), keyword.section == Section::top) << keyword.name;
  }
}

}  // namespace
}  // namespace ctsync::config
