// SPDX-License-Identifier: GPL-2.0-or-later
// What statements mean: each value, default, merging rule and limit of spec config.md; and how mistakes are reported.
#include "ctsync/config/parse.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <syslog.h>

#include <algorithm>
#include <filesystem>

namespace ctsync::config {
namespace {

std::string text_of(const ParseResult& result) {
  std::string all;
  for (const Diagnostic& diagnostic : result.diagnostics) all += diagnostic.to_string() + "\n";
  return all;
}

ParseResult parse(const std::string& text) { return parse_text(text, "f"); }

Config good(const std::string& text) {
  const ParseResult result = parse(text);
  EXPECT_TRUE(result.ok()) << text << "\n" << text_of(result);
  return result.config;
}

bool may_start(const Config& config) {
  return std::ranges::none_of(check_start(config, "f"),
                              [](const Diagnostic& d) { return d.severity == Severity::error; });
}

std::string errors_of(const std::string& text) {
  const ParseResult result = parse(text);
  EXPECT_EQ(result.exit_status, 1) << text;
  return text_of(result);
}

IpAddress ip(const char* text) {
  IpAddress address;
  address.family = std::string_view(text).find(':') == std::string_view::npos ? Family::ipv4 : Family::ipv6;
  EXPECT_EQ(inet_pton(socket_family(address.family), text, address.bytes.data()), 1);
  return address;
}

TEST(Parse, KeepalivedIsFollowedByName) {
  const auto k = good("Sync { Keepalived { NotifyFifo /run/k Group PAIR Group \"a b\" Instance INSIDE } }").keepalived;
  ASSERT_TRUE(k);
  EXPECT_EQ(k->fifo, "/run/k");
  EXPECT_EQ(k->groups, (std::vector<std::string>{"PAIR", "a b"}));
  EXPECT_EQ(k->instances, std::vector<std::string>{"INSIDE"});
  EXPECT_FALSE(good("Sync { }").keepalived);
  const auto incomplete = good("Sync { Keepalived { } }");
  std::string told;
  for (const auto& d : check_start(incomplete, "f")) told += d.to_string() + "\n";
  EXPECT_NE(told.find("f:1:8: `Keepalived' needs a `NotifyFifo'"), std::string::npos) << told;
  EXPECT_NE(told.find("`Keepalived' needs a `Group' or an `Instance'"), std::string::npos);
}

// What the daemon says of it at its start.
std::string told_at_start(const std::string& text) {
  std::string told;
  for (const auto& d : check_start(good(text), "f")) told += d.to_string() + "\n";
  return told;
}

TEST(Parse, MetricsAreServedOnASocketOrALoopbackAddress) {
  EXPECT_FALSE(good("").metrics);
  const auto unix_socket = good("General { Metrics { Path /run/m } }").metrics;
  ASSERT_TRUE(unix_socket);
  EXPECT_EQ(unix_socket->path, "/run/m");
  EXPECT_FALSE(unix_socket->address.is_set());
  const auto tcp = good("General { Metrics { IPv4_address 127.0.0.2 Port 9199 } }").metrics;
  ASSERT_TRUE(tcp);
  EXPECT_EQ(tcp->address, ip("127.0.0.2"));
  EXPECT_EQ(tcp->port, 9199U);
  for (const char* block : {"Path /run/m", "IPv4_address 127.0.0.1 Port 1", "IPv6_address ::1 Port 65535",
                            "Path /run/m Port 9 IPv6_address ::1"}) {
    EXPECT_EQ(told_at_start(fmt::format("General {{ Metrics {{ {} }} }}", block)), "") << block;
  }
}

TEST(Parse, MetricsAreServedToNobodyElse) {
  for (const char* address : {"IPv4_address 192.0.2.1", "IPv4_address 0.0.0.0", "IPv4_address 128.0.0.1",
                              "IPv6_address ::", "IPv6_address fd00::1", "IPv6_address ::ffff:7f00:1"}) {
    const auto told = told_at_start(fmt::format("General {{\n Metrics {{\n  {}\n  Port 9199 }} }}", address));
    EXPECT_TRUE(told.find("f:3:16: metrics are served to this machine alone: ") != std::string::npos) << told;
  }
  EXPECT_NE(told_at_start("General {\n Metrics { } }").find("f:2:2: `Metrics' needs a `Path', or"), std::string::npos);
  EXPECT_NE(told_at_start("General { Metrics { IPv4_address 127.0.0.1 } }").find("has an address and no `Port'"),
            std::string::npos);
  EXPECT_NE(told_at_start("General { Metrics { Path /m Port 1 } }").find("has a `Port' and no address"),
            std::string::npos);
  for (const char* port : {"0", "65536"}) {
    EXPECT_NE(errors_of(fmt::format("General {{ Metrics {{ Port {} }} }}", port)).find("`Port' must be [1, 65535]"),
              std::string::npos);
  }
  EXPECT_NE(errors_of(fmt::format("General {{ Metrics {{ Path /{} }} }}", std::string(107, 'x')))
                .find("Path is longer than 107 characters"),
            std::string::npos);
}

TEST(Config, EmptyFileHasAllDefaults) {
  const Config config = good("");
  EXPECT_FALSE(config.has_sync || config.has_stats || config.has_helper);
  EXPECT_EQ(config.hash_size, 65536U);
  EXPECT_EQ(config.hash_limit, 262144U);
  EXPECT_EQ(config.lock_file, "/var/lock/conntrackd.lock");
  EXPECT_EQ(config.overrun_resync, 30U);
  EXPECT_EQ(config.event_iteration_limit, 100U);
  EXPECT_FALSE(config.log_file || config.syslog_facility || config.poll_secs);
  EXPECT_EQ(config.scheduler.policy, SchedulerPolicy::round_robin);
  EXPECT_EQ(config.scheduler.priority, 99);
  EXPECT_EQ(config.resend_queue_size, 131072U);
  EXPECT_EQ(config.ack_window_size, 300U);
  EXPECT_EQ(config.commit_timeout, 0U);
  EXPECT_EQ(config.purge_timeout, 60U);
  EXPECT_EQ(config.refresh_time, 60U);
  EXPECT_EQ(config.cache_timeout, 180U);
  EXPECT_EQ(config.error_queue_length, 128U);
  EXPECT_TRUE(config.systemd);
}

TEST(Config, GeneralStatements) {
  const Config config = good(R"(General {
    HashSize 8192 HashLimit 65535 LogFile /var/log/c.log Syslog local3 LockFile /run/c.lock
    UNIX { Path /run/c.ctl }
    NetlinkBufferSize 2097152 NetlinkBufferSizeMaxGrowth 8388608 NetlinkOverrunResync 5 NetlinkEventsReliable Yes
    EventIterationLimit 7 PollSecs 15 Scheduler { Type FIFO Priority 12 } Systemd off
  })");
  EXPECT_EQ(config.hash_size, 8192U);
  EXPECT_EQ(config.hash_limit, 65535U);
  EXPECT_EQ(config.log_file, "/var/log/c.log");
  EXPECT_EQ(config.syslog_facility, LOG_LOCAL3);
  EXPECT_EQ(config.lock_file, "/run/c.lock");
  EXPECT_EQ(config.unix_path, "/run/c.ctl");
  EXPECT_EQ(config.netlink_buffer_size, 2097152U);
  EXPECT_EQ(config.netlink_buffer_size_max, 8388608U);
  EXPECT_EQ(config.overrun_resync, 5U);
  EXPECT_TRUE(config.events_reliable);
  EXPECT_EQ(config.event_iteration_limit, 7U);
  EXPECT_EQ(config.poll_secs, 15U);
  EXPECT_EQ(config.scheduler.policy, SchedulerPolicy::fifo);
  EXPECT_EQ(config.scheduler.priority, 12);
  EXPECT_FALSE(config.systemd);
}

TEST(Config, ZeroMeansDefaultAndTheLastValueWins) {
  EXPECT_EQ(good("General { HashSize 10 HashSize 20 }").hash_size, 20U);
  EXPECT_EQ(good("General { HashSize 10 HashSize 0 }").hash_size, 65536U);
  EXPECT_EQ(good("General { HashLimit 0 EventIterationLimit 0 }").hash_limit, 262144U);
  EXPECT_EQ(good("General { NetlinkOverrunResync off }").overrun_resync, std::nullopt);
  EXPECT_EQ(good("General { NetlinkOverrunResync off NetlinkOverrunResync on }").overrun_resync, 30U);
  EXPECT_EQ(good("General { NetlinkOverrunResync 0 }").overrun_resync, 30U);
  EXPECT_EQ(good("General { }").kernel_compare_secs, 3600U);
  EXPECT_EQ(good("General { KernelCompareSecs 5 }").kernel_compare_secs, 5U);
  EXPECT_EQ(good("General { KernelCompareSecs 0 }").kernel_compare_secs, 0U);
  EXPECT_EQ(good("General { HashSize 1 } General { HashLimit 2 }").hash_size, 1U);
}

TEST(Config, LogFileOnIsTheStandardFileAndOffUndoesNothing) {
  EXPECT_EQ(good("General { LogFile on }").log_file, "/var/log/conntrackd.log");
  EXPECT_EQ(good("General { LogFile off }").log_file, std::nullopt);
  EXPECT_EQ(good("General { LogFile /x LogFile off }").log_file, "/x");
  EXPECT_EQ(good("Stats { LogFile on }").stats_log_file, "/var/log/conntrackd-stats.log");
  EXPECT_EQ(good("Stats { LogFile /y }").stats_log_file, "/y");
}

TEST(Config, SyslogFacilities) {
  EXPECT_EQ(good("General { Syslog on }").syslog_facility, LOG_DAEMON);
  EXPECT_EQ(good("General { Syslog local7 }").syslog_facility, LOG_LOCAL7);
  EXPECT_EQ(good("General { Syslog local1 Syslog kern }").syslog_facility, LOG_LOCAL1);
  EXPECT_EQ(good("General { Syslog local1 Syslog off }").syslog_facility, std::nullopt);
  EXPECT_EQ(good("Stats { Syslog local2 }").stats_syslog_facility, LOG_LOCAL2);
}

TEST(Config, AliasesOfTheBufferSizes) {
  for (const char* growth : {"NetlinkBufferSizeMaxGrowth", "SocketBufferSizeMaxGrowth", "SocketBufferSizeMaxGrown"}) {
    const Config config = good(fmt::format("General {{ SocketBufferSize 1 {} 2 }}", growth));
    EXPECT_EQ(config.netlink_buffer_size, 1U);
    EXPECT_EQ(config.netlink_buffer_size_max, 2U);
  }
}

TEST(Config, SchedulerNeedsATypeForItsPriorityToCount) {
  EXPECT_EQ(good("General { Scheduler { Priority 50 } }").scheduler.priority, 99);
  EXPECT_EQ(good("General { Scheduler { Type rr } }").scheduler.priority, 0);
  EXPECT_EQ(good("General { Scheduler { Priority 7 } Scheduler { Type Fifo } }").scheduler.priority, 7);
}

TEST(Config, NumbersThatDoNotFit) {
  EXPECT_NE(errors_of("General { HashSize 2147483648 }").find("f:1:20: `HashSize' must be at most"), std::string::npos);
  errors_of("General { HashSize 99999999999999999999999999 }");
  EXPECT_EQ(good("General { HashSize 2147483647 }").hash_size, 2147483647U);
  EXPECT_EQ(good("General { HashLimit 3000000000 }").hash_limit, 3000000000U);
  EXPECT_EQ(good("General { HashLimit 99999999999999999999999999 }").hash_limit, 4294967295U);
}

TEST(Config, PortsKeepTheirLow16BitsAsInConntrackd) {
  const auto port = [](const std::string& text) {
    return good("Sync { Mode FTFW { } UDP { Port " + text + " } }").links.at(0).port;
  };
  EXPECT_EQ(port("3780"), 3780);
  EXPECT_EQ(port("70000"), 4464);
  EXPECT_EQ(port("99999999999999"), 99999999999999 & 0xffff);
  EXPECT_EQ(port("99999999999999999999"), 65535);
}

TEST(Config, SyncOverUdpFromTheField) {
  const ParseResult result = parse_file(CTSYNC_TEST_DATA "/outputs/configs/ftfw-udp-twolinks.f1.conf");
  EXPECT_TRUE(result.ok()) << text_of(result);
  EXPECT_TRUE(result.config.has_sync);
  EXPECT_EQ(result.config.mode, SyncMode::ftfw);
  ASSERT_EQ(result.config.links.size(), 2U);
  EXPECT_EQ(result.config.links[0].kind, LinkKind::udp);
  EXPECT_TRUE(check_start(result.config, "f").empty());
}

TEST(Config, EveryConfigurationThatTheCapturesWereTakenWith) {
  int read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CTSYNC_TEST_DATA "/outputs/configs")) {
    const ParseResult result = parse_file(entry.path());
    EXPECT_TRUE(result.ok()) << text_of(result);
    EXPECT_TRUE(may_start(result.config)) << entry.path();
    ++read;
  }
  EXPECT_GE(read, 20);
}

