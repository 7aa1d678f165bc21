// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/netlink_socket.h"

#include <libmnl/libmnl.h>
#include <sys/socket.h>

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

void NetlinkSocket::Close::operator()(mnl_socket* socket) const { ::mnl_socket_close(socket); }

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
  NetlinkSocket s;
  s.socket_.reset(::mnl_socket_open2(protocol, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!s.socket_) return fail_errno("can't open netlink socket");
  if (::mnl_socket_bind(s.socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0) return fail_errno("can't bind netlink socket");
  return s;
}

int NetlinkSocket::fd() const { return socket_ ? ::mnl_socket_get_fd(socket_.get()) : -1; }
std::uint32_t NetlinkSocket::port_id() const { return ::mnl_socket_get_portid(socket_.get()); }

Result<> NetlinkSocket::join(int group) {
  if (::mnl_socket_setsockopt(socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
    return fail_errno("can't join netlink group " + std::to_string(group));
  }
  return {};
}

Result<> NetlinkSocket::leave(int group) {
  if (::mnl_socket_setsockopt(socket_.get(), NETLINK_DROP_MEMBERSHIP, &group, sizeof group) != 0) {
    return fail_errno("can't leave netlink group " + std::to_string(group));
  }
  return {};
}

void NetlinkSocket::set_receive_buffer(std::uint32_t bytes) { set_buffer(fd(), SO_RCVBUFFORCE, SO_RCVBUF, bytes); }
void NetlinkSocket::set_send_buffer(std::uint32_t bytes) { set_buffer(fd(), SO_SNDBUFFORCE, SO_SNDBUF, bytes); }

std::uint32_t NetlinkSocket::receive_buffer() const {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  if (::getsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &bytes, &size) != 0) return 0;
  return static_cast<std::uint32_t>(bytes);
}

int NetlinkSocket::send(std::span<const std::uint8_t> data) {
  for (;;) {
    if (::mnl_socket_sendto(socket_.get(), data.data(), data.size()) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

long NetlinkSocket::receive(std::span<std::uint8_t> room) {
  sockaddr_nl sender{};
  iovec io{room.data(), room.size()};
  msghdr message{};
  message.msg_name = &sender;
  message.msg_namelen = sizeof sender;
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  for (;;) {
    const auto n = ::recvmsg(fd(), &message, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (sender.nl_pid != 0) return 0;
    if (message.msg_flags & MSG_TRUNC) return -EMSGSIZE;
    return n;
  }
}

}  // namespace ctsync::kernel
