// SPDX-License-Identifier: GPL-2.0-or-later
// A netlink socket of libmnl's: non-blocking, closed on exec, its port id chosen by the kernel. Receiving is our own,
// as libmnl does not tell who has sent a datagram.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ctsync/base/result.h"

struct mnl_socket;

namespace ctsync::kernel {

class NetlinkSocket {
 public:
  // Room for what one read of a dump of interfaces brings.
  static constexpr std::size_t kReadSize = 65536;

  // `protocol`: NETLINK_NETFILTER, NETLINK_ROUTE.
  static Result<NetlinkSocket> open(int protocol);

  int fd() const;  // -1 while not open
  std::uint32_t port_id() const;
  Result<> join(int group);
  Result<> leave(int group);

  // Asks for an effective buffer of `bytes`. Beyond the system's limit this needs CAP_NET_ADMIN; without it the limit
  // is what one gets.
  void set_receive_buffer(std::uint32_t bytes);
  void set_send_buffer(std::uint32_t bytes);
  std::uint32_t receive_buffer() const;  // effective bytes

  // To the kernel. 0 or errno. The kernel has worked on the requests when this returns.
  int send(std::span<const std::uint8_t> data);
  // One datagram of the kernel's into `room`: its size, 0 for one that came from another process (to be ignored) or
  // -errno; EMSGSIZE if it did not fit.
  long receive(std::span<std::uint8_t> room);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  std::unique_ptr<mnl_socket, Close> socket_;
};

}  // namespace ctsync::kernel
