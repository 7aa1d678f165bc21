// SPDX-License-Identifier: GPL-2.0-or-later
// What a node is told when it is built. Plain values; the daemon makes them from its configuration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/flow/flow.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/flow/ip_address.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/wire/extension.h"
#include "ctsync/wire/flow_codec.h"

namespace ctsync::node {

enum class Mode : std::uint8_t {
  ftfw,
  alarm,
  notrack,
  statistics,  // no peers: a cache that follows the kernel, and `on_finished`
};

// When a node asks its peers for everything after its start (StartupResync).
enum class AskAtStart : std::uint8_t {
  never,
  at_once,
  when_heard,  // as soon as a peer is heard: over TCP, one that is not connected to us could only queue its answer
};

struct NodeOptions {
  Mode mode = Mode::ftfw;
  bool internal_cache = true;                   // NOTRACK may do without
  bool external_cache = true;                   // without: what peers tell goes straight into the kernel
  std::optional<std::uint32_t> mirror_timeout;  // WarmStandby: MirrorTimeout, seconds; with both caches and events only
  bool expectations = false;                    // ExpectationSync
  // Those of helpers whose name begins with one of these (without case); empty: of all helpers.
  std::vector<std::string> helpers;
  FlowFilter filter;
  bool filter_in_kernel = false;

  std::uint32_t table_limit = 262144;  // entries of each table (HashLimit)
  std::uint32_t table_buckets = 0;     // of each index to start with (HashSize); 0 = grow from small
  std::uint64_t seed = 1;              // keys the hashes; production passes random bits

  kernel::EventOptions events;
  std::uint32_t event_limit = 100;         // events read in one go (EventIterationLimit)
  std::optional<Duration> poll;            // PollSecs: dumps instead of events
  std::optional<Duration> overrun_resync;  // NetlinkOverrunResync
  std::optional<Duration> kernel_compare;  // KernelCompareSecs; not with `poll`, which does the same
  bool silent_flows = false;               // see kernel::events_need_a_listener()

  std::uint32_t resend_queue_size = 131072;            // FT-FW, messages
  std::uint32_t ack_window = 300;                      // FT-FW, messages
  std::uint32_t refresh_time = 60;                     // ALARM, seconds
  Duration cache_timeout = std::chrono::seconds(180);  // ALARM: external entries that are not repeated go
  std::size_t large_commit = 10'000;                   // entries from which on new flows are not heard meanwhile
  std::uint32_t commit_timeout = 0;                    // seconds; 0 = estimated for each entry
  Duration purge_timeout = std::chrono::seconds(60);
  AskAtStart resync_at_start = AskAtStart::never;
  // What peers are not told at once, see replication::EngineOptions. Not without internal cache.
  Duration min_age{};                // SyncMinAge
  bool established_at_once = false;  // SyncMinAgeEstablished
  Duration coalesce{};               // SyncCoalesce
  wire::EncodeOptions encode;
  // Of this machine, now; may be empty. To find peers whose NAT addresses make no sense.
  std::function<std::vector<IpAddress>()> own_addresses;
  wire::Capabilities self{};  // what to show to peers of our kind; node 0: nothing (see replication::EngineOptions)
  std::size_t buffer_size = 1472;  // of a datagram, bytes; see Packer

  // Statistics mode: called for every cached flow that ends.
  std::function<void(const FlowRecord&)> on_finished;
};

}  // namespace ctsync::node