TEST(Config, UdpLink) {
  const Config config = good(R"(Sync { Mode NOTRACK { } UDP Default {
    IPv6_address fd00::1 IPv6_Destination_Address fd00::2 Port 3780 Interface lo
    SndSocketBuffer 1000 RcvSocketBuffer 0 Checksum off } })");
  const LinkConfig& link = config.links.at(0);
  EXPECT_TRUE(link.is_default);
  EXPECT_EQ(link.interface, "lo");
  EXPECT_EQ(link.family, Family::ipv6);
  EXPECT_EQ(link.address, ip("fd00::1"));
  EXPECT_EQ(link.destination, ip("fd00::2"));
  EXPECT_EQ(link.port, 3780);
  EXPECT_EQ(link.send_buffer, 1000U);
  EXPECT_EQ(link.receive_buffer, std::nullopt);
  EXPECT_FALSE(link.checksum);
  EXPECT_EQ(link.line, 1);
  EXPECT_EQ(link.column, 25);
}

TEST(Config, MulticastLink) {
  const Config config = good(R"(Sync { Mode ALARM { } Multicast {
    IPv4_address 225.0.0.50 Group 3780 IPv4_interface 192.0.2.1 Interface "lo" } })");
  const LinkConfig& link = config.links.at(0);
  EXPECT_EQ(link.kind, LinkKind::multicast);
  EXPECT_EQ(link.family, Family::ipv4);
  EXPECT_EQ(link.address, ip("225.0.0.50"));
  EXPECT_EQ(link.ipv4_interface, ip("192.0.2.1"));
  EXPECT_EQ(link.port, 3780);
  EXPECT_EQ(link.interface, "lo");
  EXPECT_TRUE(link.checksum);
}

