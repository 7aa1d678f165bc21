// SPDX-License-Identifier: GPL-2.0-or-later
// What flows and expectations in a cache have in common besides their data: life state, and the place an engine keeps
// for its queues.
#pragma once

#include <bit>
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
  young,     // a new flow, of which the peers are not told yet
  deferred,  // a flow that has changed again soon after it was told
};

// Who told an entry of the external cache last. Such an entry is never queued, so this lies where the links of others are.
struct Origin {
  std::uint32_t owner = 0;    // replication::Peer::owner
  std::uint32_t session = 0;  // and Peer::session
  std::uint32_t seq = 0;      // number of the message
};
inline Origin origin_of(const QueueLink& link) { return std::bit_cast<Origin>(link); }
inline QueueLink link_of(const Origin& origin) { return std::bit_cast<QueueLink>(origin); }

}  // namespace ctsync::table
