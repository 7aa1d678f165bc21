// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/stats_text.h"

#include <fmt/format.h>

#include <iterator>

namespace ctsync::control {
namespace {

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
  add(out, "connections destroyed:\t\t{:>12}\tfailed:\t{:>12}\n\n", n.destroyed, n.destroy_failed);
}

void append_cache_extended(std::string& out, std::string_view name, const CacheNumbers& n) {
  add(out, "cache:{}\tactive objects:\t\t{:>12}\n", name, n.objects);
  add(out, "\tactive/total entries:\t\t{:>12}/{:>12}\n", n.active, n.total);
  add(out, "\tcreation OK/failed:\t\t{:>12}/{:>12}\n", n.created, n.create_failed);
  add(out, "\t\tno memory available:\t{:>12}\n", n.no_memory);
  add(out, "\t\tno space left in cache:\t{:>12}\n", n.no_space);
  add(out, "\tupdate OK/failed:\t\t{:>12}/{:>12}\n", n.updated, n.update_failed);
  add(out, "\t\tentry not found:\t{:>12}\n", n.update_not_found);
  add(out, "\tdeletion created/failed:\t{:>12}/{:>12}\n", n.destroyed, n.destroy_failed);
  add(out, "\t\tentry not found:\t{:>12}\n\n", n.destroy_not_found);
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

void append_traffic(std::string& out, std::uint64_t bytes, std::uint64_t packets) {
  add(out, "traffic processed:\n{:>20} Bytes      {:>20} Pckts\n\n", bytes, packets);
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

void append_message_tracking(std::string& out, std::uint64_t malformed, std::uint64_t lost) {
  add(out, "message tracking:\n{:>20} Malformed msgs {:>20} Lost msgs\n\n", malformed, lost);
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
  add(out, "\tsend:\n\t\tMalformed messages:\t{:>20}\n\n", n.send_malformed);
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
  add(out, "\tchild process failed:\t\t{:>12}\n", n.children_failed);
  add(out, "\t\tchild process segfault:\t{:>12}\n", n.children_crashed);
  add(out, "\t\tchild process termsig:\t{:>12}\n", n.children_terminated);
  add(out, "\tselect failed:\t\t\t{:>12}\n", n.select_failed);
  add(out, "\twait failed:\t\t\t{:>12}\n", n.wait_failed);
  add(out, "\tlocal read failed:\t\t{:>12}\n", n.local_read_failed);
  add(out, "\tlocal unknown request:\t\t{:>12}\n\n", n.local_unknown_request);
}

void append_resend_queue_head(std::string& out, std::uint64_t length) { add(out, "resent queue (len={})\n", length); }

void append_resend_control(std::string& out, std::uint32_t seq, std::uint32_t flags) {
  add(out, "control -> seq:{} flags:{}\n", seq, flags);
}

void append_resend_object(std::string& out, std::uint32_t seq) { add(out, "object -> seq:{}\n", seq); }

void append_process(std::string& out, long pid, std::string_view type) { add(out, "PID={} type={}\n", pid, type); }

void append_queues(std::string& out, std::uint64_t allocated_nodes, std::span<const QueueNumbers> queues) {
  add(out, "allocated queue nodes:\t\t{:>12}\n\n", allocated_nodes);
  for (const auto& q : queues) {
    add(out, "queue {}:\n", q.name);
    add(out, "current elements:\t\t{:>12}\n", q.elements);
    add(out, "maximum elements:\t\t{:>12}\n", q.maximum);
    add(out, "not enough space errors:\t{:>12}\n\n", q.no_space);
  }
}

}  // namespace ctsync::control
