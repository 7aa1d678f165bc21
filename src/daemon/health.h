// SPDX-License-Identifier: GPL-2.0-or-later
// Whether a node could take over now. Pure. Nothing that may last for ever although it would be right to take over, because
// no peer is alive, makes a node unfit. So what a peer that dies may cause does not count: it takes the carrier of a cable
// between the two with it.
#pragma once

#include <optional>

#include "ctsync/base/clock.h"
#include "ctsync/text/snapshot.h"

namespace ctsync::daemon {

// That all interfaces of the links are down, which has its cause here, counts for so long.
inline constexpr Duration kLongestLinksDown = std::chrono::seconds(60);

struct HealthFacts {
  text::Role role = text::Role::unknown;
  bool filling = false;                  // see node::Node::is_filling()
  bool link_running = true;              // of at least one link the interface is up and has a carrier
  std::optional<Duration> links_down{};  // for how long the interfaces of all links have been down
};

text::Health health_of(const HealthFacts& facts);

}  // namespace ctsync::daemon
