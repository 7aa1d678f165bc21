// SPDX-License-Identifier: GPL-2.0-or-later
// Expectation messages (types 3 to 5) to and from bytes: spec replication.md 2.8. Written byte for byte as stock writes
// them.
#pragma once

#include <cstdint>
#include <span>

#include "ctsync/base/bytes.h"
#include "ctsync/flow/expectation.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/header.h"

namespace ctsync::wire {

// Length of an expect function name on the wire without its terminating zero.
inline constexpr std::size_t kMaxWireFunctionName = 27;

// Appends one message, header included. `age_seconds` as in encode_flow. The wire has no room for zones and IPv6 NAT;
// they are left out.
void encode_expectation(ByteWriter& w, MsgType type, std::uint8_t flags, std::uint32_t seq, const Expectation& e,
                        std::uint32_t age_seconds, const EncodeOptions& options);

// Requires addresses and protocol of master and expected tuple, of one family; everything else may be missing.
DecodeStatus decode_expectation(std::span<const std::uint8_t> payload, Expectation& out);

}  // namespace ctsync::wire
