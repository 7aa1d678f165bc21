// SPDX-License-Identifier: GPL-2.0-or-later
// Room for many datagrams of one recvmmsg call, each as large as a datagram can be. Memory that no datagram reaches is
// never touched. What was fetched may be taken later, in another turn of the loop.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace ctsync::link {

class ReceiveBuffers {
 public:
  static constexpr std::size_t kDatagrams = 32;  // most in one system call
  static constexpr std::size_t kDatagramSize = 65536;

  struct Received {
    std::span<const std::uint8_t> bytes;
    const sockaddr_storage* from;
  };

  ReceiveBuffers();

  // As recvmmsg without waiting: how many arrived (at most `limit`), or -1 and errno. To be called when empty.
  int fetch(int fd, std::size_t limit);
  bool empty() const { return next_ == count_; }
  // The next one that was fetched; valid until the next fetch().
  Received take();
  void clear() { next_ = count_ = 0; }

 private:
  std::unique_ptr<std::uint8_t[]> bytes_;
  std::array<mmsghdr, kDatagrams> messages_{};
  std::array<iovec, kDatagrams> parts_{};
  std::array<sockaddr_storage, kDatagrams> senders_{};
  std::size_t next_ = 0;
  std::size_t count_ = 0;
};

}  // namespace ctsync::link
