// SPDX-License-Identifier: GPL-2.0-or-later
// The lifetime of a flow whose timeout nobody told.
#pragma once

#include <cstdint>

#include "ctsync/flow/flow.h"

namespace ctsync {

// Seconds: the kernel's usual defaults, by protocol and state (net/netfilter/nf_conntrack_proto_*.c).
std::uint32_t default_timeout(const Flow& flow);

}  // namespace ctsync