TEST(Config, QuotesMakeAnyInterfaceNameWritable) {
  for (const char* name : {"be0", "TCP", "on", "0eth", "eth0:1", "a@b"}) {
    EXPECT_EQ(good(fmt::format("Sync {{ UDP {{ Interface \"{}\" }} }}", name)).links.at(0).interface, name);
  }
  errors_of("Sync { UDP { Interface \"\" } }");
  errors_of("Sync { UDP { Interface be0 } }");
}

TEST(Config, TheLastAddressDecidesTheFamilyOfAUdpLink) {
  const Config config = good("Sync { UDP { IPv4_address 192.0.2.1 IPv6_Destination_Address fd00::2 } }");
  EXPECT_EQ(config.links.at(0).family, Family::ipv6);
  EXPECT_FALSE(may_start(config));
  // The peer is of no use then, but the daemon can start.
  const Config other = good("Sync { UDP { IPv6_Destination_Address fd00::2 IPv4_address 192.0.2.1 Interface lo } }");
  EXPECT_EQ(other.links.at(0).family, Family::ipv4);
  EXPECT_FALSE(other.links.at(0).destination.is_set());
  EXPECT_TRUE(may_start(other));
}

TEST(Config, FirstLinkIsTheLastDefaultOne) {
  const std::string udp = "UDP { } ", default_udp = "UDP Default { } ";
  EXPECT_EQ(good("Sync { " + udp + udp + "}").first_link(), 0U);
  EXPECT_EQ(good("Sync { " + udp + default_udp + default_udp + udp + "}").first_link(), 2U);
  EXPECT_EQ(good("Sync { }").first_link(), 0U);
}

