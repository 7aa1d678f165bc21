// SPDX-License-Identifier: GPL-2.0-or-later
// Who we hear, and how far we have heard each one. A peer is one daemon: it has one sequence space, but one address on
// each dedicated link. Bounded: a new one takes the place of a peer that was not heard for kGone, else of the one of
// which the fewest messages were accepted. So strangers with ever new addresses push out each other, not a peer that is
// alive.
//
// How an address finds its peer:
//  1. An address not heard before belongs to a peer without an address on that link, if its message continues that
//     peer's sequence: at most kJoinAhead numbers after the expected one or kJoinBehind before it; the nearest one
//     wins. So the fail-over of a peer to another link stays part of its one sequence, as its sender sees it (spec
//     replication.md 3.6).
//  2. Else it is a new peer; always so if the message says HELLO, for then its number tells nothing.
//  3. A known address is its peer. But if the number is old there or far ahead and continues another peer as in rule 1,
//     which was heard later, the address moves to that one: the peer restarted while it spoke on another link.
//  4. A daemon speaks on one link at a time. A peer that jumps between links kMaxSwitches times within kSwitchTime is
//     two daemons whose numbers happened to fit, and the address just heard becomes a peer of its own.
// Where a guess was wrong the sequence rules of the engines still recover.
//
// Nodes of our kind tell who they are, and their addresses (wire::Capabilities). That needs no guess, and rights it: an
// address is of the node that tells so in a message from there, else of the one that names it, whatever the numbers. Such
// peers join and are parted by no rule.
//
// Several senders behind one address (a relay that copies their datagrams): nodes that tell different hosts from there
// share it, and so do senders whose numbers show that there are two, if they are far enough apart: two runs, each gone on
// with right where it was left, again and again. A message from there is of the one whose number it is nearest to.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/flow/ip_address.h"
#include "ctsync/wire/extension.h"
#include "ctsync/wire/header.h"

namespace ctsync::replication {

inline constexpr std::size_t kMaxLinks = 4;
inline constexpr std::size_t kMaxPeers = 64;

// Where a message came from.
struct PeerAddress {
  std::uint8_t link = 0;  // index of the dedicated link, below kMaxLinks
  IpAddress address;
  bool operator==(const PeerAddress&) const = default;
};

// 0 to kMaxPeers - 1. Given again to another peer after eviction.
using PeerId = std::uint32_t;

// The numbers from one address in runs, several if several senders are behind it.
struct Runs {
  std::array<std::uint32_t, 4> next{};  // the numbers with which they go on; first the one that went on last
  std::uint8_t returns = 0;             // since all are known: how often an earlier one went on
  bool returned = false;                // with the last message
  TimePoint since{};                    // all are known
};

// What FT-FW and NOTRACK remember of a peer. Numbers are sequence numbers.
struct Peer {
  std::array<IpAddress, kMaxLinks> places;  // its address on each link, as far as known
  bool used = false;
  std::uint8_t link = 0;      // where it was heard last
  std::uint8_t switches = 0;  // changes of link since switches_since
  TimePoint switches_since{};
  TimePoint last_heard{};  // last message with a valid header

  std::uint64_t accepted = 0;  // messages
  std::uint64_t lost = 0;      // numbers that did not come when they should
  std::uint64_t resyncs = 0;   // that it has asked for

  // What it has shown of itself lately; empty: a stock conntrackd, as far as we know.
  std::optional<wire::Capabilities> info;
  TimePoint shown_at{};
  // Of a node of our kind: the stamp of its last probe that is not answered yet, when that was heard, and how long a
  // message took there and back.
  std::optional<std::uint32_t> probe;
  TimePoint probe_at{};
  std::optional<Duration> round_trip;
  std::uint32_t node = 0;  // the id it has shown last in this session; 0: none
  // And the host, and its addresses; 0: none.
  std::uint64_t host = 0;
  std::array<IpAddress, wire::Capabilities::kMostAddresses> addresses{};
  // What entries that it told are marked with: a number for this peer, never given again, and one for its session.
  std::uint32_t owner = 0;
  std::uint32_t session = 0;

