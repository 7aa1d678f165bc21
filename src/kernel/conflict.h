// SPDX-License-Identifier: GPL-2.0-or-later
// What to do with an entry of the kernel that stands where a flow is to be written. The kernel's entry is that of
// packets that passed here; the flow to be written is what another node saw, and may be the older picture of the two.
#pragma once

#include <cstdint>

#include "ctsync/flow/flow.h"

namespace ctsync::kernel {

enum class Verdict : std::uint8_t {
  keep,     // the same flow, further on in the kernel: leave it alone
  merge,    // the same flow, not further on: update it in place, with the status of both
  replace,  // another flow, or one that an update cannot turn into what is to be written: destroy and create
};

// `there` is the kernel's entry as a look-up tells it, `ours` what is to be written. A closed entry (TCP TIME_WAIT,
// CLOSE and their like) is never further on than a flow that is open: ports are used again.
Verdict judge(const FlowRecord& there, const FlowRecord& ours);

// The status to update `there` with. The kernel refuses an update that takes "reply seen" or "assured" back, or changes
// "expected".
std::uint32_t merged_status(const Flow& there, const Flow& ours);

// Whether the kernel could refuse `ours` as an update because its entry is further on. It changes the timeout before it
// refuses, so such a flow must not be written before the entry was looked up.
bool may_be_refused(const Flow& ours);

}  // namespace ctsync::kernel
