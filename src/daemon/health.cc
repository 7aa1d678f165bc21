// SPDX-License-Identifier: GPL-2.0-or-later
#include "health.h"

namespace ctsync::daemon {

text::Health health_of(const HealthFacts& facts) {
  using text::Health;
  if (facts.role == text::Role::primary) return Health::ready;
  if (facts.links_down && *facts.links_down < kLongestLinksDown) return Health::links_down;
  if (!facts.filling) return Health::ready;
  return facts.link_running ? Health::filling : Health::links_down;
}

}  // namespace ctsync::daemon
