/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grammar of the configuration file (spec config.md). What a statement means is said in Builder; here is only what
   may stand where. A broken statement is dropped by the `error` rule of its block, so that one run reports all
   mistakes of a file. */

%require "3.8"
%language "c++"
%skeleton "lalr1.cc"
%define api.namespace {ctsync::config}
%define api.parser.class {Grammar}
%define api.token.constructor
%define api.token.raw
%define api.value.type variant
%define api.location.type {ctsync::config::Position}
%define parse.error custom
%define parse.lac full
%locations
%param {ctsync::config::TokenStream& tokens}
%parse-param {ctsync::config::Builder& builder}

%code requires {
#include <cstdint>
#include <string_view>

#include "position.h"
#include "statement.h"

namespace ctsync::config {
class Builder;
class TokenStream;
}

#define YYLLOC_DEFAULT(Current, Rhs, N) ((Current) = YYRHSLOC(Rhs, (N) ? 1 : 0))
}

%code {
#include <array>
#include <vector>

#include "builder.h"
#include "token_stream.h"

static ctsync::config::Grammar::symbol_type yylex(ctsync::config::TokenStream& tokens) { return tokens.next(); }

// After this the next complaint is reported again, however near it is.
#define CTSYNC_RECOVER(how)                                                    \
  do {                                                                         \
    const auto recovery = builder.is_full() ? ctsync::config::TokenStream::Recovery::give_up : tokens.how(); \
    if (recovery == ctsync::config::TokenStream::Recovery::give_up) YYABORT;   \
    if (recovery == ctsync::config::TokenStream::Recovery::drop) yyclearin;    \
    yyerrok;                                                                   \
  } while (false)
}

/* Word classes. Their names appear in messages. */
%token <std::string_view>
  END 0           "end of file"
  OPEN            "{"
  CLOSE           "}"
  ON              "on"
  OFF             "off"
  NUMBER          "a number"
  SIGNED_NUMBER   "a signed number"
  IP              "an IP address"
  PATH            "a path"
  IDENTIFIER      "a name"
  QUOTED          "a name in quotes"
  INVALID         "invalid character"
  FTFW            "FTFW"
  ALARM           "ALARM"
  NOTRACK         "NOTRACK"
  NACK            "NACK"
  PERSISTENT      "PERSISTENT"

