// SPDX-License-Identifier: GPL-2.0-or-later
// A table's counters as the statistics texts want them.
#pragma once

#include "ctsync/control/stats_text.h"

namespace ctsync::daemon {

// Of a FlowTable or an ExpectationTable.
template <typename Table>
control::CacheNumbers numbers_of(const Table& t) {
  const auto& s = t.stats();
  control::CacheNumbers n;
  n.objects = n.total = t.total();
  n.active = t.live();
  n.created = s.created;
  n.create_failed = s.create_failed;
  n.no_memory = s.create_no_memory;
  n.no_space = s.create_no_space;
  n.updated = s.updated;
  n.update_failed = s.update_failed;
  n.destroyed = s.destroyed;
  n.destroy_failed = s.destroy_failed;
  return n;
}

}  // namespace ctsync::daemon
