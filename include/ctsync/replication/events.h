// SPDX-License-Identifier: GPL-2.0-or-later
// What an engine tells the daemon beside what it sends: things to log and the one thing it cannot do itself. Called
// from inside the engine's functions; must not call back into the engine. Logs must be rate limited by the receiver: a
// hostile sender can cause any of these as often as it likes. But a peer that lacks something must not be passed over
// because another one was told of, or the same one a moment before.
#pragma once

#include <cstdint>

#include "ctsync/replication/peers.h"

namespace ctsync::replication {

class Events {
 public:
  virtual ~Events() = default;

  virtual void resync_requested(PeerId) {}  // a peer wants everything: log `resync requested by other node`
  virtual void bulk_started() {}            // log `sending bulk update`
  // Without internal cache the engine has nothing to walk over: dump the kernel and send each flow as NEW with
  // Notrack::send_event (spec replication.md 3.3).
  virtual void kernel_bulk_wanted() {}

  virtual void peer_appeared(PeerId) {}
  virtual void peer_shown(PeerId) {}      // it has told what it is (Peer::info)
  virtual void peer_restarted(PeerId) {}  // FT-FW: it says hello anew
  // FT-FW, NOTRACK: numbers from..to never came; FT-FW has asked for them.
  virtual void gap_seen(PeerId, std::uint32_t /*from*/, std::uint32_t /*to*/) {}
  // FT-FW: the resend queue is full, and a flow was given up that a peer heard lately has not acknowledged. What is
  // given up while nobody is there, or after all have acknowledged it, or is a control message, is no loss and not
  // told. Comes once until the queue has shrunk to half.
  virtual void resend_queue_overflow() {}
  // The flow table was full, and the end of a flow was given up before it was sent: peers keep that flow.
  virtual void end_given_up() {}
  // FT-FW: the peer asks for numbers, or has shown that it lacks them, of which some were given up earlier: it has lost
  // state until the next bulk.
  virtual void cannot_repeat(PeerId, std::uint32_t /*from*/, std::uint32_t /*to*/) {}
  // FT-FW with three or more nodes: the peer asks for numbers that were freed when other peers acknowledged them or
  // said hello. What it lacks it does not get until the next bulk.
  virtual void freed_by_others(PeerId, std::uint32_t /*from*/, std::uint32_t /*to*/) {}
  // FT-FW with three or more nodes: the hello of `by` freed numbers that `other`, heard lately, has not acknowledged
  // yet.
  virtual void freed_by_hello(PeerId /*by*/, PeerId /*other*/, std::uint32_t /*from*/, std::uint32_t /*to*/) {}
  // FT-FW: all that the peer has is in its messages from `first` on, and all of them have arrived (wire::BulkEnd). Comes
  // only if it is meant for us.
  virtual void bulk_ended(PeerId, std::uint32_t /*first*/) {}
  // FT-FW: the peer of this owner (Peer::owner) was a node that is another peer now, which has told everything. What is
  // still held of it has ended.
  virtual void peer_succeeded(std::uint32_t /*owner*/) {}
  // FT-FW: the peer's sums as of now; nothing that it sent before is missing, and it should have told everything
  // in this session (bulk_ended).
  virtual void sums_heard(PeerId, const wire::Sums&) {}
  // FT-FW: as bulk_ended(), of the flows of the buckets of our request `number`.
  virtual void repair_ended(PeerId, std::uint32_t /*number*/, std::uint32_t /*first*/) {}
  // FT-FW: the peer asks for more ranges at once than are kept, or makes more gaps in one turn than are answered. What
  // was too much is dropped as if the link had lost it: its next messages show it again.
  virtual void peer_asks_too_much(PeerId) {}
  // FT-FW: different messages with the same numbers come from the peer's address: several stock nodes are behind it.
  virtual void peers_alike(PeerId) {}
};

}  // namespace ctsync::replication
