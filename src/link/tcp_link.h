// SPDX-License-Identifier: GPL-2.0-or-later
// TCP (spec replication.md 1.7): two connections, each of one direction. We connect to the peer's listener and only
// send there; we only receive on what our listener accepted, and the newest connection replaces the one before, but
// that of the configured peer only if it comes from there too. Where conntrackd fails (spec 9, 29) this does better: a
// connection has its own reassembly buffer, a stream that is out of step is closed, a peer that closed is noticed at
// once and a short write goes on where it stopped.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/link/link.h"
#include "link_context.h"
#include "socket.h"
#include "stream_reader.h"

namespace ctsync::link {

class TcpLink final : public Link {
 public:
  TcpLink(const LinkOptions& options, std::size_t number, LinkContext context);
  ~TcpLink() override { close(); }

  Result<> open(std::uint32_t interface_index) override;
  void close() override;
  void set_number(std::size_t number) override { number_ = number; }
  bool is_open() const override { return static_cast<bool>(listener_); }
  void set_current(bool current) override;
  void send(std::span<const Datagram> datagrams) override;
  // Without a connection, say while the peer restarts, half of the queue may be filled; else what waits is room enough.
  bool congested() const override { return c_.queue.size() > c_.queue.maximum() / 2; }
  std::optional<Outage> outage() const override { return outage_; }
  ConnectionState connection() const override;

 private:
  enum class ClientState : std::uint8_t { disconnected, connecting, connected };
  static constexpr std::size_t kBatch = 64;                      // buffers in one system call
  static constexpr std::size_t kTurnBytes = 128 << 10;           // read in a turn: about a millisecond of work
  static constexpr Duration kSilence = std::chrono::seconds(3);  // then the peer may be gone: FT-FW sends each second
  static constexpr Duration kRetry = std::chrono::seconds(1);    // between two attempts to connect
  static constexpr Duration kConnectWait = std::chrono::seconds(3);  // for an answer to an attempt

  Result<> listen(std::uint32_t interface_index);
  // The receiving side.
  void accept_connection();
  void adopt(UniqueFd fd, const sockaddr_storage& from);
  void close_server();
  bool may_replace(const IpAddress& from) const;
  void read_stream();
  bool take(std::size_t bytes);
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
  void begin_outage(int code);
  void client_failed(const char* what, int code);
  void flush();
  void watch_client();

  const LinkOptions options_;
  std::size_t number_;
  const LinkContext c_;
  bool current_ = false;

  UniqueFd listener_;
  Timer accept_timer_;
  UniqueFd server_;
  IpAddress server_peer_;
  TimePoint heard_{};                       // from server_, or when it was accepted
  std::optional<std::size_t> left_of_old_;  // bytes of server_ to read before a connection that waits is accepted
  StreamReader stream_;

  SocketAddress destination_;
  UniqueFd client_;
  ClientState client_state_ = ClientState::disconnected;
  std::optional<Outage> outage_;
  bool failure_counted_ = false;  // of the present outage
  std::optional<TimePoint> last_attempt_;
  Timer connect_timer_;
};

}  // namespace ctsync::link
