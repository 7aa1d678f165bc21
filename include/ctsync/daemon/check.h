// SPDX-License-Identifier: GPL-2.0-or-later
// --check: what is wrong or doubtful in a configuration file, without starting.
#pragma once

#include <string>
#include <vector>

#include "ctsync/config/parse.h"
#include "ctsync/flow/ip_address.h"
#include "ctsync/link/buffer_limits.h"

namespace ctsync::daemon {

// What --check knows of the machine beside its addresses.
struct Machine {
  std::vector<IpAddress> virtual_addresses;  // those that keepalived's configuration names
  link::BufferLimits buffers;
};
Machine this_machine();

struct CheckResult {
  std::string text;     // a line for each error and warning, then one that says which there are
  int exit_status = 0;  // 0: in order. 1: warnings only. 2: errors
};

// Adds what only --check looks at. `own` are the addresses of this machine.
CheckResult check(config::ParseResult parsed, const std::string& path, const std::vector<IpAddress>& own,
                  const Machine& machine = {});

}  // namespace ctsync::daemon
