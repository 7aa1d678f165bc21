// SPDX-License-Identifier: GPL-2.0-or-later
// Who sent a datagram: the address alone. The port of a sender is ephemeral and means nothing (spec replication.md 8,
// 27).
#pragma once

#include <sys/socket.h>

#include <string>

#include "ctsync/link/link_options.h"

namespace ctsync::link {

struct Sender {
  int family = AF_UNSPEC;
  AddressBytes address{};

  friend bool operator==(const Sender&, const Sender&) = default;
};

// "10.0.0.1", "fe80::1".
std::string to_string(const Sender& sender);

}  // namespace ctsync::link
