// SPDX-License-Identifier: GPL-2.0-or-later
// An IP address as a plain value, without port and scope: of the configuration, of a link, of a peer.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ctsync {

// Values of AF_INET and AF_INET6, which are also conntrack's layer-3 numbers.
enum class Family : std::uint8_t { none = 0, ipv4 = 2, ipv6 = 10 };

// The AF_* constant, for system calls.
constexpr int socket_family(Family family) { return static_cast<int>(family); }
// "IPv4", "IPv6".
std::string_view to_string(Family family);

// Network byte order. An IPv4 address occupies the first four bytes, the others are zero.
using Address = std::array<std::uint8_t, 16>;

struct IpAddress {
  Family family = Family::none;  // none: there is no address
  Address bytes{};

  bool is_set() const { return family != Family::none; }
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

// "10.0.0.1", "fe80::1"; empty if there is no address.
std::string to_string(const IpAddress& address);
// As inet_pton reads it; nothing if it is not an address of this family.
std::optional<IpAddress> parse_ip(Family family, std::string_view text);

}  // namespace ctsync
