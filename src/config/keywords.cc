// SPDX-License-Identifier: GPL-2.0-or-later
#include "keywords.h"

#include <array>

namespace ctsync::config {
namespace {

using enum Argument;
using S = Section;

constexpr auto kKeywords = std::to_array<Keyword>({
    {"General", S::top, block, "", "settings of the whole daemon", ""},
    {"Sync", S::top, block, "", "synchronise flows with other nodes; excludes Stats", ""},
    {"Stats", S::top, block, "", "only collect statistics and log finished flows; excludes Sync", ""},
    {"Helper", S::top, block, "", "user-space connection-tracking helpers", ""},

    {"HashSize", S::general, number, "65536", "buckets of each flow table", ""},
    {"HashLimit", S::general, number, "262144", "most entries of each flow table", ""},
    {"LogFile", S::general, boolean_or_path, "", "log file; on means /var/log/conntrackd.log", ""},
    {"Syslog", S::general, boolean_or_facility, "off", "log to syslog; on means facility daemon", ""},
    {"LockFile", S::general, path, "/var/lock/conntrackd.lock", "file that keeps a second instance from starting", ""},
    {"UNIX", S::general, block, "", "control socket", ""},
    {"NetlinkBufferSize", S::general, bytes, "", "receive buffer of the event socket; needs NetlinkBufferSizeMaxGrowth",
     ""},
    {"SocketBufferSize", S::general, bytes, "", "receive buffer of the event socket", "NetlinkBufferSize"},
    {"NetlinkBufferSizeMaxGrowth", S::general, bytes, "0", "how far that buffer may grow when events are lost", ""},
    {"SocketBufferSizeMaxGrowth", S::general, bytes, "0", "how far that buffer may grow", "NetlinkBufferSizeMaxGrowth"},
    {"SocketBufferSizeMaxGrown", S::general, bytes, "0", "how far that buffer may grow", "NetlinkBufferSizeMaxGrowth"},
    {"NetlinkOverrunResync", S::general, boolean_or_seconds, "30",
     "after lost events, time until the kernel table is read again", ""},
    {"NetlinkEventsReliable", S::general, boolean, "off", "let the kernel keep events that could not be delivered", ""},
    {"EventIterationLimit", S::general, number, "100", "events handled before other work gets a turn", ""},
    {"KernelCompareSecs", S::general, seconds, "3600",
     "interval at which the internal cache is compared with the kernel table; 0: never", ""},
    {"PollSecs", S::general, seconds, "", "read the kernel table at this interval instead of listening to events", ""},
    {"Filter", S::general, filter_block, "", "which flows to handle", ""},
    {"Nice", S::general, signed_number, "", "obsolete, ignored", ""},
    {"Scheduler", S::general, block, "", "real-time scheduling of the daemon", ""},
    {"Systemd", S::general, boolean, "on", "tell systemd about readiness, and feed its watchdog", ""},
    {"Metrics", S::general, block, "", "serve metrics to programs of this machine; not known to conntrackd", ""},

    {"Path", S::unix_socket, path, "", "where the control socket is created", ""},
    {"Backlog", S::unix_socket, number, "", "obsolete, ignored", ""},

    {"Path", S::metrics, path, "", "where a UNIX socket for metrics is created", ""},
    {"IPv4_address", S::metrics, address, "", "address to serve metrics on, of 127.0.0.0/8", ""},
    {"IPv6_address", S::metrics, address, "", "address to serve metrics on: ::1", ""},
    {"Port", S::metrics, number, "", "TCP port of that address", ""},

    {"Type", S::scheduler, Argument::scheduler_type, "RR", "real-time policy", ""},
    {"Priority", S::scheduler, number, "99", "real-time priority, 0 to 99; 0 if only Type is given", ""},

    {"Protocol", S::filter, action_block, "", "layer-4 protocols to accept or ignore", ""},
    {"Address", S::filter, action_block, "", "addresses and networks to accept or ignore", ""},
    {"State", S::filter, action_block, "", "TCP states to accept or ignore", ""},
    {"Port", S::filter, action_block, "", "destination ports to accept or ignore; not known to conntrackd", ""},

    {"IPv4_address", S::filter_address, address, "", "address or network", ""},
    {"IPv6_address", S::filter_address, address, "", "address or network", ""},

    {"Mode", S::sync, mode_block, "FTFW", "replication protocol", ""},
    {"Multicast", S::sync, link_block, "", "dedicated link over multicast", ""},
    {"UDP", S::sync, link_block, "", "dedicated link over UDP", ""},
    {"TCP", S::sync, link_block, "", "dedicated link over TCP", ""},
    {"Options", S::sync, block, "", "further settings", ""},
    {"Keepalived", S::sync, block, "", "take over when keepalived says so; not known to conntrackd", ""},
    {"CommitTimeout", S::sync, seconds, "0", "as inside Mode", ""},
    {"PurgeTimeout", S::sync, seconds, "60", "as inside Mode", ""},
    {"RefreshTime", S::sync, seconds, "60", "as inside Mode ALARM", ""},
    {"CacheTimeout", S::sync, seconds, "180", "as inside Mode ALARM", ""},

    {"ResendQueueSize", S::mode_ftfw, number, "131072", "unacknowledged messages kept for resending", ""},
    {"ACKWindowSize", S::mode_ftfw, number, "300", "messages received before an acknowledgement is sent", ""},
    {"CommitTimeout", S::mode_ftfw, seconds, "0", "timeout of committed entries; 0 estimates the remaining time", ""},
    {"PurgeTimeout", S::mode_ftfw, seconds, "60", "delay of the kernel flush that -t asks for", ""},
    {"DisableExternalCache", S::mode_ftfw, boolean, "off", "put received states straight into the kernel", ""},
    {"WarmStandby", S::mode_ftfw, boolean, "off", "keep received states in the kernel, too, so that a commit is short",
     ""},
    {"MirrorTimeout", S::mode_ftfw, seconds, "600", "timeout of what WarmStandby keeps in the kernel", ""},
    {"StartupResync", S::mode_ftfw, boolean, "off", "ask the peer for its states at the start", ""},

    {"CommitTimeout", S::mode_alarm, seconds, "0", "timeout of committed entries; 0 estimates the remaining time", ""},
    {"PurgeTimeout", S::mode_alarm, seconds, "60", "delay of the kernel flush that -t asks for", ""},
    {"WarmStandby", S::mode_alarm, boolean, "off", "keep received states in the kernel, too, so that a commit is short",
     ""},
    {"MirrorTimeout", S::mode_alarm, seconds, "600", "timeout of what WarmStandby keeps in the kernel", ""},
    {"RefreshTime", S::mode_alarm, seconds, "60", "each entry is sent again within this time", ""},
    {"CacheTimeout", S::mode_alarm, seconds, "180", "external entries not heard of for this long are removed", ""},

    {"CommitTimeout", S::mode_notrack, seconds, "0", "timeout of committed entries; 0 estimates the remaining time",
     ""},
    {"PurgeTimeout", S::mode_notrack, seconds, "60", "delay of the kernel flush that -t asks for", ""},
    {"DisableInternalCache", S::mode_notrack, boolean, "off", "send events straight to the link", ""},
    {"DisableExternalCache", S::mode_notrack, boolean, "off", "put received states straight into the kernel", ""},
    {"WarmStandby", S::mode_notrack, boolean, "off",
     "keep received states in the kernel, too, so that a commit is short", ""},
    {"MirrorTimeout", S::mode_notrack, seconds, "600", "timeout of what WarmStandby keeps in the kernel", ""},
    {"StartupResync", S::mode_notrack, boolean, "off", "ask the peer for its states at the start", ""},

    {"Interface", S::multicast, identifier, "", "interface of the link", ""},
    {"IPv4_address", S::multicast, address, "", "group address", ""},
    {"IPv6_address", S::multicast, address, "", "group address", ""},
    {"IPv4_interface", S::multicast, address, "0.0.0.0", "local address of the link", ""},
    {"IPv6_interface", S::multicast, address, "", "obsolete, ignored", ""},
    {"Group", S::multicast, number, "", "UDP port", ""},
    {"SndSocketBuffer", S::multicast, bytes, "", "send buffer", ""},
    {"RcvSocketBuffer", S::multicast, bytes, "", "receive buffer", ""},
    {"Checksum", S::multicast, boolean, "on", "UDP checksums", ""},

    {"Interface", S::udp, identifier, "", "interface of the link", ""},
    {"IPv4_address", S::udp, address, "", "local address", ""},
    {"IPv6_address", S::udp, address, "", "local address", ""},
    {"IPv4_Destination_Address", S::udp, address, "", "address of the peer", ""},
    {"IPv6_Destination_Address", S::udp, address, "", "address of the peer", ""},
    {"Port", S::udp, number, "", "port of both nodes", ""},
    {"SndSocketBuffer", S::udp, bytes, "", "send buffer", ""},
    {"RcvSocketBuffer", S::udp, bytes, "", "receive buffer", ""},
    {"Checksum", S::udp, boolean, "on", "UDP checksums", ""},

    {"Interface", S::tcp, identifier, "", "interface of the link", ""},
    {"IPv4_address", S::tcp, address, "", "local address", ""},
    {"IPv6_address", S::tcp, address, "", "local address", ""},
    {"IPv4_Destination_Address", S::tcp, address, "", "address of the peer", ""},
    {"IPv6_Destination_Address", S::tcp, address, "", "address of the peer", ""},
    {"Port", S::tcp, number, "", "port of both nodes", ""},
    {"SndSocketBuffer", S::tcp, bytes, "", "send buffer", ""},
    {"RcvSocketBuffer", S::tcp, bytes, "", "receive buffer", ""},
    {"Checksum", S::tcp, boolean, "on", "no effect on TCP", ""},
    {"ErrorQueueLength", S::tcp, number, "128", "bundles kept while the peer is not connected", ""},

    {"TCPWindowTracking", S::options, boolean, "off", "let the kernel track TCP windows of flows it is given", ""},
    {"ExpectationSync", S::options, boolean_or_list, "off", "synchronise expectations, of all or of some helpers", ""},
    {"SyncMinAge", S::options, seconds, "0", "flows are announced when they are so old; not known to conntrackd", ""},
    {"SyncMinAgeEstablished", S::options, boolean, "off",
     "announce established flows at once, whatever their age; not known to conntrackd", ""},
    {"SyncCoalesce", S::options, milliseconds, "0",
     "changes of a flow within this time are announced together; not known to conntrackd", ""},
    {"SyncMark", S::options, boolean, "on", "send and take marks; not known to conntrackd", ""},
    {"SyncLabels", S::options, boolean, "on", "send and take labels; not known to conntrackd", ""},
    {"SwapNATAddresses", S::options, boolean, "off",
     "read and write NAT addresses as peers up to conntrackd 1.4.6 do; not known to conntrackd", ""},

    {"NotifyFifo", S::keepalived, path, "", "what vrrp_notify_fifo names in keepalived's configuration", ""},
    {"Group", S::keepalived, identifier, "", "name of a vrrp_sync_group to follow", ""},
    {"Instance", S::keepalived, identifier, "", "name of a vrrp_instance to follow", ""},

    {"LogFile", S::stats, boolean_or_path, "", "log of finished flows; on means /var/log/conntrackd-stats.log", ""},
    {"Syslog", S::stats, boolean_or_facility, "off", "log finished flows to syslog", ""},

    {"Setup", S::helper, boolean, "off", "register helpers with the size of their private data", ""},
    {"Type", S::helper, helper_block, "", "one helper", ""},
    {"QueueNum", S::helper, number, "0", "as inside Type, for the next one", ""},
    {"QueueLen", S::helper, number, "0", "as inside Type, for the next one", ""},
    {"Policy", S::helper, policy_block, "", "as inside Type, for the next one", ""},

    {"QueueNum", S::helper_type, number, "0", "NFQUEUE number", ""},
    {"QueueLen", S::helper_type, number, "0", "most packets in that queue; 0 leaves it to the kernel", ""},
    {"Policy", S::helper_type, policy_block, "", "limits of the expectations", ""},

    {"ExpectMax", S::helper_policy, number, "0", "most expectations at a time for each master flow", ""},
    {"ExpectTimeout", S::helper_policy, seconds, "0", "life of an expectation", ""},
});

}  // namespace

std::span<const Keyword> keywords() { return kKeywords; }

std::string_view to_string(Section section) {
  switch (section) {
    case S::top:
      return "";
    case S::general:
      return "General";
    case S::unix_socket:
      return "General UNIX";
    case S::metrics:
      return "General Metrics";
    case S::scheduler:
      return "General Scheduler";
    case S::filter:
      return "General Filter";
    case S::filter_address:
      return "General Filter Address";
    case S::sync:
      return "Sync";
    case S::mode_ftfw:
      return "Sync Mode FTFW";
    case S::mode_alarm:
      return "Sync Mode ALARM";
    case S::mode_notrack:
      return "Sync Mode NOTRACK";
    case S::multicast:
      return "Sync Multicast";
    case S::udp:
      return "Sync UDP";
    case S::tcp:
      return "Sync TCP";
    case S::options:
      return "Sync Options";
    case S::keepalived:
      return "Sync Keepalived";
    case S::stats:
      return "Stats";
    case S::helper:
      return "Helper";
    case S::helper_type:
      return "Helper Type";
    case S::helper_policy:
      return "Helper Type Policy";
  }
  return "";
}

std::string_view to_string(Argument argument) {
  switch (argument) {
    case block:
      return "{ ... }";
    case boolean:
      return "on|off";
    case number:
      return "NUMBER";
    case seconds:
      return "SECONDS";
    case milliseconds:
      return "MILLISECONDS";
    case bytes:
      return "BYTES";
    case signed_number:
      return "+NUMBER|-NUMBER";
    case path:
      return "PATH";
    case boolean_or_path:
      return "on|off|PATH";
    case boolean_or_facility:
      return "on|off|daemon|local0 ... local7";
    case boolean_or_seconds:
      return "on|off|SECONDS";
    case boolean_or_list:
      return "on|off|{ HELPER ... }";
    case address:
      return "ADDRESS";
    case identifier:
      return "NAME|\"NAME\"";
    case Argument::scheduler_type:
      return "RR|FIFO";
    case mode_block:
      return "FTFW|ALARM|NOTRACK { ... }";
    case filter_block:
      return "[From Userspace|From Kernelspace] { ... }";
    case action_block:
      return "Accept|Ignore { ... }";
    case link_block:
      return "[Default] { ... }";
    case helper_block:
      return "NAME inet|inet6 tcp|udp { ... }";
    case policy_block:
      return "NAME { ... }";
  }
  return "";
}

}  // namespace ctsync::config
