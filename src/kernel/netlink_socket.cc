// SPDX-License-Identifier: GPL-2.0-or-later
#include "netlink_socket.h"

#include <linux/netlink.h>

#include <cerrno>

namespace ctsync::kernel {
namespace {

// The kernel doubles what it is given; half of an odd number of bytes would shrink it, so round up.
void set_buffer(int fd, int force_option, int option, std::uint32_t bytes) {
  const int half = static_cast<int>(bytes / 2 + bytes % 2);
  if (::setsockopt(fd, SOL_SOCKET, force_option, &half, sizeof half) != 0) {
    (void)::setsockopt(fd, SOL_SOCKET, option, &half, sizeof half);
  }
}

}  // namespace

Result<UniqueFd> open_netlink(int protocol) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return fail_errno("can't open netlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("can't bind netlink socket");
  }
  return fd;
}

Result<std::uint32_t> netlink_port(int fd) {
  sockaddr_nl address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return fail_errno("can't get the port of a netlink socket");
  }
  return address.nl_pid;
}

Result<> join_group(int fd, int group) {
  if (::setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
    return fail_errno("can't join netlink group " + std::to_string(group));
  }
  return {};
}

void set_receive_buffer(int fd, std::uint32_t bytes) { set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, bytes); }
void set_send_buffer(int fd, std::uint32_t bytes) { set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, bytes); }

std::uint32_t receive_buffer(int fd) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  if (::getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size) != 0) return 0;
  return static_cast<std::uint32_t>(bytes);
}

int send_to_kernel(int fd, std::span<const std::uint8_t> data) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  for (;;) {
    const auto n =
        ::sendto(fd, data.data(), data.size(), 0, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (n >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

long receive_from_kernel(int fd, std::span<std::uint8_t> room) {
  sockaddr_nl address{};
  iovec io{room.data(), room.size()};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = sizeof address;
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  for (;;) {
    const auto n = ::recvmsg(fd, &message, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (address.nl_pid != 0) return 0;
    if (message.msg_flags & MSG_TRUNC) return -EMSGSIZE;
    return n;
  }
}

}  // namespace ctsync::kernel
