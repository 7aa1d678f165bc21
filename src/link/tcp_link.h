// SPDX-License-Identifier: GPL-2.0-or-later
// TCP (spec replication.md 1.7): two connections, each of one direction. We connect to the peer's listener and only
// send there; we only receive on what our listener accepted, and the newest connection replaces the one before. Where
// conntrackd fails (spec 9, 29) this does better: a connection has its own reassembly buffer, a stream that is out of
// step is closed, a peer that closed is noticed at once and a short write goes on where it stopped.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/link/link.h"
#include "error_queue.h"
#include "socket.h"

namespace ctsync::link {

class TcpLink final : public Link {
 public:
  // Everything referred to must outlive the link. The queue is shared by all links; only the current one takes from it.
  TcpLink(const LinkOptions& options, std::size_t number, EventLoop& loop, ErrorQueue& queue,
          const LinkHandlers& handlers, std::size_t receive_limit);
  ~TcpLink() override { close(); }

  Result<> open(std::uint32_t interface_index) override;
  void close() override;
  bool is_open() const override { return static_cast<bool>(listener_); }
  void set_current(bool current) override;
  void send(std::span<const Datagram> datagrams) override;
  bool congested() const override;
  ConnectionState connection() const override;

 private:
  enum class ClientState : std::uint8_t { disconnected, connecting, connected };
  static constexpr std::size_t kBatch = 64;                          // buffers in one system call
  static constexpr std::size_t kStreamBuffer = 65536;                // bytes kept of a stream
  static constexpr std::size_t kLongestMessage = 4096;               // no sender builds longer ones (spec 1.4)
  static constexpr Duration kRetry = std::chrono::seconds(1);        // between two attempts to connect
  static constexpr Duration kConnectWait = std::chrono::seconds(3);  // for an answer to an attempt

  Result<> listen(std::uint32_t interface_index);
  // The receiving side.
  void accept_connections();
  void adopt(UniqueFd fd, const sockaddr_storage& from);
  void close_server();
  void read_stream();
  bool take_messages();
  // The sending side.
  void connect();
  void retry_later();
  void on_connect_timer();
  void on_client(std::uint32_t events);
  void finish_connect();
  void client_connected();
  void drain_client();
  void drop_client();
  void reset_client();
  bool unacknowledged() const;
  void client_failed(const char* what, int code);
  void flush();
  void watch_client();

  const LinkOptions options_;
  const std::size_t number_;
  EventLoop& loop_;
  ErrorQueue& queue_;
  const LinkHandlers& handlers_;
  const std::size_t receive_limit_;
  bool current_ = false;

  UniqueFd listener_;
  Timer accept_timer_;
  UniqueFd server_;
  IpAddress server_peer_;
  std::unique_ptr<std::uint8_t[]> stream_;
  std::size_t stream_size_ = 0;  // bytes in stream_, always the beginning of a message

  SocketAddress destination_;
  UniqueFd client_;
  ClientState client_state_ = ClientState::disconnected;
  bool failure_counted_ = false;  // of the present outage
  std::optional<TimePoint> last_attempt_;
  Timer connect_timer_;
};

}  // namespace ctsync::link
