// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/peers.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

namespace {

bool is_at(const Peer& p, const PeerAddress& a) { return p.places[a.link] == a.address; }

using Addresses = std::array<IpAddress, kMaxLinks>;

bool has(const Addresses& addresses, const IpAddress& a) {
  return a.is_set() && std::ranges::find(addresses, a) != addresses.end();
}

// Whether one of these addresses is the node's.
bool is_any_of(const Addresses& addresses, const Peer& node) {
  return std::ranges::any_of(addresses,
                             [&](const IpAddress& a) { return has(node.addresses, a) || has(node.places, a); });
}

// How far `seq` is from continuing `p`; nothing if it does not.
std::optional<std::uint32_t> fit(const Peer& p, std::uint32_t seq) {
  const std::uint32_t ahead = seq - p.expected();
  if (ahead <= Peers::kJoinAhead) return ahead;
  const std::uint32_t behind = p.expected() - seq;
  if (behind <= Peers::kJoinBehind) return behind;
  return std::nullopt;
}

}  // namespace

void Peer::add_missing(const wire::NumberRange& r) {
  if (missing.count == wire::Missing::kMost) {
    // The first two that have been named: unless that ACK was lost, what is between them is not sent again. Else the two
    // with the fewest numbers between them.
    std::uint8_t best = 1;
    const auto cost = [this](std::uint8_t i) {
      return is_after(missing.ranges[i].to, named) ? missing.ranges[i].from - missing.ranges[i - 1U].to : 0;
    };
    for (std::uint8_t i = 2; i < missing.count; ++i) {
      if (cost(i) < cost(best)) best = i;
    }
    missing.ranges[best - 1U].to = missing.ranges[best].to;
    std::copy(missing.ranges.begin() + best + 1, missing.ranges.end(), missing.ranges.begin() + best);
    --missing.count;
  }
  missing.ranges[missing.count++] = r;
}

void Peer::forget_missing(std::uint32_t heard) {
  std::uint8_t kept = 0;
  for (const auto& r : missing.all()) {
    if (!is_before(r.to, heard) && !is_after(r.to, last)) missing.ranges[kept++] = r;
  }
  missing.count = kept;
}

Peer* Peers::owner(const PeerAddress& from, const wire::Header& h, const wire::Capabilities* who) {
  Peer& recent = peers_[recent_];
  if (recent.used && !recent.shares && is_at(recent, from)) return &recent;
  const auto p = std::ranges::find_if(peers_, [&](const Peer& q) { return q.used && is_at(q, from); });
  if (p == peers_.end()) return nullptr;
  recent_ = id(*p);
  return p->shares ? one_of_several(from, h, who) : &*p;
}

// The one that `who` tells, else the one whose number is nearest; nullptr if it is none of them.
Peer* Peers::one_of_several(const PeerAddress& from, const wire::Header& h, const wire::Capabilities* who) {
  std::uint32_t sharing = 0;
  Peer* nearest = nullptr;
  std::uint32_t least = UINT32_MAX;
  const Peer* const last = last_heard([&](const Peer& p) { return is_at(p, from); });
  for (Peer& p : all()) {
    if (!p.used || !is_at(p, from)) continue;
    if (last->last_heard - p.last_heard >= kSharing) {
      leave_place(p, from.link);
      if (!is_at(p, from)) continue;
    }
    ++sharing;
    if (who != nullptr && p.host == who->host) return &p;
    if (who != nullptr && p.host != 0) continue;
    const std::uint32_t away = p.received ? distance(h.seq, p.expected()) : kJoinAhead;
    if (away >= least) continue;
    least = away;
    nearest = &p;
  }
  if (nearest == nullptr) return nullptr;
  nearest->shares = sharing > 1;
  const bool anew = (h.flags & wire::flag::kHello) != 0 && least > kJoinAhead;
  return nearest->shares && anew ? nullptr : nearest;
}

// Whether several senders are heard from the peer's address by turns, and this number is of another one than those before.
bool Peers::is_of_another(Peer& p, std::uint32_t seq, TimePoint now) const {
  Runs& r = p.runs;
  auto run = std::ranges::find_if(r.next, [seq](std::uint32_t next) { return seq - next < kOfRun; });
  const bool known = run != r.next.end();
  const bool other = run != r.next.begin();
  r.returned = known && other && p.received && distance(seq, r.next.front()) >= apart_.distance;
  if (!known) --run;
  std::rotate(r.next.begin(), run, run + 1);
  r.next.front() = seq + 1;
  if (!other) return false;
  if (!r.returned) {
    r.returns = 0;
    r.since = now;
    return false;
  }
  if (r.returns < kReturns) ++r.returns;
  if (r.returns < kReturns || now - r.since < apart_.time) return false;
  if (distance(seq, p.expected()) < apart_.distance) return false;
  r.returns = 0;
  return true;
}

// Of those that are wanted.
template <typename Wanted>
Peer* Peers::last_heard(Wanted&& wanted) {
  Peer* found = nullptr;
  for (auto& p : peers_) {
    if (p.used && wanted(p) && (found == nullptr || p.last_heard > found->last_heard)) found = &p;
  }
  return found;
}

Peer* Peers::best_fit(const PeerAddress& from, std::uint32_t seq) {
  Peer* best = nullptr;
  std::uint32_t best_distance = 0;
  for (auto& p : peers_) {
    if (!p.used || !p.received || p.host != 0 || p.places[from.link].is_set()) continue;
    const auto distance = fit(p, seq);
    if (!distance || (best != nullptr && *distance >= best_distance)) continue;
    best = &p;
    best_distance = *distance;
  }
  return best;
}

