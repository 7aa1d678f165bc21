// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/peers.h"

#include <algorithm>
#include <tuple>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

namespace {

bool is_at(const Peer& p, const PeerAddress& a) { return p.places[a.link] == a.address; }

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
    // The two with the fewest numbers between them.
    std::uint8_t best = 1;
    const auto between = [this](std::uint8_t i) { return missing.ranges[i].from - missing.ranges[i - 1U].to; };
    for (std::uint8_t i = 2; i < missing.count; ++i) {
      if (between(i) < between(best)) best = i;
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
    if (!is_before(r.to, heard)) missing.ranges[kept++] = r;
  }
  missing.count = kept;
}

Peer* Peers::owner(const PeerAddress& from) {
  if (peers_[recent_].used && is_at(peers_[recent_], from)) return &peers_[recent_];
  const auto p = std::ranges::find_if(peers_, [&](const Peer& q) { return q.used && is_at(q, from); });
  if (p == peers_.end()) return nullptr;
  recent_ = id(*p);
  return &*p;
}

Peer* Peers::best_fit(const PeerAddress& from, std::uint32_t seq) {
  Peer* best = nullptr;
  std::uint32_t best_distance = 0;
  for (auto& p : peers_) {
    if (!p.used || !p.received || p.places[from.link].is_set()) continue;
    const auto distance = fit(p, seq);
    if (!distance || (best != nullptr && *distance >= best_distance)) continue;
    best = &p;
    best_distance = *distance;
  }
  return best;
}

Peer* Peers::with_host(std::uint64_t host) {
  const auto p = std::ranges::find_if(peers_, [host](const Peer& q) { return q.used && q.host == host; });
  return p == peers_.end() ? nullptr : &*p;
}

Peer* Peers::find(const PeerAddress& from, const wire::Header& h, TimePoint now, std::uint64_t host) {
  const bool hello = (h.flags & wire::flag::kHello) != 0;
  Peer* p = owner(from);
  if (host != 0 && p != nullptr && p->host != 0 && p->host != host) {
    leave_place(*p, from.link);
    p = with_host(host);
    if (p != nullptr) take_place(*p, from);
    return p;
  }
  if (p == nullptr) {
    Peer* other = hello ? nullptr : best_fit(from, h.seq);
    if (other != nullptr) take_place(*other, from);
    p = other;
  } else if (!hello && p->received && !fit(*p, h.seq)) {
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
  p.places = {};
  p.used = false;
  p.host = 0;
}

void Peers::take_place(Peer& p, const PeerAddress& from) { p.places[from.link] = from.address; }

void Peers::leave_place(Peer& p, std::uint8_t link) {
  p.places[link] = {};
  p.used = std::ranges::any_of(p.places, &IpAddress::is_set);
}

bool Peers::is_two_daemons(Peer& p, std::uint8_t link, TimePoint now) {
  if (p.link == link) return false;
  p.link = link;
  if (now - p.switches_since > kSwitchTime) {
    p.switches_since = now;
    p.switches = 0;
  }
  if (++p.switches < kMaxSwitches) return false;
  p.switches = 0;
  return true;
}

}  // namespace ctsync::replication
