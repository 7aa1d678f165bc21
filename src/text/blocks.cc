// SPDX-License-Identifier: GPL-2.0-or-later
#include "blocks.h"

#include <fmt/format.h>

#include <iterator>

namespace ctsync::text {
namespace {

// What conntrackd counts and what cannot happen here: there are no child processes, a message that we make is good, and
// an entry that is not found is no event of a cache.
constexpr int kNever = 0;

template <typename... A>
void add(std::string& out, fmt::format_string<A...> f, A&&... a) {
  fmt::format_to(std::back_inserter(out), f, std::forward<A>(a)...);
}

std::string_view name_of(LinkKind kind) { return kind == LinkKind::multicast ? "multicast" : to_string(kind); }

std::string_view connection_word(bool connected) { return connected ? "connected" : "disconnected"; }

void add_link_counters(std::string& out, const LinkNumbers& n) {
  add(out, "{:>20} Bytes sent {:>20} Bytes recv\n", n.sent_bytes, n.received_bytes);
  add(out, "{:>20} Pckts sent {:>20} Pckts recv\n", n.sent_packets, n.received_packets);
  add(out, "{:>20} Error send {:>20} Error recv\n\n", n.send_errors, n.receive_errors);
}

// "N min", "H h N min", "D day(s) H h N min"; whole days without hours show minutes only.
void add_uptime(std::string& out, std::uint64_t seconds) {
  const auto minutes = seconds / 60 % 60;
  const auto hours = seconds / 3600 % 24;
  const auto days = seconds / 86400;
  if (days != 0) add(out, "{} {} ", days, days == 1 ? "day" : "days");
  if (hours != 0) add(out, "{} h ", hours);
  add(out, "{} min", minutes);
}

}  // namespace

void append_cache(std::string& out, std::string_view name, const CacheNumbers& n) {
  add(out, "cache {}:\n", name);
  add(out, "current active connections:\t{:>12}\n", n.active);
  add(out, "connections created:\t\t{:>12}\tfailed:\t{:>12}\n", n.created, n.create_failed);
  add(out, "connections updated:\t\t{:>12}\tfailed:\t{:>12}\n", n.updated, n.update_failed);
  add(out, "connections destroyed:\t\t{:>12}\tfailed:\t{:>12}\n\n", n.destroyed, kNever);
}

void append_cache_extended(std::string& out, std::string_view name, const CacheNumbers& n) {
  add(out, "cache:{}\tactive objects:\t\t{:>12}\n", name, n.total);
  add(out, "\tactive/total entries:\t\t{:>12}/{:>12}\n", n.active, n.total);
  add(out, "\tcreation OK/failed:\t\t{:>12}/{:>12}\n", n.created, n.create_failed);
  add(out, "\t\tno memory available:\t{:>12}\n", n.no_memory);
  add(out, "\t\tno space left in cache:\t{:>12}\n", n.no_space);
  add(out, "\tupdate OK/failed:\t\t{:>12}/{:>12}\n", n.updated, n.update_failed);
  add(out, "\t\tentry not found:\t{:>12}\n", kNever);
  add(out, "\tdeletion created/failed:\t{:>12}/{:>12}\n", n.destroyed, kNever);
  add(out, "\t\tentry not found:\t{:>12}\n\n", kNever);
}

void append_internal_bypass(std::string& out, const BypassNumbers& n) {
  add(out, "internal bypass:\n");
  add(out, "connections new:\t\t{:>12}\n", n.created);
  add(out, "connections updated:\t\t{:>12}\n", n.updated);
  add(out, "connections destroyed:\t\t{:>12}\n\n", n.destroyed);
}

void append_external_inject(std::string& out, const InjectNumbers& n) {
  add(out, "external inject:\n");
  add(out, "connections created:\t\t{:>12}\tfailed:\t{:>12}\n", n.created, n.create_failed);
  add(out, "connections updated:\t\t{:>12}\tfailed:\t{:>12}\n", n.updated, n.update_failed);
  add(out, "connections destroyed:\t\t{:>12}\tfailed:\t{:>12}\n\n", n.destroyed, n.destroy_failed);
}

void append_traffic(std::string& out, const TrafficNumbers& n) {
  add(out, "traffic processed:\n{:>20} Bytes      {:>20} Pckts\n\n", n.bytes, n.packets);
}

void append_active_link(std::string& out, const LinkNumbers& n) {
  add(out, "{} traffic (active device={})", name_of(n.kind), n.device);
  if (n.kind == LinkKind::tcp) {
    add(out, " server={} client={}", connection_word(n.server_connected), connection_word(n.client_connected));
  }
  add(out, ":\n");
  add_link_counters(out, n);
}

void append_link(std::string& out, const LinkNumbers& n) {
  add(out, "{} traffic device={} status={} role={}:\n", name_of(n.kind), n.device, to_string(n.status),
      n.active ? "ACTIVE" : "BACKUP");
  add_link_counters(out, n);
}

void append_message_tracking(std::string& out, const NetworkNumbers& n) {
  add(out, "message tracking:\n{:>20} Malformed msgs {:>20} Lost msgs\n\n", n.malformed, n.lost);
}

void append_network(std::string& out, const NetworkNumbers& n) {
  add(out, "network statistics:\n\trecv:\n");
  add(out, "\t\tMalformed messages:\t{:>20}\n", n.malformed);
  add(out, "\t\tWrong protocol version:\t{:>20}\n", n.wrong_version);
  add(out, "\t\tMalformed header:\t{:>20}\n", n.bad_header);
  add(out, "\t\tMalformed payload:\t{:>20}\n", n.bad_payload);
  add(out, "\t\tBad message type:\t{:>20}\n", n.bad_type);
  add(out, "\t\tTruncated message:\t{:>20}\n", n.truncated);
  add(out, "\t\tBad message size:\t{:>20}\n", n.bad_size);
  add(out, "\tsend:\n\t\tMalformed messages:\t{:>20}\n\n", kNever);
  add(out, "sequence tracking statistics:\n\trecv:\n");
  add(out, "\t\tPackets lost:\t\t{:>20}\n", n.lost);
  add(out, "\t\tPackets before:\t\t{:>20}\n\n", n.before);
}

void append_runtime(std::string& out, const RuntimeNumbers& n) {
  add(out, "daemon uptime: ");
  add_uptime(out, n.uptime_seconds);
  add(out, "\n\nnetlink stats:\n");
  add(out, "\tevents received:\t{:>20}\n", n.events_received);
  add(out, "\tevents filtered:\t{:>20}\n", n.events_filtered);
  add(out, "\tevents unknown type:\t\t{:>12}\n", n.events_unknown_type);
  add(out, "\tcatch event failed:\t\t{:>12}\n", n.event_failures);
  add(out, "\tdump unknown type:\t\t{:>12}\n", n.dump_unknown_type);
  add(out, "\tnetlink overrun:\t\t{:>12}\n", n.overruns);
  add(out, "\tflush kernel table:\t\t{:>12}\n", n.kernel_flushes);
  add(out, "\tresync with kernel table:\t{:>12}\n", n.kernel_resyncs);
  add(out, "\tcurrent buffer size (in bytes):\t{:>12}\n\n", n.buffer_bytes);
  add(out, "runtime stats:\n");
  add(out, "\tchild process failed:\t\t{:>12}\n", kNever);
  add(out, "\t\tchild process segfault:\t{:>12}\n", kNever);
  add(out, "\t\tchild process termsig:\t{:>12}\n", kNever);
  add(out, "\tselect failed:\t\t\t{:>12}\n", kNever);
  add(out, "\twait failed:\t\t\t{:>12}\n", kNever);
  add(out, "\tlocal read failed:\t\t{:>12}\n", n.local_read_failed);
  add(out, "\tlocal unknown request:\t\t{:>12}\n\n", n.local_unknown_request);
}

void append_resend_queue_head(std::string& out, std::uint64_t length) { add(out, "resent queue (len={})\n", length); }

void append_resend_control(std::string& out, std::uint32_t seq, std::uint32_t flags) {
  add(out, "control -> seq:{} flags:{}\n", seq, flags);
}

void append_resend_object(std::string& out, std::uint32_t seq) { add(out, "object -> seq:{}\n", seq); }

void append_queues(std::string& out, std::uint64_t allocated_nodes, std::span<const QueueNumbers> queues) {
  add(out, "allocated queue nodes:\t\t{:>12}\n\n", allocated_nodes);
  for (const auto& q : queues) {
    add(out, "queue {}:\n", q.name);
    add(out, "current elements:\t\t{:>12}\n", q.elements);
    add(out, "maximum elements:\t\t{:>12}\n", q.maximum);
    add(out, "not enough space errors:\t{:>12}\n\n", q.no_space);
  }
}

std::string_view to_string(PeerState state) {
  switch (state) {
    case PeerState::lost:
      return "lost";
    case PeerState::unknown:
      return "no way to know";
    case PeerState::catching_up:
      return "catching up";
    case PeerState::in_sync:
      return "in sync";
  }
  return "?";
}

void append_peer(std::string& out, const PeerNumbers& p) {
  add(out, "peer {} ({}):\n", p.name, p.software.empty() ? "has not said what it is: conntrackd?" : p.software);
  add(out, "\tstate:\t\t\t\t{} (for {} s)\n", to_string(p.state), p.since);
  add(out, "\tlast heard:\t\t\t{:>12} s ago\n", p.heard);
  if (p.round_trip) add(out, "\tround trip:\t\t\t{:>12.3f} ms\n", static_cast<double>(*p.round_trip) / 1000);
  add(out, "\tmessages received:\t\t{:>12}\n", p.received);
  add(out, "\tmessages lost:\t\t\t{:>12}\n", p.lost);
  add(out, "\tmessages it has yet to acknowledge: {:>8}\n", p.waiting);
  add(out, "\tresyncs it asked for:\t\t{:>12}\n", p.resyncs);
  add(out, "\tconnections it is told of:\t{:>12}\n", p.announced);
  add(out, "\tconnections held of it:\t\t{:>12}\n", p.held);
  add(out, "\tsums compared:\t\t\t{:>12}\n", p.compared);
  add(out, "\tsums that differed:\t\t{:>12}\n", p.differed);
  add(out, "\trepairs:\t\t\t{:>12}\n", p.repairs);
  add(out, "\tconnections mended:\t\t{:>12}\n\n", p.mended);
}

namespace {

void append_comparison(std::string& out, const ComparisonNumbers& n) {
  add(out, "internal cache, compared with the kernel:\n");
  add(out, "\tcomparisons:\t\t\t{:>12}\n", n.done);
  add(out, "\tconnections that were missing:\t{:>12}\n", n.missing);
  add(out, "\tconnections that had ended:\t{:>12}\n", n.left_over);
  add(out, "\tconnections that differed:\t{:>12}\n\n", n.differed);
}

void append_mirror(std::string& out, const MirrorNumbers& n) {
  add(out, "warm standby:\n");
  add(out, "\tconnections in the kernel:\t{:>12}\n", n.mirrored);
  add(out, "\twaiting to be written:\t\t{:>12}\n", n.waiting);
  add(out, "\tfailed writes:\t\t\t{:>12}\n\n", n.failed);
}

void append_internal(std::string& out, const StoreNumbers& n, bool extended) {
  if (const auto* bypass = std::get_if<BypassNumbers>(&n)) return append_internal_bypass(out, *bypass);
  const auto& cache = std::get<CacheNumbers>(n);
  extended ? append_cache_extended(out, "internal", cache) : append_cache(out, "internal", cache);
}

void append_external(std::string& out, const StoreNumbers& n, bool extended) {
  if (const auto* inject = std::get_if<InjectNumbers>(&n)) return append_external_inject(out, *inject);
  const auto& cache = std::get<CacheNumbers>(n);
  extended ? append_cache_extended(out, "external", cache) : append_cache(out, "external", cache);
}

void append_active_links(std::string& out, const Snapshot& s) {
  for (const auto& link : s.links) {
    if (link.active) append_active_link(out, link);
  }
}

void append_of_statistics_mode(std::string& out, Topic topic, const Snapshot& s) {
  const auto& cache = std::get<CacheNumbers>(s.internal);
  if (topic == Topic::summary) {
    append_cache(out, "stats", cache);
    append_traffic(out, s.traffic);
  } else if (topic == Topic::cache) {
    append_cache_extended(out, "stats", cache);
  }
}

void append_of_sync_mode(std::string& out, Topic topic, const Snapshot& s) {
  switch (topic) {
    case Topic::expectations:
      if (!s.with_expectations) return;
      [[fallthrough]];
    case Topic::summary: {
      const bool expectations = topic == Topic::expectations;
      append_internal(out, expectations ? s.internal_expectations : s.internal, false);
      append_external(out, expectations ? s.external_expectations : s.external, false);
      append_traffic(out, s.traffic);
      append_active_links(out, s);
      append_message_tracking(out, s.network);
      return;
    }
    case Topic::network:
      append_network(out, s.network);
      append_active_links(out, s);
      return;
    case Topic::cache:
      append_internal(out, s.internal, true);
      append_external(out, s.external, true);
      return;
    case Topic::link:
      for (const auto& link : s.links) append_link(out, link);
      return;
    case Topic::queue:
      append_queues(out, s.queue_nodes, s.queues);
      return;
    case Topic::peers:
      for (const auto& p : s.peers) append_peer(out, p);
      if (s.peers.empty()) add(out, "no peer was heard\n\n");
      if (s.comparison) append_comparison(out, *s.comparison);
      if (s.mirror) append_mirror(out, *s.mirror);
      return;
    case Topic::runtime:
    case Topic::processes:
      return;
  }
}

}  // namespace

void append_statistics(std::string& out, Topic topic, const Snapshot& s) {
  if (topic == Topic::runtime) return append_runtime(out, s.runtime);
  switch (s.mode) {
    case Snapshot::Mode::idle:
      return;
    case Snapshot::Mode::statistics:
      return append_of_statistics_mode(out, topic, s);
    case Snapshot::Mode::sync:
      return append_of_sync_mode(out, topic, s);
  }
}

}  // namespace ctsync::text
