// SPDX-License-Identifier: GPL-2.0-or-later
// The statistics texts of conntrackd, byte for byte (spec cli.md 7), as pure functions of plain numbers. Each function
// appends one block to `out`, with the empty line that ends it. Which blocks a request gets, and in which order, is
// said at the head of spec cli.md 7.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ctsync/flow/link_kind.h"

namespace ctsync::control {

// 7.1 and 7.2. Of a table of flows or of expectations.
struct CacheNumbers {
  std::uint64_t objects = 0;  // allocated
  std::uint64_t active = 0;   // live entries
  std::uint64_t total = 0;    // live and dead
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;  // all reasons
  std::uint64_t no_memory = 0;
  std::uint64_t no_space = 0;
  std::uint64_t updated = 0;
  std::uint64_t update_failed = 0;
  std::uint64_t update_not_found = 0;
  std::uint64_t destroyed = 0;
  std::uint64_t destroy_failed = 0;
  std::uint64_t destroy_not_found = 0;
};
// `name`: "internal", "external" or "stats".
void append_cache(std::string& out, std::string_view name, const CacheNumbers& n);           // 7.1
void append_cache_extended(std::string& out, std::string_view name, const CacheNumbers& n);  // 7.2

// 7.1 with the internal cache disabled.
struct BypassNumbers {
  std::uint64_t created = 0;
  std::uint64_t updated = 0;
  std::uint64_t destroyed = 0;
};
void append_internal_bypass(std::string& out, const BypassNumbers& n);

// 7.1 with the external cache disabled.
struct InjectNumbers {
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;
  std::uint64_t updated = 0;
  std::uint64_t update_failed = 0;
  std::uint64_t destroyed = 0;
  std::uint64_t destroy_failed = 0;
};
void append_external_inject(std::string& out, const InjectNumbers& n);

// 7.3. Of destroyed flows whose last event told counters.
void append_traffic(std::string& out, std::uint64_t bytes, std::uint64_t packets);

struct LinkNumbers {
  LinkKind kind = LinkKind::udp;
  std::string_view device;
  LinkState status = LinkState::running;
  bool active = false;
  bool server_connected = false;  // TCP: the peer has connected to us
  bool client_connected = false;  // TCP: we to the peer
  std::uint64_t sent_bytes = 0;
  std::uint64_t sent_packets = 0;
  std::uint64_t send_errors = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t received_packets = 0;
  std::uint64_t receive_errors = 0;
};
void append_active_link(std::string& out, const LinkNumbers& n);  // 7.4
void append_link(std::string& out, const LinkNumbers& n);         // 7.7

// 7.5
void append_message_tracking(std::string& out, std::uint64_t malformed, std::uint64_t lost);

// 7.6
struct NetworkNumbers {
  std::uint64_t malformed = 0;  // received, of all the following reasons
  std::uint64_t wrong_version = 0;
  std::uint64_t bad_header = 0;
  std::uint64_t bad_payload = 0;
  std::uint64_t bad_type = 0;
  std::uint64_t truncated = 0;
  std::uint64_t bad_size = 0;
  std::uint64_t send_malformed = 0;
  std::uint64_t lost = 0;
  std::uint64_t before = 0;
};
void append_network(std::string& out, const NetworkNumbers& n);

// 7.8
struct RuntimeNumbers {
  std::uint64_t uptime_seconds = 0;
  std::uint64_t events_received = 0;  // before filtering
  std::uint64_t events_filtered = 0;
  std::uint64_t events_unknown_type = 0;
  std::uint64_t event_failures = 0;
  std::uint64_t dump_unknown_type = 0;
  std::uint64_t overruns = 0;
  std::uint64_t kernel_flushes = 0;
  std::uint64_t kernel_resyncs = 0;
  std::uint64_t buffer_bytes = 0;
  std::uint64_t children_failed = 0;
  std::uint64_t children_crashed = 0;
  std::uint64_t children_terminated = 0;
  std::uint64_t select_failed = 0;
  std::uint64_t wait_failed = 0;
  std::uint64_t local_read_failed = 0;
  std::uint64_t local_unknown_request = 0;
};
void append_runtime(std::string& out, const RuntimeNumbers& n);

// 7.9. No empty line at the end: a head line, then one line per queued message in order.
void append_resend_queue_head(std::string& out, std::uint64_t length);
void append_resend_control(std::string& out, std::uint32_t seq, std::uint32_t flags);
void append_resend_object(std::string& out, std::uint32_t seq);

// 7.10. One line per running job; no empty line. `type`: "any" (dump) or "flush".
void append_process(std::string& out, long pid, std::string_view type);

// 7.11
struct QueueNumbers {
  std::string_view name;  // "txqueue", "errorq", "rsqueue"
  std::uint64_t elements = 0;
  std::uint64_t maximum = 0;
  std::uint64_t no_space = 0;
};
// All queues in the order given.
void append_queues(std::string& out, std::uint64_t allocated_nodes, std::span<const QueueNumbers> queues);

}  // namespace ctsync::control
