// SPDX-License-Identifier: GPL-2.0-or-later
// Flows and expectations to ctnetlink requests (spec replication.md 5.2 to 5.5). Each function writes one message at
// the start of `room`, which must be aligned to four bytes, and returns its size, a multiple of four, or 0 if it does
// not fit. None of them, but the two that flush, ever writes a request without a tuple, which the kernel would take for
// "everything".
#pragma once

#include <cstdint>
#include <span>

#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"

namespace ctsync::kernel {

// Upper bound of one encoded request, in bytes.
inline constexpr std::size_t kMaxRequest = 768;

// False if the flow cannot be written at all: no family.
bool encodable(const Tuple& orig);

std::size_t encode_create(std::span<std::uint8_t> room, std::uint32_t seq, const FlowRecord& r, bool be_liberal);
std::size_t encode_update(std::span<std::uint8_t> room, std::uint32_t seq, const FlowRecord& r, bool be_liberal);
// `id`: only the entry with that conntrack id, nullptr = whatever has the tuple.
std::size_t encode_destroy(std::span<std::uint8_t> room, std::uint32_t seq, const Tuple& orig, const std::uint32_t* id);
std::size_t encode_get(std::span<std::uint8_t> room, std::uint32_t seq, const Tuple& orig);

// `minimal`: without class, NAT and function, as conntrackd 1.4 writes it.
std::size_t encode_expect_create(std::span<std::uint8_t> room, std::uint32_t seq, const Expectation& e, bool minimal);
std::size_t encode_expect_destroy(std::span<std::uint8_t> room, std::uint32_t seq, const Expectation& e);
std::size_t encode_flush_expectations(std::span<std::uint8_t> room, std::uint32_t seq);

}  // namespace ctsync::kernel
