// SPDX-License-Identifier: GPL-2.0-or-later
// Multicast and UDP (spec replication.md 1.6): one socket to receive, one to send with an ephemeral source port.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/link/link.h"
#include "receive_buffers.h"
#include "socket.h"

namespace ctsync::link {

class DatagramLink final : public Link {
 public:
  // Everything referred to must outlive the link. `options` with kind multicast or udp.
  DatagramLink(const LinkOptions& options, std::size_t number, EventLoop& loop, ReceiveBuffers& buffers,
               const LinkHandlers& handlers, std::size_t receive_limit);
  ~DatagramLink() override { close(); }

  Result<> open(std::uint32_t interface_index) override;
  void close() override;
  bool is_open() const override { return static_cast<bool>(receiver_); }
  void send(std::span<const Datagram> datagrams) override;
  bool congested() const override;

 private:
  static constexpr std::size_t kBatch = 64;  // datagrams in one system call
  static constexpr int kPatienceMs = 5;      // longest wait for room in the send buffer

  Result<> open_receiver(std::uint32_t interface_index);
  Result<> open_sender(std::uint32_t interface_index);
  Result<> join(std::uint32_t interface_index);
  Result<> set_multicast_output(int fd, std::uint32_t interface_index);
  void learn_own_address(std::uint32_t interface_index);
  void receive();
  bool is_own(const sockaddr_storage& from) const;
  void send_batch(std::span<const Datagram> datagrams);
  void count_lost(std::size_t datagrams, int code);

  const LinkOptions options_;
  const std::size_t number_;
  EventLoop& loop_;
  ReceiveBuffers& buffers_;
  const LinkHandlers& handlers_;
  const std::size_t receive_limit_;

  UniqueFd receiver_;
  UniqueFd sender_;
  SocketAddress destination_;
  // What our own datagrams look like if the network returns them; multicast alone.
  std::optional<IpAddress> own_address_;
  std::uint16_t own_port_ = 0;
  bool stalled_ = false;  // the last batch found no room for too long
  std::array<mmsghdr, kBatch> messages_{};
  std::array<iovec, kBatch> parts_{};
};

}  // namespace ctsync::link
