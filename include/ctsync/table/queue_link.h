// SPDX-License-Identifier: GPL-2.0-or-later
// What flows and expectations in a cache have in common besides their data: life state, and the place an engine keeps
// for its queues.
#pragma once

#include <cstdint>

namespace ctsync::table {

// new_: inserted, never updated since. alive: updated. dead: destroyed, kept only while an engine's queue refers to it.
enum class FlowState : std::uint8_t { free, new_, alive, dead };
constexpr bool is_live(FlowState s) { return s == FlowState::new_ || s == FlowState::alive; }

// What an engine keeps beside a queued element: an intrusive list and the sequence number. Belongs to the engine; the
// table only guarantees that a fresh flow is in no queue. `next` and `prev` are the engine's node references.
struct QueueLink {
  std::uint32_t next = 0;
  std::uint32_t prev = 0;
  std::uint32_t seq = 0;
};
enum class Queue : std::uint8_t {
  none,
  transmit,
  untold,  // as transmit, and no peer knows of it yet
  resend,
};

}  // namespace ctsync::table
