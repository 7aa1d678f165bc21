// SPDX-License-Identifier: GPL-2.0-or-later
// Flows and expectations to ctnetlink requests (spec replication.md 5.2 to 5.5). Each function appends one message to
// the writer, which must stand at a message boundary; if it does not fit the writer says failed(). None of them ever
// writes a request without a tuple, which the kernel would take for "everything".
#pragma once

#include <cstdint>

#include "ctsync/base/bytes.h"
#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"

namespace ctsync::kernel {

// Upper bound of one encoded request, in bytes.
inline constexpr std::size_t kMaxRequest = 768;

// False if the flow cannot be written at all: no family.
bool encodable(const Tuple& orig);

void encode_create(ByteWriter& w, std::uint32_t seq, const FlowRecord& r, bool be_liberal);
void encode_update(ByteWriter& w, std::uint32_t seq, const FlowRecord& r, bool be_liberal);
// `id`: only the entry with that conntrack id, nullptr = whatever has the tuple.
void encode_destroy(ByteWriter& w, std::uint32_t seq, const Tuple& orig, const std::uint32_t* id);
void encode_get(ByteWriter& w, std::uint32_t seq, const Tuple& orig);
void encode_flush_flows(ByteWriter& w, std::uint32_t seq);

// `minimal`: without class, NAT and function, as conntrackd 1.4 writes it.
void encode_expect_create(ByteWriter& w, std::uint32_t seq, const Expectation& e, bool minimal);
void encode_expect_destroy(ByteWriter& w, std::uint32_t seq, const Expectation& e);
void encode_flush_expectations(ByteWriter& w, std::uint32_t seq);

}  // namespace ctsync::kernel
