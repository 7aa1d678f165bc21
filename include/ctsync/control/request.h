// SPDX-License-Identifier: GPL-2.0-or-later
// The requests of the control socket and their numbers, which are those of conntrackd (spec cli.md 5). On the socket a
// request is one signed 32-bit number in host byte order.
#pragma once

#include <cstdint>
#include <optional>

#include "ctsync/node/command.h"

namespace ctsync::control {

// Naming: ct = conntrack entries, expect = expectations, all = both.
enum class Request : std::int32_t {
  flush_kernel_ct = 0,
  flush_kernel_expect = 38,
  flush_kernel_all = 43,
  resync_kernel_ct = 1,  // internal cache from the kernel
  resync_kernel_expect = 39,
  resync_kernel_all = 44,
  dump_internal_ct = 16,
  dump_internal_ct_xml = 24,
  dump_external_ct = 17,
  dump_external_ct_xml = 25,
  dump_internal_expect = 40,
  dump_internal_expect_xml = 47,
  dump_external_expect = 41,
  dump_external_expect_xml = 48,
  commit_ct = 18,
  commit_expect = 42,
  commit_all = 46,
  flush_both_ct = 19,  // internal and external conntrack cache; no option sends it
  flush_internal = 33,
  flush_external = 34,
  flush_all = 45,
  stop = 20,
  stats = 21,
  stats_expect = 37,
  bulk_send = 22,
  request_resync = 23,
  schedule_purge = 26,
  stats_network = 28,
  stats_cache = 29,
  stats_runtime = 30,
  stats_link = 31,
  stats_resend_queue = 32,
  stats_process = 35,
  stats_queue = 36,
  // conntrackd has none of these.
  stats_peers = 1001,
  // Answered with a line "status N", for the client to end with, and what is to be printed. No answer: the daemon does not
  // know the request.
  take_over = 1002,
  stand_by = 1003,
  hand_over = 1004,
  // What the requests of conntrackd do whose names these begin with.
  commit_all_outcome = 1005,
  commit_ct_outcome = 1006,
  commit_expect_outcome = 1007,
  flush_all_outcome = 1008,
  flush_internal_outcome = 1009,
  flush_external_outcome = 1010,
  bulk_send_outcome = 1011,
  request_resync_outcome = 1012,
  schedule_purge_outcome = 1013,
  // Answered with one JSON document (doc/json.md), which is never empty. No answer: as above.
  dump_internal_ct_json = 1101,
  dump_external_ct_json = 1102,
  dump_internal_expect_json = 1103,
  dump_external_expect_json = 1104,
  stats_json = 1105,
  stats_expect_json = 1106,
  stats_network_json = 1107,
  stats_cache_json = 1108,
  stats_runtime_json = 1109,
  stats_link_json = 1110,
  stats_resend_queue_json = 1111,
  stats_process_json = 1112,
  stats_queue_json = 1113,
  stats_peers_json = 1114,
  // Answered with text that ends with the line "# EOF" (doc/metrics.md). No answer: as above.
  metrics = 1201,
  metrics_prometheus = 1203,
  health = 1202,  // answered as take_over is
  reload = 1211,  // likewise
  // As those from 1005 on.
  flush_kernel_all_outcome = 1221,
  flush_kernel_ct_outcome = 1222,
  flush_kernel_expect_outcome = 1223,
  resync_kernel_all_outcome = 1224,
  resync_kernel_ct_outcome = 1225,
  resync_kernel_expect_outcome = 1226,
};

constexpr bool is_json(Request r) { return r >= Request::dump_internal_ct_json && r <= Request::stats_peers_json; }
constexpr bool is_metrics(Request r) { return r == Request::metrics || r == Request::metrics_prometheus; }
constexpr bool has_status(Request r) { return r >= Request::take_over && !is_json(r) && !is_metrics(r); }

// What the request with this number asks for; nothing if there is none (27 is reserved and counts as none).
std::optional<node::Command> decode_request(std::int32_t code);

}  // namespace ctsync::control