TEST(Config, LinksOfSeveralSyncBlocksAddUp) {
  EXPECT_EQ(good("Sync { TCP { ErrorQueueLength 5 } } Sync { TCP { } }").links.size(), 2U);
  EXPECT_EQ(good("Sync { TCP { ErrorQueueLength 5 } } Sync { TCP { } }").error_queue_length, 5U);
  errors_of("Sync { UDP { } UDP { } UDP { } } Sync { UDP { } UDP { } }");
  errors_of("Sync { UDP { } } Sync { TCP { } }");
}

TEST(Config, TheStrongestModeCountsWithTheOptionsOfAll) {
  const Config config = good(R"(Sync {
    Mode NOTRACK { DisableInternalCache on } Mode ALARM { RefreshTime 7 CacheTimeout 8 PurgeTimeout 9 }
    Mode FTFW { ResendQueueSize 10 ACKWindowSize 11 CommitTimeout 12 StartupResync on } Mode ALARM { } })");
  EXPECT_EQ(config.mode, SyncMode::ftfw);
  EXPECT_FALSE(config.disable_internal_cache) << "but for the one that this mode cannot do";
  EXPECT_EQ(config.refresh_time, 7U);
  EXPECT_EQ(config.cache_timeout, 8U);
  EXPECT_EQ(config.purge_timeout, 9U);
  EXPECT_EQ(config.resend_queue_size, 10U);
  EXPECT_EQ(config.ack_window_size, 11U);
  EXPECT_EQ(config.commit_timeout, 12U);
  EXPECT_TRUE(config.startup_resync);
  EXPECT_EQ(good("Sync { Mode NOTRACK { } Mode PERSISTENT { } }").mode, SyncMode::alarm);
  EXPECT_EQ(good("Sync { Mode NACK { } }").mode, SyncMode::ftfw);
  EXPECT_EQ(good("Sync { RefreshTime 5 }").refresh_time, 5U);
}

TEST(Config, WarmStandbyNeedsBothCachesAndEvents) {
  EXPECT_FALSE(good("Sync { Mode FTFW { } }").warm_standby);
  for (const char* mode : {"FTFW", "ALARM", "NOTRACK"}) {
    const Config config = good(fmt::format("Sync {{ Mode {} {{ WarmStandby on MirrorTimeout 30 }} }}", mode));
    EXPECT_TRUE(config.warm_standby) << mode;
    EXPECT_EQ(config.mirror_timeout, 30U) << mode;
  }
  EXPECT_EQ(good("Sync { Mode FTFW { WarmStandby on MirrorTimeout 1 } }").mirror_timeout, 5U);
  EXPECT_FALSE(good("Sync { Mode FTFW { WarmStandby on DisableExternalCache on } }").warm_standby);
  EXPECT_FALSE(good("Sync { Mode NOTRACK { WarmStandby on DisableInternalCache on } }").warm_standby);
  EXPECT_FALSE(good("General { PollSecs 5 } Sync { Mode FTFW { WarmStandby on } }").warm_standby);
}

TEST(Config, CommitTimeoutGivesWayToDisableExternalCache) {
  const Config config = good("Sync { Mode FTFW { CommitTimeout 10 DisableExternalCache on } }");
  EXPECT_EQ(config.commit_timeout, 0U);
  EXPECT_TRUE(config.disable_external_cache);
}

TEST(Config, ExpectationSync) {
  EXPECT_FALSE(good("Sync { }").expectation_sync.enabled);
  const auto of = [](const std::string& body) { return good("Sync { Options { " + body + " } }").expectation_sync; };
  EXPECT_TRUE(of("ExpectationSync on").enabled);
  EXPECT_TRUE(of("ExpectationSync on").helpers.empty());
  EXPECT_FALSE(of("ExpectationSync on ExpectationSync off").enabled);
  EXPECT_TRUE(of("ExpectationSync { }").enabled);
  const ExpectationSync sum = of("ExpectationSync { ftp sip ftp } ExpectationSync { abcdefghijklmnopqrstuvw q.931 }");
  EXPECT_EQ(sum.helpers, (std::vector<std::string>{"ftp", "sip", "abcdefghijklmnop", "q.931"}));
}

