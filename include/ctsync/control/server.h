// SPDX-License-Identifier: GPL-2.0-or-later
// The control socket: a UNIX stream socket, mode 0600, one request a connection (spec cli.md 4). Never blocks: a client
// that sends nothing is closed after kRequestTimeout, one that does not read costs its buffer, one that leaves costs
// nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/node/client.h"
#include "ctsync/node/command.h"

namespace ctsync::control {

class Connection;
class UnixListener;

class CommandHandler {
 public:
  virtual ~CommandHandler() = default;
  // Answers with client.write(), and client.finish() now or later; the handle may be copied and kept.
  virtual void on_command(const node::Command& command, const node::Client& client) = 0;
  // One that did not read its answer made room for another client: what it was told is not all.
  virtual void on_client_dropped() {}
};

struct ServerStats {
  std::uint64_t read_failed = 0;       // clients that left before a whole request
  std::uint64_t unknown_requests = 0;  // closed without an answer
};

class Server {
 public:
  // More wait until one has gone. So that nobody waits for clients that do nothing: when all places are taken, the one that
  // has been silent for longest makes room, else the one that has not read its answer for longest, kMaxStall at the least.
  static constexpr std::size_t kMaxClients = 64;
  static constexpr Duration kMaxStall = std::chrono::seconds(5);
  static constexpr Duration kRequestTimeout = std::chrono::seconds(10);
  // How long close() waits, for all clients together, until they have read what is left for them.
  static constexpr Duration kLastWords = std::chrono::milliseconds(100);
  static constexpr std::size_t kMaxPath = 107;  // sun_path without the terminating zero

  // Loop, handler and log must outlive the server.
  Server(EventLoop& loop, CommandHandler& handler, Log& log);
  ~Server();  // closes as close() does
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Binds and listens. A socket that nobody serves any more is replaced; anything else at the path is an error.
  Result<> open(const std::string& path);  // absolute: the daemon changes its directory
  // No more clients: closes the listener and removes the socket if the one at the path is still ours.
  void stop_listening();
  // As well closes all clients. Gives them what their sockets take; what these have taken still arrives.
  void close();

  const ServerStats& stats() const { return stats_; }
  std::size_t clients() const { return connections_.size(); }

 private:
  void accept_clients();
  void add_client(UniqueFd fd);
  void pause_accepting();
  std::shared_ptr<Connection> find_victim() const;
  void on_events(const std::shared_ptr<Connection>& c, std::uint32_t events);
  void read_request(const std::shared_ptr<Connection>& c);
  void drop(const std::shared_ptr<Connection>& c);
  void arm_timer();
  void on_timer();

  EventLoop& loop_;
  CommandHandler& handler_;
  Log& log_;
  Timer timer_;
  std::unique_ptr<UnixListener> listener_;
  std::vector<std::shared_ptr<Connection>> connections_;
  std::optional<TimePoint> accept_again_;  // set while there is no place, or no descriptor, for another client
  ServerStats stats_;
  RateLimit refusal_limit_{std::chrono::seconds(10)};
};

}  // namespace ctsync::control
