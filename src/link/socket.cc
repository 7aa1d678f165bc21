// SPDX-License-Identifier: GPL-2.0-or-later
#include "socket.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "ctsync/base/bytes.h"
#include "ctsync/base/log.h"
#include "ctsync/link/buffer_limits.h"

namespace ctsync::link {
namespace {

// Who may not force it is given what the system allows.
Result<> set_buffer(int fd, int forced, int asked, std::uint32_t bytes, const LinkOptions& options,
                    std::string_view step) {
  const int value = static_cast<int>(std::min<std::uint32_t>(bytes, INT32_MAX));
  auto done = set_option(fd, SOL_SOCKET, forced, value, options, step);
  if (done || (done.error().code != ENOPROTOOPT && done.error().code != EPERM)) return done;
  return set_option(fd, SOL_SOCKET, asked, value, options, step);
}

std::optional<std::uint32_t> number_in(const char* path) {
  std::ifstream file(path);
  std::uint32_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

bool is_link_local(const IpAddress& s) {
  return s.family == Family::ipv6 && s.bytes[0] == 0xfe && (s.bytes[1] & 0xc0) == 0x80;
}

// Calls back for every address of the family that the host has: name of the interface, address.
template <typename F>
void for_each_address(Family family, F&& visit) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) < 0) return;
  for (const auto* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != socket_family(family)) continue;
    sockaddr_storage address{};
    std::memcpy(&address, i->ifa_addr, family == Family::ipv4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    visit(std::string_view(i->ifa_name), ip_address_of(address));
  }
  ::freeifaddrs(list);
}

// Whether the interface has addresses of the link's family, but not the one to bind to. Link-local ones come by
// themselves and say nothing.
bool has_other_address(const LinkOptions& options) {
  bool other = false;
  bool own = false;
  for_each_address(options.family(), [&](std::string_view interface, const IpAddress& found) {
    if (interface != options.interface) return;
    own = own || (options.kind != LinkKind::multicast && found == options.address);
    other = other || !is_link_local(found);
  });
  return other && !own;
}

}  // namespace

SocketAddress socket_address(const IpAddress& address, std::uint16_t port, std::uint32_t scope) {
  SocketAddress out;
  if (address.family == Family::ipv6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = network_order(port);
    std::memcpy(&v6.sin6_addr, address.bytes.data(), sizeof v6.sin6_addr);
    v6.sin6_scope_id = scope;
    std::memcpy(&out.storage, &v6, sizeof v6);
    out.length = sizeof v6;
  } else {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = network_order(port);
    std::memcpy(&v4.sin_addr, address.bytes.data(), sizeof v4.sin_addr);
    std::memcpy(&out.storage, &v4, sizeof v4);
    out.length = sizeof v4;
  }
  return out;
}

std::uint16_t port_of(const sockaddr_storage& address) {
  sockaddr_in v4{};  // the port of sockaddr_in6 is at the same place
  std::memcpy(&v4, &address, sizeof v4);
  return network_order(v4.sin_port);
}

IpAddress ip_address_of(const sockaddr_storage& address) {
  IpAddress out;
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      out.family = Family::ipv4;
      std::memcpy(out.bytes.data(), v6.sin6_addr.s6_addr + 12, 4);
    } else {
      out.family = Family::ipv6;
      std::memcpy(out.bytes.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
    }
  } else if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    out.family = Family::ipv4;
    std::memcpy(out.bytes.data(), &v4.sin_addr, sizeof v4.sin_addr);
  }
  return out;
}

std::string describe(const IpAddress& address, std::uint16_t port) {
  return fmt::format("{} port {}", to_string(address), port);
}

IpAddress local_address(const LinkOptions& options) {
  return options.address.is_set() ? options.address : IpAddress{.family = options.family()};
}

IpAddress peer_address(const LinkOptions& options) {
  if (options.kind == LinkKind::multicast) return options.address;
  return options.destination.is_set() ? options.destination : IpAddress{.family = options.family()};
}

std::unexpected<Error> open_error(const LinkOptions& options, std::string_view step, int code) {
  return fail(fmt::format("can't open channel socket: {} ({} link on `{}': {})", std::strerror(code),
                          to_string(options.kind), options.interface, step),
              code);
}

Result<UniqueFd> open_socket(const LinkOptions& options, int type) {
  UniqueFd fd(::socket(socket_family(options.family()), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return open_error(options, "no socket");
  return fd;
}

Result<> set_send_buffer(int fd, const LinkOptions& options) {
  if (!options.send_buffer) return {};
  return set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, *options.send_buffer, options, "setting SndSocketBuffer");
}

Result<> set_receive_buffer(int fd, const LinkOptions& options) {
  if (options.receive_buffer) {
    return set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, *options.receive_buffer, options, "setting RcvSocketBuffer");
  }
  if (options.kind == LinkKind::tcp) return {};  // the kernel tunes it better
  // Nobody asked for it, so being refused is no error; without privilege the kernel gives what net.core.rmem_max
  // allows.
  const int wanted = kDefaultReceiveBuffer;
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) < 0) {
    (void)::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted);
  }
  return {};
}

BufferLimits buffer_limits() {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr int kAny = 4096;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kAny, sizeof kAny) == 0) return {};
  return {.receive = number_in("/proc/sys/net/core/rmem_max"), .send = number_in("/proc/sys/net/core/wmem_max")};
}

bool port_is_free(const LinkOptions& options, std::uint32_t interface_index) {
  const auto fd = open_socket(options, SOCK_DGRAM);
  const auto local = socket_address(local_address(options), options.port, interface_index);
  return !fd || ::bind(fd->get(), local.get(), local.length) == 0 || errno != EADDRINUSE;
}

std::vector<IpAddress> own_addresses() {
  std::vector<IpAddress> own;
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    for_each_address(family, [&own](std::string_view, const IpAddress& address) { own.push_back(address); });
  }
  return own;
}

bool leads_here(const LinkOptions& options) {
  bool found = false;
  for_each_address(options.family(), [&](std::string_view interface, const IpAddress& own) {
    found = found || (own == options.destination && (!is_link_local(own) || interface == options.interface));
  });
  return found;
}

bool may_come(const LinkOptions& options, const InterfaceInfo& interface, const Error& why) {
  if (why.code != ENODEV && why.code != EADDRNOTAVAIL) return false;
  if (interface.index == 0) return true;
  if (options.kind == LinkKind::multicast && !options.ipv4_interface.is_set()) return false;  // needs no address
  // An address of an interface that is down, or one whose uniqueness is still in doubt, cannot be bound.
  return !interface.up || !has_other_address(options);
}

}  // namespace ctsync::link