TEST(Config, WhatIsNotAnnouncedAtOnce) {
  const auto of = [](const std::string& body) { return parse("Sync { Options { " + body + " } }"); };
  const auto config = of("SyncMinAge 5 SyncMinAgeEstablished on SyncCoalesce 200").config;
  EXPECT_EQ(config.sync_min_age, 5U);
  EXPECT_TRUE(config.sync_min_age_established);
  EXPECT_EQ(config.sync_coalesce, 200U);
  EXPECT_TRUE(of("SyncMinAge 86400 SyncCoalesce 1000").ok());
  EXPECT_EQ(text_of(of("SyncMinAge 86401")), "f:1:29: `SyncMinAge' must be at most 86400 seconds\n");
  EXPECT_EQ(text_of(of("SyncCoalesce 1001")), "f:1:31: `SyncCoalesce' must be at most 1000 milliseconds\n");
}

TEST(Config, WhatIsNotSynchronised) {
  EXPECT_TRUE(good("Sync { }").sync_mark);
  EXPECT_TRUE(good("Sync { }").sync_labels);
  const auto config = good("Sync { Options { SyncMark off SyncLabels off } }");
  EXPECT_FALSE(config.sync_mark);
  EXPECT_FALSE(config.sync_labels);
}

TEST(Config, WhatPeersOfConntrackd146Need) {
  EXPECT_FALSE(good("Sync { Options { } }").swap_nat_addresses);
  EXPECT_TRUE(good("Sync { Options { SwapNATAddresses on } }").swap_nat_addresses);
}

TEST(Config, FilterListsOfAKindAreOneListAndTheLastActionCounts) {
  const FilterConfig filter = good(R"(General { Filter From Kernelspace {
      Protocol Accept { TCP SCTP } Protocol Ignore { UDP tcp }
      State Accept { ESTABLISHED CLOSE for TCP SYN_SENT for TCP } }
    Filter { Address Ignore { IPv4_address 127.0.0.1 IPv4_address 10.1.2.3/8 IPv6_address ::1 IPv6_address fd00::/8
      IPv4_address 127.0.0.1/32 IPv6_address fd00::/8 } } })")
                                  .filter;
  EXPECT_FALSE(filter.from_kernelspace);  // the last block decides
  EXPECT_EQ(filter.protocol_action, FilterAction::ignore);
  EXPECT_EQ(filter.protocols, (std::vector<std::uint8_t>{IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_UDP}));
  EXPECT_EQ(filter.state_action, FilterAction::accept);
  EXPECT_EQ(filter.tcp_states, (1U << 3) | (1U << 8) | (1U << 1));
  EXPECT_EQ(filter.address_action, FilterAction::ignore);
  EXPECT_EQ(filter.addresses, (std::vector<AddressEntry>{
                                  {ip("127.0.0.1"), 32}, {ip("10.0.0.0"), 8}, {ip("::1"), 128}, {ip("fd00::"), 8}}));
}

TEST(Config, PortsOfTheFilter) {
  const FilterConfig filter = good("General { Filter { Port Accept { 80 443 } Port Ignore { 65535 1 80 } } }").filter;
  EXPECT_EQ(filter.port_action, FilterAction::ignore);
  EXPECT_EQ(filter.ports, (std::vector<std::uint16_t>{80, 443, 65535, 1, 80}));
  EXPECT_FALSE(good("General { Filter { } }").filter.port_action);
  EXPECT_EQ(errors_of("General { Filter { Port Accept { 0\n65536\nhttp } } }"),
            "f:1:34: 0 is no port: 1 to 65535\nf:2:1: 65536 is no port: 1 to 65535\n"
            "f:3:1: parsing config file in line (3), symbol 'http': syntax error, expected one of: a number, }\n");
}

TEST(Config, AnActionWithoutEntriesIsNotTheSameAsNoAction) {
  const FilterConfig none = good("General { Filter { } }").filter;
  EXPECT_FALSE(none.protocol_action || none.address_action || none.state_action);
  const FilterConfig empty = good("General { Filter { Protocol Accept { } } }").filter;
  EXPECT_EQ(empty.protocol_action, FilterAction::accept);
  EXPECT_FALSE(empty.address_action || empty.state_action);
}

TEST(Config, Helpers) {
  const Config config = good(R"(Helper { Setup yes
    Type ftp inet tcp { QueueNum 1 QueueLen 10240 }
    Type ftp inet6 tcp { QueueNum 2 Policy ftp { ExpectMax 5 } }
    Type rpc inet udp { QueueNum 3 } })");
  EXPECT_TRUE(config.has_helper);
  EXPECT_TRUE(config.helper.register_private_data);
  const auto& instances = config.helper.instances;
  ASSERT_EQ(instances.size(), 3U);
  EXPECT_EQ(instances[0].queue_number, 1);
  EXPECT_EQ(instances[0].queue_length, 10240U);
  EXPECT_EQ(instances[1].l3_family, AF_INET6);
  EXPECT_EQ(instances[1].queue_length, 0U);
  // The policy belongs to the helper: it holds for the other instance too, and the value not given is 0.
  for (const int i : {0, 1}) {
    EXPECT_EQ(instances[static_cast<std::size_t>(i)].policy.expect_max, 5U);
    EXPECT_EQ(instances[static_cast<std::size_t>(i)].policy.expect_timeout, 0U);
  }
  EXPECT_EQ(instances[2].l4_protocol, IPPROTO_UDP);
  EXPECT_EQ(instances[2].policy.name, "rpc");
  EXPECT_EQ(instances[2].policy.expect_timeout, 300U);
}

