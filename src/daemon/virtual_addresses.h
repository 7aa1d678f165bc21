// SPDX-License-Identifier: GPL-2.0-or-later
// The virtual addresses of a node, as keepalived's configuration names them.
#pragma once

#include <string_view>
#include <vector>

#include "ctsync/flow/ip_address.h"

namespace ctsync::daemon {

inline constexpr const char* kKeepalivedConfiguration = "/etc/keepalived/keepalived.conf";

// Those of the blocks `virtual_ipaddress` and `virtual_ipaddress_excluded` of such a file, in its order. What it includes is
// not looked at.
std::vector<IpAddress> virtual_addresses(std::string_view text);

}  // namespace ctsync::daemon