/* Keywords: the word itself is the name. They stay last, word_token() relies on it. */
%token <std::string_view>
  GENERAL                  "General"
  SYNC                     "Sync"
  STATS                    "Stats"
  HELPER                   "Helper"
  HASH_SIZE                "HashSize"
  HASH_LIMIT               "HashLimit"
  LOG_FILE                 "LogFile"
  SYSLOG                   "Syslog"
  LOCK_FILE                "LockFile"
  UNIX                     "UNIX"
  NETLINK_BUFFER_SIZE      "NetlinkBufferSize"
  SOCKET_BUFFER_SIZE       "SocketBufferSize"
  NETLINK_BUFFER_MAX       "NetlinkBufferSizeMaxGrowth"
  SOCKET_BUFFER_MAX        "SocketBufferSizeMaxGrowth"
  SOCKET_BUFFER_MAX_OLD    "SocketBufferSizeMaxGrown"
  NETLINK_OVERRUN_RESYNC   "NetlinkOverrunResync"
  NETLINK_EVENTS_RELIABLE  "NetlinkEventsReliable"
  EVENT_ITERATION_LIMIT    "EventIterationLimit"
  KERNEL_COMPARE_SECS      "KernelCompareSecs"
  POLL_SECS                "PollSecs"
  FILTER                   "Filter"
  NICE                     "Nice"
  SCHEDULER                "Scheduler"
  SYSTEMD                  "Systemd"
  SOCKET_PATH              "Path"
  BACKLOG                  "Backlog"
  TYPE                     "Type"
  PRIORITY                 "Priority"
  FROM                     "From"
  USERSPACE                "Userspace"
  KERNELSPACE              "Kernelspace"
  PROTOCOL                 "Protocol"
  ADDRESS                  "Address"
  STATE                    "State"
  ACCEPT                   "Accept"
  IGNORE                   "Ignore"
  FOR                      "for"
  SYN_SENT                 "SYN_SENT"
  SYN_RECV                 "SYN_RECV"
  ESTABLISHED              "ESTABLISHED"
  FIN_WAIT                 "FIN_WAIT"
  CLOSE_WAIT               "CLOSE_WAIT"
  LAST_ACK                 "LAST_ACK"
  TIME_WAIT                "TIME_WAIT"
  CLOSED                   "CLOSED"
  CLOSE_STATE              "CLOSE"
  LISTEN                   "LISTEN"
  MODE                     "Mode"
  MULTICAST                "Multicast"
  UDP                      "UDP"
  TCP                      "TCP"
  DEFAULT                  "Default"
  OPTIONS                  "Options"
  RESEND_QUEUE_SIZE        "ResendQueueSize"
  ACK_WINDOW_SIZE          "ACKWindowSize"
  COMMIT_TIMEOUT           "CommitTimeout"
  PURGE_TIMEOUT            "PurgeTimeout"
  REFRESH_TIME             "RefreshTime"
  CACHE_TIMEOUT            "CacheTimeout"
  DISABLE_INTERNAL_CACHE   "DisableInternalCache"
  DISABLE_EXTERNAL_CACHE   "DisableExternalCache"
  STARTUP_RESYNC           "StartupResync"
  WARM_STANDBY             "WarmStandby"
  MIRROR_TIMEOUT           "MirrorTimeout"
  INTERFACE                "Interface"
  IPV4_ADDRESS             "IPv4_address"
  IPV6_ADDRESS             "IPv6_address"
  IPV4_INTERFACE           "IPv4_interface"
  IPV6_INTERFACE           "IPv6_interface"
  IPV4_DESTINATION         "IPv4_Destination_Address"
  IPV6_DESTINATION         "IPv6_Destination_Address"
  GROUP                    "Group"
  PORT                     "Port"
  SND_SOCKET_BUFFER        "SndSocketBuffer"
  RCV_SOCKET_BUFFER        "RcvSocketBuffer"
  CHECKSUM                 "Checksum"
  ERROR_QUEUE_LENGTH       "ErrorQueueLength"
  TCP_WINDOW_TRACKING      "TCPWindowTracking"
  EXPECTATION_SYNC         "ExpectationSync"
  SYNC_MIN_AGE             "SyncMinAge"
  SYNC_MIN_AGE_ESTABLISHED "SyncMinAgeEstablished"
  SYNC_COALESCE            "SyncCoalesce"
  SYNC_MARK                "SyncMark"
  SYNC_LABELS              "SyncLabels"
  SWAP_NAT_ADDRESSES       "SwapNATAddresses"
  KEEPALIVED               "Keepalived"
  NOTIFY_FIFO              "NotifyFifo"
  INSTANCE                 "Instance"
  SETUP                    "Setup"
  QUEUE_NUM                "QueueNum"
  QUEUE_LEN                "QueueLen"
  POLICY                   "Policy"
  EXPECT_MAX               "ExpectMax"
  EXPECT_TIMEOUT           "ExpectTimeout"
  METRICS                  "Metrics"

%nterm <bool> boolean default_mark from_where
%nterm <ctsync::config::Number> number
%nterm <ctsync::FilterAction> action
%nterm <unsigned> state
%nterm <std::string_view> name

%%

file: %empty | file block;

block:
    GENERAL "{" general_statements "}"
  | sync_head "{" sync_statements "}"
  | stats_head "{" stats_statements "}"
  | helper_head "{" helper_statements "}"
  | error { CTSYNC_RECOVER(recover_top); }
  ;

sync_head: SYNC { builder.begin_sync(@1); };
stats_head: STATS { builder.begin_stats(@1); };
helper_head: HELPER { builder.begin_helper(); };

boolean: ON { $$ = true; } | OFF { $$ = false; };
number: NUMBER { $$ = ctsync::config::make_number($1, @1); };

/* General */

general_statements: %empty | general_statements general_statement;

