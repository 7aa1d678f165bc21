// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/ip_address.h"

#include <arpa/inet.h>
#include <sys/socket.h>

namespace ctsync {

static_assert(socket_family(Family::none) == AF_UNSPEC);
static_assert(socket_family(Family::ipv4) == AF_INET);
static_assert(socket_family(Family::ipv6) == AF_INET6);

std::string_view to_string(Family family) {
  switch (family) {
    case Family::none:
      return "";
    case Family::ipv4:
      return "IPv4";
    case Family::ipv6:
      return "IPv6";
  }
  return "";
}

std::string to_string(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(socket_family(address.family), address.bytes.data(), text, sizeof text);
  return text;
}

std::optional<IpAddress> parse_ip(Family family, std::string_view text) {
  IpAddress address{.family = family};
  if (::inet_pton(socket_family(family), std::string(text).c_str(), address.bytes.data()) != 1) return std::nullopt;
  return address;
}

}  // namespace ctsync
