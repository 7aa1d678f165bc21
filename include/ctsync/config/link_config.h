// SPDX-License-Identifier: GPL-2.0-or-later
// One dedicated link (`Multicast`, `UDP` or `TCP` block of `Sync`) as the file states it (spec config.md 9).
// Nothing here promises that the link can be opened: see check_start().
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ctsync/flow/ip_address.h"
#include "ctsync/flow/link_kind.h"

namespace ctsync::config {

struct LinkConfig {
  LinkKind kind = LinkKind::udp;
  bool is_default = false;       // marked `Default`; Config::first_link() tells which link is to be active first
  std::string interface;         // empty: not given. Longer than 15 characters: no such interface can exist
  Family family = Family::none;  // of the last valid address statement; none: no valid address at all
  IpAddress address;             // Multicast: the group. UDP and TCP: local address to receive on. Unset: any address
  IpAddress destination;         // UDP and TCP: the peer. Unset: 0.0.0.0 or ::
  IpAddress ipv4_interface;      // Multicast over IPv4: local address of the link. Unset: the kernel chooses
  std::uint16_t port = 0;        // host byte order; `Group` or `Port`. 0: not given, a random port
  std::optional<std::uint32_t> send_buffer;     // bytes for SO_SNDBUFFORCE; absent: kernel default
  std::optional<std::uint32_t> receive_buffer;  // bytes for SO_RCVBUFFORCE; absent: kernel default
  bool checksum = true;                         // false: send UDP without checksum (SO_NO_CHECK); no meaning for TCP
  int line = 0;                                 // where the block starts, from 1
  int column = 0;                               // in bytes, from 1
};

}  // namespace ctsync::config
