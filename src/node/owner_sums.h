// SPDX-License-Identifier: GPL-2.0-or-later
// Sums over the flows of the external cache, for each peer over those that it told last (table::Origin::owner).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "ctsync/table/flow_sums.h"

namespace ctsync::node {

class OwnerSums {
 public:
  void add(std::uint32_t owner, const FlowPrint& print) { at(owner).add(print); }
  void remove(std::uint32_t owner, const FlowPrint& print) {
    at(owner).remove(print);
    if (all_[recent_].sums->flows() != 0) return;
    all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(recent_));
    recent_ = 0;
  }
  // nullptr: nothing is here of that peer.
  const table::FlowSums* of(std::uint32_t owner) const {
    const auto it = std::ranges::find(all_, owner, &Entry::owner);
    return it == all_.end() ? nullptr : it->sums.get();
  }

 private:
  struct Entry {
    std::uint32_t owner;
    std::unique_ptr<table::FlowSums> sums;
  };

  table::FlowSums& at(std::uint32_t owner) {
    if (recent_ < all_.size() && all_[recent_].owner == owner) return *all_[recent_].sums;
    auto it = std::ranges::find(all_, owner, &Entry::owner);
    if (it == all_.end()) it = all_.insert(all_.end(), {owner, std::make_unique<table::FlowSums>()});
    recent_ = static_cast<std::size_t>(it - all_.begin());
    return *it->sums;
  }

  std::vector<Entry> all_;  // few
  std::size_t recent_ = 0;
};

}  // namespace ctsync::node
