// SPDX-License-Identifier: GPL-2.0-or-later
// From the bytes of a captured frame to an IP packet, through the headers in between. Frames come from anybody: what is not
// IP, or not well-formed as far as it is needed, is nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "ctsync/flow/ip_address.h"

namespace ctsync::capture {

// Since 1970, UTC.
struct Time {
  std::int64_t seconds = 0;
  std::uint32_t microseconds = 0;  // below a million
};

struct Frame {
  Time time;
  std::span<const std::uint8_t> bytes;  // as far as captured
};

struct IpPacket {
  Time time{};
  IpAddress source{};
  IpAddress destination{};
  std::uint8_t protocol = 0;
  std::span<const std::uint8_t> payload{};  // of that protocol, as far as captured
  std::size_t missing = 0;                  // bytes of the payload that were not captured
  bool is_fragment = false;
  // Of a fragment:
  bool more = false;         // it is not the last one
  std::uint32_t offset = 0;  // of its payload in that of the whole packet
  std::uint32_t id = 0;      // the same in all fragments of a packet
};

// Numbers of libpcap (DLT_...): Ethernet, with VLAN tags; Linux cooked, both versions; raw IP; BSD's loopback.
bool is_known_link_type(int link_type);

std::optional<IpPacket> read_ip(int link_type, const Frame& frame);

// Steps over the extension headers of IPv6 that the payload begins with; read_ip() has done that. False if they are damaged.
bool skip_extensions(IpPacket& packet);

}  // namespace ctsync::capture