TEST(Config, HelperSettingsOutsideTypeApplyToTheNextOne) {
  const auto instances =
      good("Helper { QueueNum 3 Type ftp inet tcp { QueueLen 4 } Type tftp inet udp { } }").helper.instances;
  EXPECT_EQ(instances.at(0).queue_number, 3);
  EXPECT_EQ(instances.at(0).queue_length, 4U);
  EXPECT_EQ(instances.at(1).queue_number, 0);
}

TEST(Diagnostics, AllMistakesOfAFileAreReportedWithTheirPlaces) {
  const std::string errors = errors_of(
      "General {\n"
      "\tHashsize 10\n"
      "\tHashLimit many\n"
      "\tScheduler { Type OTHER }\n"
      "\tUNIX {\n\t\tPath relative\n\t}\n"
      "\tBogus {\n\t\tA b\n\t\tC {\n\t\t}\n\t}\n"
      "\tHashSize\n"
      "\tPollSecs 0\n"
      "}\n"
      "Sync {\n"
      "\tMode FOO {\n\t\tX 1\n\t}\n"
      "\tUDP {\n\t\tGroup 3\n\t\tPort 3780 4\n\t}\n"
      "}\n"
      "Frob {\n}\n");
  EXPECT_EQ(errors,
            "f:2:2: parsing config file in line (2), symbol 'Hashsize': syntax error, expected one of: "
            "EventIterationLimit, Filter, HashLimit, HashSize, KernelCompareSecs, LockFile, LogFile, Metrics, "
            "NetlinkBufferSize, "
            "NetlinkBufferSizeMaxGrowth, NetlinkEventsReliable, NetlinkOverrunResync, Nice, PollSecs, Scheduler, "
            "Syslog, Systemd, UNIX, }\n"
            "f:3:12: parsing config file in line (3), symbol 'many': syntax error, expected a number\n"
            "f:4:19: unknown scheduler `OTHER', expected one of: FIFO, RR\n"
            "f:6:8: parsing config file in line (6), symbol 'relative': syntax error, expected a path\n"
            "f:8:2: parsing config file in line (8), symbol 'Bogus': syntax error, expected one of: "
            "EventIterationLimit, Filter, HashLimit, HashSize, KernelCompareSecs, LockFile, LogFile, Metrics, "
            "NetlinkBufferSize, "
            "NetlinkBufferSizeMaxGrowth, NetlinkEventsReliable, NetlinkOverrunResync, Nice, PollSecs, Scheduler, "
            "Syslog, Systemd, UNIX, }\n"
            "f:14:2: parsing config file in line (14), symbol 'PollSecs': syntax error, expected a number\n"
            "f:14:11: `PollSecs' clause must be > 0\n"
            "f:17:7: parsing config file in line (17), symbol 'FOO': syntax error, expected one of: ALARM, FTFW, NACK, "
            "NOTRACK, PERSISTENT\n"
            "f:21:3: parsing config file in line (21), symbol 'Group': syntax error, expected one of: Checksum, "
            "IPv4_Destination_Address, IPv4_address, IPv6_Destination_Address, IPv6_address, Interface, Port, "
            "RcvSocketBuffer, SndSocketBuffer, }\n"
            "f:22:13: parsing config file in line (22), symbol '4': syntax error, expected one of: Checksum, "
            "IPv4_Destination_Address, IPv4_address, IPv6_Destination_Address, IPv6_address, Interface, Port, "
            "RcvSocketBuffer, SndSocketBuffer, }\n"
            "f:25:1: parsing config file in line (25), symbol 'Frob': syntax error, expected one of: General, Helper, "
            "Stats, Sync, end of file\n");
}

TEST(Diagnostics, AMissingBraceDoesNotHideTheNextBlock) {
  const std::string errors = errors_of("General {\n\tUNIX {\n\t\tPath /x\nStats {\n\tBogus\n}\n");
  EXPECT_NE(errors.find("f:4:1: parsing config file in line (4), symbol 'Stats'"), std::string::npos) << errors;
  EXPECT_NE(errors.find("f:5:2: parsing config file in line (5), symbol 'Bogus'"), std::string::npos) << errors;
  EXPECT_EQ(std::ranges::count(errors, '\n'), 2) << errors;
}

TEST(Diagnostics, OneMistakeIsOneError) {
  for (const char* text : {"Stats\n\tLogFile off\n}\n", "General {\n\tHashSize = 10\n}\n", "Stats {\n}\n}\n",
                           "General {\n\tFilter {\n\t\tProtocol {\n\t\t\tTCP\n\t\t}\n\t}\n}\n",
                           "General {\n\tUNIX Path /x\n}\n", "Sync {\n\tsctp\n\t{\n\t\tPort 1\n\t}\n}\n"}) {
    const std::string errors = errors_of(text);
    EXPECT_EQ(std::ranges::count(errors, '\n'), 1) << text << errors;
  }
}

TEST(Diagnostics, ErrorsAreBounded) {
  std::string text = "General {\n";
  for (int i = 0; i < 1000; ++i) text += "Bogus 1\n";
  const ParseResult result = parse(text + "}\n");
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_EQ(result.diagnostics.size(), kMaxErrors + 1);
  EXPECT_EQ(result.diagnostics.back().text, "too many errors, giving up");
}

