// SPDX-License-Identifier: GPL-2.0-or-later
// What a link needs to know to open its sockets: one `Multicast`, `UDP` or `TCP` block (spec config.md 9) as plain
// values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ctsync/flow/ip_address.h"
#include "ctsync/flow/link_kind.h"

namespace ctsync::link {

struct LinkOptions {
  LinkKind kind = LinkKind::udp;
  std::string interface;     // its MTU sizes the datagrams, its state drives the failover, its index is the IPv6 scope
  IpAddress address;         // multicast: the group; UDP and TCP: local address to receive on, unset = any
  IpAddress destination;     // UDP and TCP: the peer; multicast: not used
  IpAddress ipv4_interface;  // multicast over IPv4: address whose interface joins and sends; unset = by route
  std::uint16_t port = 0;    // host byte order: to receive on and to send to
  std::optional<std::uint32_t> send_buffer;  // bytes, SO_SNDBUFFORCE; absent = default of the system
  std::optional<std::uint32_t>
      receive_buffer;       // bytes, SO_RCVBUFFORCE; absent = kDefaultReceiveBuffer, as far as allowed
  bool checksum = true;     // false: no UDP checksum on what is sent (IPv4 alone)
  bool is_default = false;  // the one to start with

  bool operator==(const LinkOptions&) const = default;

  // Of all addresses here.
  Family family() const { return address.is_set() ? address.family : destination.family; }
};

// Asked for when the configuration says nothing (UDP and multicast): a burst must not be lost while a turn of the event
// loop is busy elsewhere. conntrackd keeps the default of the system, about 200 kB.
constexpr std::uint32_t kDefaultReceiveBuffer = 4U << 20;

}  // namespace ctsync::link
