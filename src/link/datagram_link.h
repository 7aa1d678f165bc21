// SPDX-License-Identifier: GPL-2.0-or-later
// Multicast and UDP (spec replication.md 1.6): one socket to receive, one to send with an ephemeral source port.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/link/link.h"
#include "link_context.h"
#include "receive_buffers.h"
#include "socket.h"

namespace ctsync::link {

class DatagramLink final : public Link {
 public:
  // `options` with kind multicast or udp. `shares_port`: another link of the configuration is bound to the same port,
  // and maybe to the same address.
  DatagramLink(const LinkOptions& options, std::size_t number, bool shares_port, LinkContext context);
  ~DatagramLink() override { close(); }

  Result<> open(std::uint32_t interface_index) override;
  void close() override;
  void set_number(std::size_t number) override { number_ = number; }
  bool is_open() const override { return static_cast<bool>(receiver_); }
  void send(std::span<const Datagram> datagrams) override;
  bool congested() const override { return !sender_ || !c_.queue.empty(); }
  void set_current(bool current) override;
  std::optional<Outage> outage() const override { return outage_; }
  void try_again() override;

 private:
  static constexpr std::size_t kBatch = 64;             // datagrams in one system call
  static constexpr std::size_t kTurnBytes = 128 << 10;  // received in a turn: about a millisecond of work

  Result<> open_receiver(std::uint32_t interface_index);
  Result<> open_sender(std::uint32_t interface_index);
  Result<> join(std::uint32_t interface_index);
  Result<> set_multicast_output(int fd, std::uint32_t interface_index);
  Result<UniqueFd> probe(std::uint32_t interface_index);
  void learn_own_address(std::uint32_t interface_index);

  void receive();
  bool fetch(std::size_t limit);
  void deliver(const ReceiveBuffers::Received& datagram);
  void come_back();
  bool is_own(const sockaddr_storage& from) const;

  std::size_t send_parts(std::size_t count);
  bool give_up(int code);
  void begin_outage(int code);
  void keep(const Datagram& datagram);
  void flush();
  void wait_for_room();
  void stop_waiting();
  bool may_send();
  void count_lost(int code);

  const LinkOptions options_;
  std::size_t number_;
  const bool shares_port_;
  const LinkContext c_;

  UniqueFd receiver_;
  ReceiveBuffers received_;
  bool drained_ = false;      // there was nothing more when received_ was filled
  bool coming_back_ = false;  // the receiver is watched so that the loop comes back at once

  bool current_ = false;
  UniqueFd sender_;
  std::uint32_t interface_index_ = 0;
  SocketAddress destination_;
  bool waiting_for_room_ = false;  // the sender is watched
  Timer room_timer_;
  std::optional<Outage> outage_;
  unsigned refusals_ = 0;  // in a row, of datagrams that may be refused for what they are
  // What our own datagrams look like if the network returns them; multicast alone.
  std::optional<IpAddress> own_address_;
  std::uint16_t own_port_ = 0;
  std::array<mmsghdr, kBatch> messages_{};
  std::array<iovec, kBatch> parts_{};
};

}  // namespace ctsync::link
