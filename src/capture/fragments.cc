// SPDX-License-Identifier: GPL-2.0-or-later
#include "fragments.h"

#include <algorithm>
#include <utility>

namespace ctsync::capture {

std::optional<IpPacket> Fragments::add(const IpPacket& fragment) {
  if (fragment.offset == 0) return begin(fragment);
  const auto at = find(fragment);
  if (at == pending_.end()) {
    ++without_beginning_;
    return std::nullopt;
  }
  auto& bytes = at->bytes;
  if (fragment.offset < bytes.size()) return std::nullopt;  // a repetition
  if (fragment.offset > bytes.size() || bytes.size() + fragment.payload.size() > kLongest) return hand_out(at);
  bytes.insert(bytes.end(), fragment.payload.begin(), fragment.payload.end());
  if (fragment.more) return std::nullopt;
  at->packet.missing = fragment.missing;
  return hand_out(at);
}

// Another packet may have the same id: there are not many.
std::optional<IpPacket> Fragments::begin(const IpPacket& first) {
  std::optional<IpPacket> out;
  if (const auto at = find(first); at != pending_.end()) {
    if (std::ranges::equal(at->bytes, first.payload)) return std::nullopt;  // a repetition
    out = hand_out(at);
  } else if (pending_.size() == kMost) {
    out = hand_out(pending_.begin());
  }
  pending_.push_back({first, {first.payload.begin(), first.payload.end()}});
  return out;
}

std::optional<IpPacket> Fragments::take() {
  if (pending_.empty()) return std::nullopt;
  return hand_out(pending_.begin());
}

IpPacket Fragments::hand_out(std::vector<Pending>::iterator which) {
  done_ = std::move(*which);
  pending_.erase(which);
  done_.packet.payload = done_.bytes;
  done_.packet.is_fragment = false;
  return done_.packet;
}

std::vector<Fragments::Pending>::iterator Fragments::find(const IpPacket& f) {
  return std::ranges::find_if(pending_, [&](const Pending& p) {
    return p.packet.id == f.id && p.packet.protocol == f.protocol && p.packet.source == f.source &&
           p.packet.destination == f.destination;
  });
}

}  // namespace ctsync::capture
