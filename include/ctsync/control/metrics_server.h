// SPDX-License-Identifier: GPL-2.0-or-later
// Serves the metrics over HTTP to programs of this machine: GET /metrics, an answer a connection, no more. Read only. Never
// blocks: each client has kClientTime in all, and a few of them are served at once, so one that sends little or does not read
// costs no more than its buffer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/flow/ip_address.h"

namespace ctsync::control {

class UnixListener;

class MetricsServer {
 public:
  static constexpr std::size_t kMaxClients = 8;  // more wait until one has gone
  static constexpr Duration kClientTime = std::chrono::seconds(5);

  // The metrics of now, as OpenMetrics or in Prometheus' older format.
  using Text = std::function<std::string(bool openmetrics)>;

  // The loop must outlive the server.
  MetricsServer(EventLoop& loop, Text text);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // One or both of them, each once. The file of the socket has mode 0660; a socket that nobody serves any more is replaced.
  Result<> open(const std::string& path);
  Result<> open(const IpAddress& address, std::uint16_t port);

  std::size_t clients() const { return clients_.size(); }

 private:
  struct Client {
    UniqueFd fd;
    TimePoint deadline;
    std::string input{};
    std::string output{};  // not empty: the answer
    std::size_t sent = 0;  // of it
  };

  Result<> watch(int listener);
  void accept_clients(int listener);
  void add_client(UniqueFd fd);
  void listen(bool on);
  void on_events(const std::shared_ptr<Client>& c);
  void read_request(const std::shared_ptr<Client>& c);
  void send_answer(const std::shared_ptr<Client>& c);
  void wait_for_end(const std::shared_ptr<Client>& c);
  void drop(const std::shared_ptr<Client>& c);
  void arm_timer();
  void on_timer();

  EventLoop& loop_;
  Text text_;
  Timer timer_;
  std::unique_ptr<UnixListener> unix_;
  UniqueFd tcp_;
  std::vector<std::shared_ptr<Client>> clients_;
  std::optional<TimePoint> accept_again_;  // set while there is no descriptor for another client
};

}  // namespace ctsync::control
