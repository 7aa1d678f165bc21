// SPDX-License-Identifier: GPL-2.0-or-later
// The lines of most flows (TCP and UDP, without zone, helper and counters), as libnetfilter_conntrack prints them but in a
// fraction of its time. A test holds the two against each other.
#pragma once

#include <string>

#include "ctsync/flow/flow.h"

namespace ctsync::text {

// Appends the line, without newline and ages; or nothing, and false: this is not one of these flows.
bool append_plain_flow(std::string& out, const Flow& f, bool show_timeout);

}  // namespace ctsync::text