general_statement:
    HASH_SIZE number { builder.hash_size($2); }
  | HASH_LIMIT number { builder.set_nonzero(&Config::hash_limit, $2); }
  | LOG_FILE boolean { builder.log_file(@1, $2); }
  | LOG_FILE PATH { builder.log_file(@2, $2); }
  | SYSLOG boolean { builder.syslog($2); }
  | SYSLOG IDENTIFIER { builder.syslog(@2, $2); }
  | LOCK_FILE PATH { builder.lock_file(@2, $2); }
  | UNIX "{" unix_statements "}"
  | netlink_buffer_size number { builder.set(&Config::netlink_buffer_size, $2); }
  | netlink_buffer_max number { builder.set(&Config::netlink_buffer_size_max, $2); }
  | NETLINK_OVERRUN_RESYNC boolean { builder.overrun_resync($2); }
  | NETLINK_OVERRUN_RESYNC number { builder.overrun_resync($2); }
  | NETLINK_EVENTS_RELIABLE boolean { builder.config.events_reliable = $2; }
  | EVENT_ITERATION_LIMIT number { builder.set_nonzero(&Config::event_iteration_limit, $2); }
  | KERNEL_COMPARE_SECS number { builder.kernel_compare_secs($2); }
  | POLL_SECS number { builder.poll_secs($2); }
  | FILTER from_where { builder.config.filter.from_kernelspace = $2; } "{" filter_statements "}"
  | NICE SIGNED_NUMBER { builder.warn_nice(@1); }
  | SCHEDULER "{" scheduler_statements "}"
  | SYSTEMD boolean { builder.config.systemd = $2; }
  | METRICS { builder.begin_metrics(@1); } "{" metrics_statements "}"
  | error { CTSYNC_RECOVER(recover); }
  ;

netlink_buffer_size: NETLINK_BUFFER_SIZE | SOCKET_BUFFER_SIZE;
netlink_buffer_max: NETLINK_BUFFER_MAX | SOCKET_BUFFER_MAX | SOCKET_BUFFER_MAX_OLD;

unix_statements: %empty | unix_statements unix_statement;

unix_statement:
    SOCKET_PATH PATH { builder.unix_path(@2, $2); }
  | BACKLOG number { builder.warn_backlog(@1); }
  | error { CTSYNC_RECOVER(recover); }
  ;

metrics_statements: %empty | metrics_statements metrics_statement;

