// SPDX-License-Identifier: GPL-2.0-or-later
// Room for many datagrams of one recvmmsg call, each as large as a datagram can be. Memory that no datagram reaches is
// never touched. All links of a set share one, since what was received is handed over before the next call.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace ctsync::link {

class ReceiveBuffers {
 public:
  static constexpr std::size_t kDatagrams = 32;  // most in one system call
  static constexpr std::size_t kDatagramSize = 65536;

  ReceiveBuffers();

  // As recvmmsg without waiting: how many arrived (at most `limit`), or -1 and errno.
  int receive(int fd, std::size_t limit);

  const std::uint8_t* data(std::size_t i) const { return bytes_.get() + i * kDatagramSize; }
  std::size_t size(std::size_t i) const { return messages_[i].msg_len; }
  const sockaddr_storage& sender(std::size_t i) const { return senders_[i]; }

 private:
  std::unique_ptr<std::uint8_t[]> bytes_;
  std::array<mmsghdr, kDatagrams> messages_{};
  std::array<iovec, kDatagrams> parts_{};
  std::array<sockaddr_storage, kDatagrams> senders_{};
};

}  // namespace ctsync::link