TEST(Diagnostics, WarningsAreBoundedAndDoNotChangeTheStatus) {
  std::string text = "General {\n";
  for (int i = 0; i < 1000; ++i) text += "Nice -1\n";
  const ParseResult result = parse(text + "}\n");
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_LT(result.diagnostics.size(), 120U);
  EXPECT_EQ(result.diagnostics.front().severity, Severity::warning);
}

TEST(Diagnostics, BytesOfTheFileComeOutPrintable) {
  EXPECT_NE(errors_of("\x1b[31m").find("symbol '\\x1b'"), std::string::npos);
  const ParseResult result = parse("General { Syslog " + std::string(100000, 'x') + " }");
  EXPECT_TRUE(result.ok());
  EXPECT_LT(text_of(result).size(), 1000U);
}

TEST(Diagnostics, AByteOrderMarkIsSkippedWithAWarning) {
  const ParseResult result = parse("\xef\xbb\xbfStats { }");
  EXPECT_TRUE(result.ok());
  EXPECT_TRUE(result.config.has_stats);
  EXPECT_NE(text_of(result).find("byte-order mark"), std::string::npos);
}

TEST(Diagnostics, WhatConntrackdDoesSilentlyIsWarnedAbout) {
  const ParseResult result = parse(R"(General { LogFile /x LogFile off HashLimit 4294967296
  Filter { Protocol Accept { TCP } Protocol Ignore { UDP } } }
Sync { Mode NOTRACK { } Mode FTFW { }
  UDP { Interface lo IPv4_address 127.0.0.1 IPv4_Destination_Address 127.0.0.1 Port 70000 } }
)");
  EXPECT_TRUE(result.ok());
  const std::string text = text_of(result);
  for (const char* place_and_start :
       {"f:1:22: `LogFile off' does not undo", "f:1:44: 4294967296 is too large",
        "f:2:36: this action replaces that of the earlier", "f:3:30: more than one `Mode'", "f:4:85: `Port' 70000",
        "f: no `Path' for the control socket"}) {
    EXPECT_NE(text.find(place_and_start), std::string::npos) << place_and_start << "\n" << text;
  }
  EXPECT_EQ(result.diagnostics.size(), 6U) << text;
}

// The other engines work on the internal cache.
TEST(Diagnostics, InternalCacheOfAnotherModeStaysOn) {
  const ParseResult result = parse("Sync {\n Mode NOTRACK { DisableInternalCache on }\n Mode FTFW { }\n}\n");
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.config.mode, SyncMode::ftfw);
  EXPECT_FALSE(result.config.disable_internal_cache);
  EXPECT_NE(text_of(result).find("`DisableInternalCache' is possible in mode NOTRACK only"), std::string::npos);
}

TEST(Diagnostics, LinksThatCannotWorkAreNamed) {
  const ParseResult result = parse("Sync {\n Mode FTFW { }\n UDP { Interface lo }\n}\n");
  EXPECT_TRUE(result.ok());
  EXPECT_NE(text_of(result).find("f:3:2: UDP link has no `Port'"), std::string::npos) << text_of(result);
  EXPECT_NE(text_of(result).find("f:3:2: UDP link has no destination"), std::string::npos) << text_of(result);
  const auto problems = check_start(result.config, "f");
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].to_string(), "f:3:2: UDP link has no valid address");
}

std::string start_problems(const std::string& text) {
  std::string all;
  for (const Diagnostic& d : check_start(good(text), "f")) {
    all += (d.severity == Severity::error ? "error " : "warning ") + d.to_string() + "\n";
  }
  return all;
}

constexpr const char* kLink = "UDP { IPv4_address 192.0.2.1 IPv4_Destination_Address 192.0.2.2 Port 1 Interface lo } ";

TEST(StartCheck, PollingWithoutAnInternalCacheIsRefused) {
  const std::string bypass = fmt::format("Sync {{ Mode NOTRACK {{ DisableInternalCache on }} {} }} ", kLink);
  EXPECT_EQ(start_problems(bypass), "");
  const std::string problems = start_problems(bypass + "General { PollSecs 5 }");
  EXPECT_TRUE(problems.starts_with("error f: nothing would be replicated with both `PollSecs' and ")) << problems;
}

TEST(StartCheck, WithoutAnInternalCacheNothingCanBeKeptBack) {
  for (const char* option : {"SyncMinAge 5", "SyncCoalesce 200"}) {
    const auto with = [&](const char* mode) {
      return start_problems(fmt::format("Sync {{ Mode {} Options {{ {} }} {} }} ", mode, option, kLink));
    };
    EXPECT_EQ(with("NOTRACK { }"), "");
    EXPECT_EQ(with("NOTRACK { DisableInternalCache on }"),
              "error f: `SyncMinAge' and `SyncCoalesce' need the internal cache: remove them, or "
              "`DisableInternalCache'\n");
  }
}