metrics_statement:
    SOCKET_PATH PATH { builder.metrics_path(@2, $2); }
  | IPV4_ADDRESS IP { builder.metrics_address(@2, Family::ipv4, $2); }
  | IPV6_ADDRESS IP { builder.metrics_address(@2, Family::ipv6, $2); }
  | PORT number { builder.metrics_port($2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

scheduler_statements: %empty | scheduler_statements scheduler_statement;

scheduler_statement:
    TYPE IDENTIFIER { builder.scheduler_type(@2, $2); }
  | PRIORITY number { builder.scheduler_priority($2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

from_where: %empty { $$ = false; } | FROM USERSPACE { $$ = false; } | FROM KERNELSPACE { $$ = true; };

filter_statements: %empty | filter_statements filter_statement;

filter_statement:
    PROTOCOL action "{" { builder.filter_protocols(@1, $2); } protocols "}"
  | ADDRESS action "{" { builder.filter_addresses(@1, $2); } filter_addresses "}"
  | STATE action "{" { builder.filter_states(@1, $2); } state_lists "}"
  | PORT action "{" { builder.filter_ports(@1, $2); } ports "}"
  | error { CTSYNC_RECOVER(recover); }
  ;

action: ACCEPT { $$ = FilterAction::accept; } | IGNORE { $$ = FilterAction::ignore; };

protocols: %empty | protocols protocol;

protocol:
    TCP { builder.filter_protocol(@1, "tcp"); }
  | UDP { builder.filter_protocol(@1, "udp"); }
  | IDENTIFIER { builder.filter_protocol(@1, $1); }
  | error { CTSYNC_RECOVER(recover); }
  ;

filter_addresses: %empty | filter_addresses filter_address;

filter_address:
    IPV4_ADDRESS IP { builder.filter_address(@2, Family::ipv4, $2); }
  | IPV6_ADDRESS IP { builder.filter_address(@2, Family::ipv6, $2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

ports: %empty | ports port;

port: number { builder.filter_port($1); } | error { CTSYNC_RECOVER(recover); };

state_lists: %empty | state_lists states FOR TCP | state_lists error { CTSYNC_RECOVER(recover); };

states: %empty | states state { builder.filter_state($2); };

state:
    SYN_SENT { $$ = 1; }
  | SYN_RECV { $$ = 2; }
  | ESTABLISHED { $$ = 3; }
  | FIN_WAIT { $$ = 4; }
  | CLOSE_WAIT { $$ = 5; }
  | LAST_ACK { $$ = 6; }
  | TIME_WAIT { $$ = 7; }
  | CLOSED { $$ = 8; }
  | CLOSE_STATE { $$ = 8; }
  | LISTEN { $$ = 9; }
  ;

/* Sync */

sync_statements: %empty | sync_statements sync_statement;

sync_statement:
    MODE ftfw "{" ftfw_statements "}"
  | MODE alarm "{" alarm_statements "}"
  | MODE NOTRACK { builder.mode(@2, SyncMode::notrack); } "{" notrack_statements "}"
  | MULTICAST default_mark { builder.begin_link(@1, LinkKind::multicast, $2); } "{" multicast_statements "}"
    { builder.end_link(); }
  | UDP default_mark { builder.begin_link(@1, LinkKind::udp, $2); } "{" udp_statements "}" { builder.end_link(); }
  | TCP default_mark { builder.begin_link(@1, LinkKind::tcp, $2); } "{" tcp_statements "}" { builder.end_link(); }
  | OPTIONS "{" option_statements "}"
  | KEEPALIVED { builder.begin_keepalived(@1); } "{" keepalived_statements "}"
  | alarm_time
  | common_time
  | error { CTSYNC_RECOVER(recover); }
  ;

ftfw:
    FTFW { builder.mode(@1, SyncMode::ftfw); }
  | NACK { builder.old_mode_name(@1, "nack", "ftfw"); builder.mode(@1, SyncMode::ftfw); }
  ;

alarm:
    ALARM { builder.mode(@1, SyncMode::alarm); }
  | PERSISTENT { builder.old_mode_name(@1, "persistent", "alarm"); builder.mode(@1, SyncMode::alarm); }
  ;

common_time:
    COMMIT_TIMEOUT number { builder.set(&Config::commit_timeout, $2); }
  | PURGE_TIMEOUT number { builder.set_nonzero(&Config::purge_timeout, $2); }
  ;

alarm_time:
    REFRESH_TIME number { builder.set_nonzero(&Config::refresh_time, $2); }
  | CACHE_TIMEOUT number { builder.set_nonzero(&Config::cache_timeout, $2); }
  ;

warm_standby:
    WARM_STANDBY boolean { builder.warm_standby(@1, $2); }
  | MIRROR_TIMEOUT number { builder.mirror_timeout(@2, $2); }
  ;

disable_external_cache: DISABLE_EXTERNAL_CACHE boolean { builder.disable_external_cache(@1, $2); };
startup_resync: STARTUP_RESYNC boolean { builder.config.startup_resync = $2; };

ftfw_statements: %empty | ftfw_statements ftfw_statement;

ftfw_statement:
    RESEND_QUEUE_SIZE number { builder.set_nonzero(&Config::resend_queue_size, $2); }
  | ACK_WINDOW_SIZE number { builder.set_nonzero(&Config::ack_window_size, $2); }
  | common_time
  | disable_external_cache
  | warm_standby
  | startup_resync
  | error { CTSYNC_RECOVER(recover); }
  ;

alarm_statements: %empty | alarm_statements alarm_statement;

alarm_statement: alarm_time | common_time | warm_standby | error { CTSYNC_RECOVER(recover); };

notrack_statements: %empty | notrack_statements notrack_statement;

notrack_statement:
    DISABLE_INTERNAL_CACHE boolean { builder.config.disable_internal_cache = $2; }
  | common_time
  | disable_external_cache
  | warm_standby
  | startup_resync
  | error { CTSYNC_RECOVER(recover); }
  ;

/* Links */

default_mark: %empty { $$ = false; } | DEFAULT { $$ = true; };

link_statement:
    INTERFACE IDENTIFIER { builder.link_interface(@2, $2); }
  | INTERFACE QUOTED { builder.link_quoted_interface(@2, $2); }
  | IPV4_ADDRESS IP { builder.link_address(@2, Family::ipv4, $2); }
  | IPV6_ADDRESS IP { builder.link_address(@2, Family::ipv6, $2); }
  | SND_SOCKET_BUFFER number { builder.link_buffer(&LinkConfig::send_buffer, $2); }
  | RCV_SOCKET_BUFFER number { builder.link_buffer(&LinkConfig::receive_buffer, $2); }
  | CHECKSUM boolean { builder.link().checksum = $2; }
  ;

peer_statement:
    IPV4_DESTINATION IP { builder.link_destination(@2, Family::ipv4, $2); }
  | IPV6_DESTINATION IP { builder.link_destination(@2, Family::ipv6, $2); }
  | PORT number { builder.link_port($2); }
  ;

multicast_statements: %empty | multicast_statements multicast_statement;

multicast_statement:
    link_statement
  | IPV4_INTERFACE IP { builder.link_ipv4_interface(@2, $2); }
  | IPV6_INTERFACE IP { builder.warn_ipv6_interface(@1); }
  | GROUP number { builder.link_port($2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

udp_statements: %empty | udp_statements udp_statement;

udp_statement: link_statement | peer_statement | error { CTSYNC_RECOVER(recover); };

tcp_statements: %empty | tcp_statements tcp_statement;

tcp_statement:
    link_statement
  | peer_statement
  | ERROR_QUEUE_LENGTH number { builder.set_nonzero(&Config::error_queue_length, $2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

/* Options */

option_statements: %empty | option_statements option_statement;

option_statement:
    TCP_WINDOW_TRACKING boolean { builder.config.tcp_window_tracking = $2; }
  | EXPECTATION_SYNC boolean { builder.config.expectation_sync.enabled = $2; }
  | SYNC_MIN_AGE number { builder.sync_min_age($2); }
  | SYNC_MIN_AGE_ESTABLISHED boolean { builder.config.sync_min_age_established = $2; }
  | SYNC_COALESCE number { builder.sync_coalesce($2); }
  | SYNC_MARK boolean { builder.config.sync_mark = $2; }
  | SYNC_LABELS boolean { builder.config.sync_labels = $2; }
  | SWAP_NAT_ADDRESSES boolean { builder.config.swap_nat_addresses = $2; }
  | EXPECTATION_SYNC "{" { builder.config.expectation_sync.enabled = true; } expectation_helpers "}"
  | error { CTSYNC_RECOVER(recover); }
  ;

keepalived_statements: %empty | keepalived_statements keepalived_statement;

keepalived_statement:
    NOTIFY_FIFO PATH { builder.keepalived_fifo(@2, $2); }
  | GROUP name { builder.config.keepalived->groups.emplace_back($2); }
  | INSTANCE name { builder.config.keepalived->instances.emplace_back($2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

name: IDENTIFIER { $$ = $1; } | QUOTED { $$ = $1.substr(1, $1.size() - 2); };

expectation_helpers: %empty | expectation_helpers expectation_helper;

expectation_helper: IDENTIFIER { builder.expectation_helper($1); } | error { CTSYNC_RECOVER(recover); };

/* Stats */

stats_statements: %empty | stats_statements stats_statement;

stats_statement:
    LOG_FILE boolean { builder.stats_log_file(@1, $2); }
  | LOG_FILE PATH { builder.stats_log_file(@2, $2); }
  | SYSLOG boolean { builder.stats_syslog($2); }
  | SYSLOG IDENTIFIER { builder.stats_syslog(@2, $2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

/* Helper */

helper_statements: %empty | helper_statements helper_statement;

helper_statement:
    SETUP boolean { builder.config.helper.register_private_data = $2; }
  | TYPE IDENTIFIER IDENTIFIER IDENTIFIER "{" helper_type_statements "}"
    { builder.helper_type({@2, $2}, {@3, $3}, {@4, $4}); }
  | helper_setting
  | error { CTSYNC_RECOVER(recover); }
  ;

helper_type_statements: %empty | helper_type_statements helper_type_statement;

helper_type_statement: helper_setting | error { CTSYNC_RECOVER(recover); };

helper_setting:
    QUEUE_NUM number { builder.queue_number($2); }
  | QUEUE_LEN number { builder.queue_length($2); }
  | POLICY IDENTIFIER { builder.begin_policy(@2, $2); } "{" policy_statements "}" { builder.end_policy(); }
  ;

policy_statements: %empty | policy_statements policy_statement;

policy_statement:
    EXPECT_MAX number { builder.expect_max($2); }
  | EXPECT_TIMEOUT number { builder.expect_timeout($2); }
  | error { CTSYNC_RECOVER(recover); }
  ;

%%

void ctsync::config::Grammar::report_syntax_error(const context& context) const {
  if (!tokens.is_new_trouble()) return;
  std::array<symbol_kind_type, symbol_kind::YYNTOKENS> kinds;
  const int count = context.expected_tokens(kinds.data(), static_cast<int>(kinds.size()));
  std::vector<std::string_view> expected;
  for (int i = 0; i < count; ++i) expected.push_back(symbol_name(kinds[static_cast<std::size_t>(i)]));
  builder.syntax_error(tokens, std::move(expected));
}

// Unreachable: parse.error custom reports through report_syntax_error(). The skeleton wants it for exceptions.
void ctsync::config::Grammar::error(const location_type& where, const std::string& text) { builder.error(where, text); }
