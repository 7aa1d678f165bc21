// SPDX-License-Identifier: GPL-2.0-or-later
#include "nat_order.h"

#include <algorithm>
#include <cstring>

#include "ctsync/wire/flow_codec.h"

namespace ctsync::node {
namespace {

std::uint32_t word_of(const Address& ipv4) {
  std::uint32_t word = 0;
  std::memcpy(&word, ipv4.data(), sizeof word);
  return word;
}

}  // namespace

void NatOrder::began_here(const Flow& f) {
  if (f.orig.family != Family::ipv4 || !f.knows(has::kReply)) return;
  if (f.reply_dst != f.orig.src) remember(f.reply_dst);
  if (f.reply_src != f.orig.dst) remember(f.reply_src);
}

std::optional<Address> NatOrder::turned(const Flow& f, TimePoint now) {
  if (f.orig.family != Family::ipv4) return std::nullopt;
  if (read_own_ && (!own_at_ || now - *own_at_ >= kReadAgain)) {
    own_.clear();
    for (const auto& a : read_own_()) {
      if (a.family == Family::ipv4) own_.push_back(word_of(a.bytes));
    }
    own_at_ = now;
  }
  if (f.knows(has::kSnat) && is_turned(f.reply_dst)) return f.reply_dst;
  if (f.knows(has::kDnat) && is_turned(f.reply_src)) return f.reply_src;
  return std::nullopt;
}

void NatOrder::remember(const Address& ipv4) {
  const auto word = word_of(ipv4);
  kernels_[place_of(word)] = word;
}

bool NatOrder::knows(std::uint32_t address) const {
  return kernels_[place_of(address)] == address || std::ranges::find(own_, address) != own_.end();
}

bool NatOrder::is_turned(const Address& ipv4) const {
  return !knows(word_of(ipv4)) && knows(word_of(wire::swapped(ipv4)));
}

}  // namespace ctsync::node
