// SPDX-License-Identifier: GPL-2.0-or-later
// What both kinds of link need of the socket interface: addresses, options with an error that names the link.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/link/interface_info.h"
#include "ctsync/link/link_options.h"

namespace ctsync::link {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// `port` in host byte order. `scope`: interface index, used for IPv6 alone; the kernel looks at it for link-local ones
// only.
SocketAddress socket_address(const IpAddress& address, std::uint16_t port, std::uint32_t scope);
std::uint16_t port_of(const sockaddr_storage& address);

// The address part; an IPv4 address mapped into IPv6 becomes an IPv4 address.
IpAddress ip_address_of(const sockaddr_storage& address);

// "10.0.0.1 port 3780", for error texts.
std::string describe(const IpAddress& address, std::uint16_t port);

// Where the link receives (0.0.0.0 or :: if nothing is configured) and where it sends to (multicast: the group).
IpAddress local_address(const LinkOptions& options);
IpAddress peer_address(const LinkOptions& options);

// The line for a link that cannot be opened; `code`: errno, as a rule that of the moment of the call.
std::unexpected<Error> open_error(const LinkOptions& options, std::string_view step, int code = errno);

Result<UniqueFd> open_socket(const LinkOptions& options, int type);

// setsockopt, with an error as open_error makes it.
template <typename T>
Result<> set_option(int fd, int level, int name, const T& value, const LinkOptions& options, std::string_view step) {
  if (::setsockopt(fd, level, name, &value, sizeof value) < 0) return open_error(options, step);
  return {};
}

// The configured sizes, with the FORCE variants (spec replication.md 1.6); who may not use them gets what the system allows.
Result<> set_send_buffer(int fd, const LinkOptions& options);
Result<> set_receive_buffer(int fd, const LinkOptions& options);

// Whether the port of the link can be bound to without sharing it: only then EADDRINUSE tells of another process, for
// groups and for links that share a port among themselves.
bool port_is_free(const LinkOptions& options, std::uint32_t interface_index);

// Whether the destination of the link is an address of this host.
bool leads_here(const LinkOptions& options);

// Whether a link that failed to open so may open later as it is configured: its interface is missing, or has no address
// yet that the link could use. On an interface that is configured, an address of nobody is a mistake.
bool may_come(const LinkOptions& options, const InterfaceInfo& interface, const Error& why);

}  // namespace ctsync::link