Peer* Peers::told_by(const PeerAddress& from, const wire::Header& h, TimePoint now, const wire::Capabilities& who) {
  Peer* p = owner(from, h, &who);
  if (p != nullptr && p->host != 0 && p->host != who.host) {
    if (p->link != from.link || now - p->last_heard >= kSharing) leave_place(*p, from.link);
    p = nullptr;
  }
  if (p != nullptr && p->host != 0) return p;
  // Another process of that host is another peer: the earlier one is done with when the later one has told everything.
  Peer* known = last_heard([&](const Peer& q) { return q.host == who.host; });
  if (known != nullptr && known->node != 0 && known->node != who.node) known = nullptr;
  if (p != nullptr) {
    if (known == nullptr) return p;
    forget(*p);  // it was taken for a new one
    former_.back().host = who.host;
  }
  const bool hello = (h.flags & wire::flag::kHello) != 0;
  if (known == nullptr && !hello) known = best_fit(from, h.seq);
  if (known != nullptr) take_place(*known, from);
  return known;
}

Peer* Peers::find(const PeerAddress& from, const wire::Header& h, TimePoint now, const wire::Capabilities* who) {
  if (who != nullptr && who->host != 0) {
    Peer* p = told_by(from, h, now, *who);
    if (p != nullptr) p->link = from.link;
    return p;
  }
  const bool hello = (h.flags & wire::flag::kHello) != 0;
  Peer* p = owner(from, h, nullptr);
  if (p != nullptr && p->host == 0 && is_of_another(*p, h.seq, now)) return nullptr;
  if (p == nullptr) {
    Peer* other = last_heard([&](const Peer& q) { return q.host != 0 && has(q.addresses, from.address); });
    if (other == nullptr && !hello) other = best_fit(from, h.seq);
    if (other != nullptr) take_place(*other, from);
    p = other;
  } else if (!hello && p->host == 0 && p->received && !fit(*p, h.seq)) {
    Peer* other = best_fit(from, h.seq);
    if (other != nullptr && other->last_heard > p->last_heard) {
      leave_place(*p, from.link);
      take_place(*other, from);
      p = other;
    }
  }
  if (p != nullptr && is_two_daemons(*p, from.link, now)) {
    leave_place(*p, from.link);
    return nullptr;
  }
  return p;
}

Peer& Peers::add(const PeerAddress& from, TimePoint now) {
  auto room = std::ranges::find_if(peers_, [](const Peer& p) { return !p.used; });
  if (room == peers_.end()) {
    room = std::ranges::min_element(peers_, {}, [now](const Peer& p) {
      const bool gone = now - p.last_heard > kGone;
      return std::tuple(gone ? 0 : p.accepted, p.last_heard);
    });
  }
  if (room->used) forget(*room);
  *room = Peer{};
  room->used = true;
  ever_used_ = std::max(ever_used_, static_cast<std::size_t>(room - peers_.begin()) + 1);
  room->owner = ++owners_;
  room->link = from.link;
  room->last_heard = now;
  room->session_at = now;
  take_place(*room, from);
  return *room;
}

const Peer* Peers::with_owner(std::uint32_t owner) const {
  const auto p = std::ranges::find(all(), owner, &Peer::owner);
  return p == all().end() ? nullptr : &*p;
}

void Peers::forget(Peer& p) {
  if (former_.size() == kMaxFormer) former_.erase(former_.begin());
  former_.push_back({.owner = p.owner, .host = p.host, .places = p.places});
  p.places = {};
  p.used = false;
}

void Peers::move_links(std::span<const std::optional<std::size_t>> before) {
  const auto moved = [before](const std::array<IpAddress, kMaxLinks>& places) {
    std::array<IpAddress, kMaxLinks> now;
    for (std::size_t i = 0; i < before.size() && i < now.size(); ++i) {
      if (before[i]) now[i] = places[*before[i]];
    }
    return now;
  };
  for (Peer& p : all()) {
    p.places = moved(p.places);
    const auto at = std::ranges::find(before, std::optional<std::size_t>(p.link));
    if (at != before.end()) p.link = static_cast<std::uint8_t>(at - before.begin());
  }
  for (auto& f : former_) f.places = moved(f.places);
}

bool Peers::is_part_of(const Peer& peer, const Peer& node) {
  if (&peer == &node || !peer.used) return false;
  return peer.host == 0 ? is_any_of(peer.places, node) : peer.host == node.host && peer.node == node.node;
}

std::vector<FormerPeer> Peers::take_former(const Peer& node) {
  std::vector<FormerPeer> taken;
  std::erase_if(former_, [&](const FormerPeer& f) {
    const bool same = f.host != 0 ? f.host == node.host : is_any_of(f.places, node);
    if (same) taken.push_back(f);
    return same;
  });
  return taken;
}

void Peers::take_place(Peer& p, const PeerAddress& from) {
  for (Peer& q : all()) {
    if (&q != &p && q.used && is_at(q, from)) p.shares = q.shares = true;
  }
  p.places[from.link] = from.address;
}

void Peers::leave_place(Peer& p, std::uint8_t link) {
  const auto place = std::exchange(p.places[link], {});
  if (std::ranges::any_of(p.places, &IpAddress::is_set)) return;
  p.places[link] = place;
  forget(p);
}

bool Peers::is_two_daemons(Peer& p, std::uint8_t link, TimePoint now) {
  if (p.link == link) return false;
  p.link = link;
  if (p.host != 0) return false;
  if (now - p.switches_since > kSwitchTime) {
    p.switches_since = now;
    p.switches = 0;
  }
  if (++p.switches < kMaxSwitches) return false;
  p.switches = 0;
  return true;
}

}  // namespace ctsync::replication
