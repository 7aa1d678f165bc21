// SPDX-License-Identifier: GPL-2.0-or-later
// Sums over the flows of the external cache, for each peer that is known over those that it told last
// (table::Origin::owner). Flows of a peer that has been forgotten count nowhere.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "ctsync/replication/peers.h"
#include "ctsync/table/flow_sums.h"

namespace ctsync::node {

class OwnerSums {
 public:
  // A new peer, of which nothing has been told yet, takes the place of another one.
  void appeared(replication::PeerId peer, std::uint32_t owner) { all_[peer] = {.owner = owner, .sums = nullptr}; }

  void add(std::uint32_t owner, const FlowPrint& print) {
    Entry* e = find(owner);
    if (e == nullptr) return;
    if (e->sums == nullptr) e->sums = std::make_unique<table::FlowSums>();
    e->sums->add(print);
  }
  void remove(std::uint32_t owner, const FlowPrint& print) {
    if (Entry* e = find(owner); e != nullptr) e->sums->remove(print);
  }
  // nullptr: nothing was told by that peer.
  const table::FlowSums* of(std::uint32_t owner) const {
    const auto it = std::ranges::find(all_, owner, &Entry::owner);
    return it == all_.end() ? nullptr : it->sums.get();
  }

 private:
  struct Entry {
    std::uint32_t owner = 0;  // 0: nobody's
    std::unique_ptr<table::FlowSums> sums;
  };

  Entry* find(std::uint32_t owner) {
    if (owner == 0) return nullptr;
    if (all_[recent_].owner == owner) return &all_[recent_];
    const auto it = std::ranges::find(all_, owner, &Entry::owner);
    if (it == all_.end()) return nullptr;
    recent_ = static_cast<std::size_t>(it - all_.begin());
    return &*it;
  }

  std::array<Entry, replication::kMaxPeers> all_;
  std::size_t recent_ = 0;
};

}  // namespace ctsync::node
