// SPDX-License-Identifier: GPL-2.0-or-later
// Who we hear, and how far we have heard each one. A peer is one daemon: it has one sequence space, but one address on each
// dedicated link. Bounded: the peer not heard for longest makes room for a new one.
//
// How an address finds its peer (at() and find()):
//  1. a known address is its peer, unless its message does not continue that peer but does continue another one (rule 2);
//  2. an address not seen before belongs to a peer that has no address on that link, if the message continues that peer's
//     sequence: at most kJoinAhead numbers after the expected one or kJoinBehind before it; the nearest one wins;
//  3. else, and always if the message says HELLO (its number says nothing), the address is a new peer.
// Rule 2 makes the fail-over of a peer to another link part of its one sequence, as its sender sees it (spec replication.md
// 3.6). A wrong guess does no lasting harm: the engines recover from any number a peer starts at.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "ctsync/base/clock.h"
#include "ctsync/flow/flow.h"
#include "ctsync/wire/header.h"

namespace ctsync::replication {

inline constexpr std::size_t kMaxLinks = 4;
inline constexpr std::size_t kMaxPeers = 64;

// Where a message came from. An IPv4 address occupies the first four bytes, the others are zero.
struct PeerAddress {
  std::uint8_t link = 0;  // index of the dedicated link, below kMaxLinks
  Family family = Family::none;
  Address address{};
  bool operator==(const PeerAddress&) const = default;
};

// 0 to kMaxPeers - 1. Given again to another peer after eviction.
using PeerId = std::uint32_t;

// What FT-FW and NOTRACK remember of a peer. Numbers are sequence numbers.
struct Peer {
  struct Place {
    bool known = false;
    Family family = Family::none;
    Address address{};
  };
  std::array<Place, kMaxLinks> places;  // by link
  bool used = false;
  TimePoint last_heard{};  // last message with a valid header

  bool received = false;   // `last` is set
  std::uint32_t last = 0;  // last number accepted
  // FT-FW.
  std::uint32_t window = 0;     // messages until the next window ACK
  bool ack_pending = false;
  std::uint32_t ack_start = 0;  // first number not yet acknowledged by us, with ack_pending
  bool said_hello = false;      // its last message had HELLO
  std::optional<std::uint32_t> acked;  // it has acknowledged our messages before this number; nothing known yet: empty
  // A jump too far to be believed at once waits for its successor.
  std::optional<std::uint32_t> jump;
  // A run of successive old numbers: the next one, how many so far, and where it began.
  std::uint32_t old_next = 0;
  std::uint32_t old_count = 0;
  std::uint32_t old_first = 0;
  TimePoint last_accepted{};

  std::uint32_t expected() const { return last + 1; }
};

class Peers {
 public:
  static constexpr std::uint32_t kJoinAhead = 1U << 20;
  static constexpr std::uint32_t kJoinBehind = 1U << 10;

  // The peer of this address and message; nullptr if it would be a new one. May move the address to another peer.
  Peer* find(const PeerAddress& from, const wire::Header& h);
  // A fresh peer; evicts the one not heard for longest if there is no room.
  Peer& add(const PeerAddress& from, TimePoint now);

  PeerId id(const Peer& p) const { return static_cast<PeerId>(&p - peers_.data()); }
  const Peer& operator[](PeerId id) const { return peers_[id]; }
  // All places, used or not.
  std::span<Peer> all() { return peers_; }
  std::span<const Peer> all() const { return peers_; }

 private:
  Peer* owner(const PeerAddress& from);
  Peer* best_fit(const PeerAddress& from, std::uint32_t seq);
  void move_address(const PeerAddress& from, Peer* old_owner, Peer& to);

  std::array<Peer, kMaxPeers> peers_;
  std::uint32_t recent_ = 0;  // where the last look-up ended: most messages come from the same peer
};

}  // namespace ctsync::replication
