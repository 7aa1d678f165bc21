// SPDX-License-Identifier: GPL-2.0-or-later
// How far a flow has come, to tell the older of two pictures of it.
#pragma once

#include <cstdint>

#include "ctsync/flow/flow.h"

namespace ctsync {

// The status bits that a flow gains on its way and never loses.
inline constexpr std::uint32_t kProgress = status::kSeenReply | status::kAssured;
// Those of `f`, as far as they are known.
inline std::uint32_t progress_of(const Flow& f) { return f.knows(has::kStatus) ? f.status & kProgress : 0; }

// Whether `there` is closed (TCP TIME_WAIT, CLOSE and their like) and `ours` is not: ports are used again, so that
// these may be two flows.
bool closed_before(const Flow& there, const Flow& ours);

// Whether `there` is live and further on than `ours`: more of "reply seen" and "assured", or a later protocol state. A
// closed flow is never further on than one that is not.
bool further_on(const Flow& there, const Flow& ours);

// Packets have passed in both directions, and more than a few: the kernel will not drop it for a new one.
inline bool is_established(const Flow& f) {
  const bool established = f.orig.l4 == kTcp && f.knows(has::kProtoState) && f.proto_state == kTcpEstablished;
  return established || (progress_of(f) & status::kAssured) != 0;
}

// Whether a picture of the flow can be further on than this one; false without a status, of which nothing can be said.
bool may_go_on(const Flow& f);

}  // namespace ctsync
