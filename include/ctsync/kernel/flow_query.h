// SPDX-License-Identifier: GPL-2.0-or-later
// Looks up single kernel flows, one round trip each. For what events do not tell, e.g. sequence adjustments (spec
// replication.md 9, item 8).
#pragma once

#include <cstdint>

#include "ctsync/base/result.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/kernel/netlink_socket.h"

namespace ctsync::kernel {

class FlowQuery {
 public:
  Result<> open();
  // The flow with this original tuple, zone included. false = the kernel has none.
  Result<bool> get(const Tuple& orig, FlowRecord& out);

 private:
  NetlinkSocket socket_;
  std::uint32_t seq_ = 0;
};

}  // namespace ctsync::kernel
