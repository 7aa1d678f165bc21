// SPDX-License-Identifier: GPL-2.0-or-later
// Who has the port that a link wants: for the one line that tells why it cannot start.
#pragma once

#include <string>

#include "ctsync/link/link_options.h"

namespace ctsync::link {

// Of the port of this link, which could not be bound to: "UDP port 3780 is taken (by conntrackd, pid 123)". Without the
// owner if it cannot be found out: that takes root, and a process of our own PID namespace. Reads all of /proc, so it
// is for the start alone.
std::string port_is_taken(const LinkOptions& options);

}  // namespace ctsync::link
