// SPDX-License-Identifier: GPL-2.0-or-later
// Opening and using netlink sockets. All are non-blocking and close-on-exec.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <span>

#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync::kernel {

// `protocol`: NETLINK_NETFILTER, NETLINK_ROUTE. The kernel chooses the port id.
Result<UniqueFd> open_netlink(int protocol);
Result<std::uint32_t> netlink_port(int fd);
Result<> join_group(int fd, int group);

// Asks for an effective receive buffer of `bytes`. Beyond the system's limit this needs CAP_NET_ADMIN; without it the
// limit is what one gets.
void set_receive_buffer(int fd, std::uint32_t bytes);
void set_send_buffer(int fd, std::uint32_t bytes);
std::uint32_t receive_buffer(int fd);  // effective bytes

// To the kernel. 0 or errno. The kernel has worked on the requests when this returns.
int send_to_kernel(int fd, std::span<const std::uint8_t> data);

// One datagram of the kernel's into `room`: its size, 0 for one that came from another process (to be ignored) or
// -errno; EMSGSIZE if it did not fit.
long receive_from_kernel(int fd, std::span<std::uint8_t> room);

}  // namespace ctsync::kernel
