// SPDX-License-Identifier: GPL-2.0-or-later
// The flow filter as a socket filter (classic BPF), so that the kernel drops events that nobody wants before they cost
// a wake-up and a copy. It drops only what FlowFilter refuses, and passes whatever it cannot judge: lists that are too
// long for a program, messages of an unusual form, and events of expectations. So FlowFilter behind it makes the result
// exact.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ctsync/flow/flow_filter.h"

namespace ctsync::kernel {

// At most `limit` instructions; the kernel takes BPF_MAXINSNS (4096). Addresses of a family whose networks do not fit
// are not judged. Networks cost the logarithm of their number. Events caused by the sockets with the netlink port ids
// `hidden` are dropped before anything else is looked at.
std::vector<sock_filter> compile_event_filter(const FlowFilter& filter, std::size_t limit = BPF_MAXINSNS,
                                              std::span<const std::uint32_t> hidden = {});

}  // namespace ctsync::kernel