  bool received = false;   // `last` is set
  std::uint32_t last = 0;  // last number accepted
  Runs runs;
  bool shares = false;  // an address with other peers
  // NOTRACK: a gap so wide that it may be the distance to another sender, and when it was seen.
  std::optional<wire::NumberRange> wide_gap;
  TimePoint wide_gap_at{};
  // FT-FW.
  std::uint32_t window = 0;  // messages until the next window ACK
  bool ack_pending = false;
  std::uint32_t ack_start = 0;  // first number not yet acknowledged by us, with ack_pending
  std::uint32_t last_kept = 0;  // the last one that it keeps until it is acknowledged
  // Those of its numbers up to `last` that did not come, and that it is not known to have heard of: ascending. With a node
  // of our kind they are named in each ACK.
  wire::Missing missing;
  std::uint32_t named = 0;            // of those, what is up to this number has been named
  std::optional<TimePoint> ack_at;    // of a node of our kind: when the next ACK is due
  TimePoint acknowledged_at{};        // by the last one
  bool said_hello = false;            // its last message had HELLO
  std::uint32_t session_start = 0;    // number of the HELLO that opened its session
  std::optional<TimePoint> hello_at;  // of the last HELLO of the session
  // When its session began, and its next number in the one before: what was under way then may come late.
  struct Before {
    std::uint32_t next;
    TimePoint until;
  };
  std::optional<Before> before;
  // An old number that said HELLO soon after the session began, and nothing new since: a copy that came late, or the
  // peer has restarted. `ours`: our next number then.
  struct OldHello {
    std::uint32_t seq;
    std::uint32_t ours;
  };
  std::optional<OldHello> old_hello;
  // It needs none of our messages before this number: it has acknowledged them, or asked for them, or said HELLO after
  // them. Nothing known yet: empty.
  std::optional<std::uint32_t> acked;
  TimePoint acked_at{};  // when its last acknowledgement was heard
  // A message of ours whose acknowledgement is waited for, to tell how long it has been missing: its number, and when it was
  // sent.
  std::uint32_t watched = 0;
  std::optional<TimePoint> watched_at;
  // Since when it is known to lack something that only a bulk can bring.
  std::optional<TimePoint> lacks_since;
  bool in_bulk = false;            // has been there since the bulk under way began
  bool endless_bulk = false;       // was there, but had not shown yet that it takes the word that it has all of it
  std::uint64_t answers_turn = 0;  // the turn in which it caused `answers` control messages
  std::uint32_t answers = 0;
  bool told_all = false;                  // it has told everything once in this session
  TimePoint session_at{};                 // when that began
  wire::RepairRequest request;            // the last one that it was sent
  std::optional<TimePoint> repair_until;  // its answer is waited for
  // A jump too far to be believed at once waits for its successor.
  std::optional<std::uint32_t> jump;
  // Of a stock node: what came lately with which number; and how often something else came with the same since alike_at.
  struct Content {
    std::uint32_t seq = 0;
    std::uint32_t hash = 0;  // 0: none
  };
  std::array<Content, 64> contents{};
  std::uint32_t alike = 0;
  TimePoint alike_at{};
  // A run of successive old numbers: the next one, how many so far, and where it began.
  std::uint32_t old_next = 0;
  std::uint32_t old_count = 0;
  std::uint32_t old_first = 0;
  TimePoint last_accepted{};

  std::uint32_t expected() const { return last + 1; }
  // `r` begins after all that is missing. Without room for it two ranges become one, received numbers between included.
  void add_missing(const wire::NumberRange& r);
  // It has heard of what was missing before the number `heard`. What is not before `last` was of numbers that it counted
  // with once.
  void forget_missing(std::uint32_t heard);
};

// A peer that is none any more, because its addresses are others' now or there was no room for it. What it told is still
// held.
struct FormerPeer {
  std::uint32_t owner = 0;
  std::uint64_t host = 0;  // 0: it has never told
  std::array<IpAddress, kMaxLinks> places;
};

class Peers {
 public:
  static constexpr std::uint32_t kJoinAhead = 1U << 17;
  static constexpr std::uint32_t kJoinBehind = 1U << 10;
  static constexpr std::uint8_t kMaxSwitches = 6;
  static constexpr Duration kSwitchTime = std::chrono::seconds(5);
  static constexpr Duration kGone = std::chrono::seconds(60);
  static constexpr Duration kSharing = std::chrono::seconds(10);  // who was not heard for so long shares no address