TEST(StartCheck, OptionsOfTheEventsHaveNoEffectWithPolling) {
  const std::string sync = fmt::format("Sync {{ {} }} General {{ ", kLink);
  EXPECT_EQ(start_problems(sync + "PollSecs 5 }"), "");
  EXPECT_EQ(start_problems(sync + "NetlinkEventsReliable on }"), "");
  EXPECT_EQ(start_problems(sync + "PollSecs 5 NetlinkEventsReliable on NetlinkBufferSize 1000000 }"),
            "warning f: with `PollSecs' the kernel's table is read every 5 s and its events are not used: flows that "
            "live shorter are never seen, and these have no effect: `NetlinkEventsReliable', `NetlinkBufferSize'\n");
  for (const char* option : {"NetlinkBufferSizeMaxGrowth 1000000", "NetlinkOverrunResync off", "KernelCompareSecs 0"}) {
    EXPECT_TRUE(start_problems(fmt::format("Stats {{ }} General {{ PollSecs 7 {} }}", option)).starts_with("warning"));
  }
  const auto polled =
      fmt::format("Sync {{ {} Options {{ SyncMinAge 5 SyncCoalesce 9 }} }} General {{ PollSecs 5 }}", kLink);
  EXPECT_TRUE(start_problems(polled).ends_with("no effect: `SyncMinAge', `SyncCoalesce'\n")) << start_problems(polled);
}

TEST(StartCheck, ALinkToItsOwnAddressIsWarnedAbout) {
  EXPECT_EQ(start_problems(fmt::format("Sync {{ {} }}", kLink)), "");
  for (const char* block : {"UDP { IPv4_address 192.0.2.1 IPv4_Destination_Address 192.0.2.1 Port 1 Interface lo }",
                            "TCP { IPv6_address fd00::1 IPv6_Destination_Address fd00:0::1 Port 1 Interface lo }"}) {
    const std::string problems = start_problems(fmt::format("Sync {{\n\n {} }}", block));
    EXPECT_TRUE(problems.starts_with("warning f:3:2: ")) << problems;
    EXPECT_NE(problems.find("link leads to this node"), std::string::npos) << problems;
  }
}

// The hints of all errors, each with its line.
std::string hints_of(const std::string& text) {
  std::string hints;
  for (const Diagnostic& d : parse_text(text, "f").diagnostics) hints += fmt::format("{} {}\n", d.line, d.hint);
  return hints;
}

TEST(Hints, NameTheWordThatWasMeant) {
  EXPECT_EQ(hints_of("General {\nHashSise 1\nhashlimit 2\n}"),
            "2 did you mean `HashSize'?\n3 did you mean `HashLimit'?\n");
  EXPECT_EQ(hints_of("Sync { Mode FTFW {\nDisableInternalCache on\n} }"),
            "2 `DisableInternalCache' belongs into `Sync Mode NOTRACK'\n");
  EXPECT_EQ(hints_of("Sync {\nBacklogg 1\n}"), "2 did you mean `Backlog'? It belongs into `General UNIX'\n");
  EXPECT_EQ(hints_of("General {\nXyzzY 1\n}"), "2 \n");
}

TEST(Hints, NameTheSuccessorsOfOldWords) {
  EXPECT_EQ(hints_of("IgnoreTrafficFor {\nIPv4_address 127.0.0.1\n}\nSync {\nReplicate ESTABLISHED for TCP\n"
                     "Mode NOTRACK {\nCacheWriteThrough on\n}\nMulticast {\nMcastSndSocketBuffer 1\nGroup 1 } }"),
            "1 of conntrackd 0.9; today `Address Ignore { ... }' in `Filter' of `General'\n"
            "5 of conntrackd 0.9; today `State Accept { ... for TCP }' in `Filter' of `General'\n"
            "7 of conntrackd 0.9; today `DisableExternalCache' in `Mode'\n"
            "10 of conntrackd 0.9; today `SndSocketBuffer' in the block of the link\n");
}

TEST(Hints, ComputeSizesWithUnits) {
  EXPECT_EQ(hints_of("General {\nNetlinkBufferSize 64k\nHashSize 2M\nHashLimit 3 M\n}"),
            "2 numbers have no unit: write all digits, such as 65536\n"
            "3 numbers have no unit: write all digits, such as 2097152\n4 \n");
}

TEST(Recovery, UnknownBlocksAreLeftOutOneByOne) {
  EXPECT_EQ(hints_of("Foo { a { b } }\nBar\n{ c }\nGeneral {\nxyzzy\n}\nFoo {\nGeneral { xyzzy\n}"),
            "1 \n2 \n5 \n7 \n8 \n");
}

TEST(Recovery, ATopBlockInTheWrongCaseIsReadAsWhatWasMeant) {
  EXPECT_EQ(hints_of("general {\nxyzzy 1\n}\nSYNC { Mode FTFW {\nxyzzy\n} }"),
            "1 did you mean `General'?\n2 \n4 did you mean `Sync'?\n5 \n");
}

TEST(ParseFile, MissingFileIsStatus1AndADirectoryIsStatus2) {
  const ParseResult missing = parse_file("/nonexistent/x.conf");
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_NE(text_of(missing).find("can't open config file `/nonexistent/x.conf'"), std::string::npos);
  EXPECT_EQ(parse_file("/").exit_status, 2);
}

TEST(ParseFile, AnEndlessFileIsRefused) {
  const ParseResult result = parse_file("/dev/zero");
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_NE(text_of(result).find("larger than"), std::string::npos);
}

}  // namespace
}  // namespace ctsync::config
