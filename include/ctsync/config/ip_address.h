// SPDX-License-Identifier: GPL-2.0-or-later
// An IP address as the configuration file states it: a plain value without scope or port.
#pragma once

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstdint>

namespace ctsync::config {

struct IpAddress {
  int family = AF_UNSPEC;                // AF_INET, AF_INET6, or AF_UNSPEC when the file gives none
  std::array<std::uint8_t, 16> bytes{};  // network byte order; IPv4 uses the first four, the rest is zero

  bool is_set() const { return family != AF_UNSPEC; }
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

}  // namespace ctsync::config