  // What shows two senders behind one address: numbers so far apart, for so long.
  struct Apart {
    std::uint32_t distance;
    Duration time;
  };
  // Late copies from before a restart pass for a second sender for a while.
  static constexpr Apart kUsual{.distance = 1024, .time = std::chrono::seconds(3)};
  explicit Peers(const Apart& apart = kUsual) : apart_(apart) {}

  // The peer of this address and message; nullptr if it would be a new one. May give the address to another peer. `who`: if
  // the message tells it.
  Peer* find(const PeerAddress& from, const wire::Header& h, TimePoint now, const wire::Capabilities* who = nullptr);
  // A fresh peer; evicts another one if there is no room.
  Peer& add(const PeerAddress& from, TimePoint now);

  PeerId id(const Peer& p) const { return static_cast<PeerId>(&p - peers_.data()); }
  const Peer& operator[](PeerId id) const { return peers_[id]; }
  // It is no peer any more.
  void forget(Peer& p);
  // The links are others from now on: of each, its number before; nothing: it is new. Whoever loses all places by that is
  // known again as one that speaks on another link (1).
  void move_links(std::span<const std::optional<std::size_t>> before);
  // Whether the peer is the same process as this one, heard at another address: it has told so, or has told nothing of
  // itself and speaks from an address of this node.
  static bool is_part_of(const Peer& peer, const Peer& node);
  // Those that are no peers any more and were this node: by the host that it tells, or by an address if they never told.
  // They are forgotten now. Of the rest the last kMaxFormer are remembered.
  std::vector<FormerPeer> take_former(const Peer& node);
  // The peer whose entries are marked with `owner`; nullptr: it has been forgotten.
  const Peer* with_owner(std::uint32_t owner) const;
  std::uint32_t count() const { return static_cast<std::uint32_t>(std::ranges::count(peers_, true, &Peer::used)); }
  // The places that have ever been used; most nodes have one or two peers, and these are looked at each turn.
  std::span<Peer> all() { return std::span(peers_).first(ever_used_); }
  std::span<const Peer> all() const { return std::span(peers_).first(ever_used_); }

 private:
  Peer* owner(const PeerAddress& from, const wire::Header& h, const wire::Capabilities* who);
  Peer* one_of_several(const PeerAddress& from, const wire::Header& h, const wire::Capabilities* who);
  bool is_of_another(Peer& p, std::uint32_t seq, TimePoint now) const;
  Peer* best_fit(const PeerAddress& from, std::uint32_t seq);
  Peer* told_by(const PeerAddress& from, const wire::Header& h, TimePoint now, const wire::Capabilities& who);
  template <typename Wanted>
  Peer* last_heard(Wanted&& wanted);
  void take_place(Peer& p, const PeerAddress& from);
  void leave_place(Peer& p, std::uint8_t link);
  static bool is_two_daemons(Peer& p, std::uint8_t link, TimePoint now);

  static constexpr std::size_t kMaxFormer = kMaxPeers;
  static constexpr std::uint32_t kOfRun = 16;  // a run may leave out fewer numbers
  static constexpr std::uint8_t kReturns = 6;

  Apart apart_;

  std::array<Peer, kMaxPeers> peers_;
  std::vector<FormerPeer> former_;
  std::size_t ever_used_ = 0;
  std::uint32_t owners_ = 0;  // given so far
  std::uint32_t recent_ = 0;  // where the last look-up ended: most messages come from the same peer
};

}  // namespace ctsync::replication
