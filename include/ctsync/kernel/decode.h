// SPDX-License-Identifier: GPL-2.0-or-later
// ctnetlink messages (linux/netfilter/nfnetlink_conntrack.h) to plain values. Input is taken as hostile: every
// attribute is checked against its bounds, unknown ones are skipped. No allocation, one pass.
//
// Zones: a zone of both directions (CTA_ZONE) sets orig.zone and has::kZone. A zone of one direction only is a part of
// that tuple: the original one's sets orig.zone alone, the reply one's extra.reply_zone (spec replication.md 2.2).
#pragma once

#include <cstdint>
#include <span>

#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"

namespace ctsync::kernel {

enum class EventType : std::uint8_t { new_, update, destroy };

enum class DecodeStatus : std::uint8_t {
  ok,
  malformed,     // shorter than its own lengths say
  no_family,     // neither IPv4 nor IPv6
  no_addresses,  // no complete original (expectation: expected) address pair of that family
};

struct DecodeOptions {
  bool counters = false;  // traffic counters (has::kCounters); kernels send them only with nf_conntrack_acct
};

// `body` is what follows the netlink header: struct nfgenmsg and the attributes. Unless the answer is ok, `out` is in
// an unspecified but valid state.
DecodeStatus decode_flow(std::span<const std::uint8_t> body, DecodeOptions options, FlowRecord& out);

// The zone, where the kernel tells one, is also set in the master and the expected tuple.
DecodeStatus decode_expectation(std::span<const std::uint8_t> body, Expectation& out);

}  // namespace ctsync::kernel
