// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/metrics_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "http_request.h"
#include "unix_listener.h"

namespace ctsync::control {
namespace {

constexpr Duration kAcceptAgain = std::chrono::milliseconds(100);

std::string_view reason_of(int status) {
  switch (status) {
    case kHttpOk:
      return "OK";
    case kHttpNotFound:
      return "Not Found";
    case kHttpMethodNotAllowed:
      return "Method Not Allowed";
    default:
      return "Bad Request";
  }
}

std::string answer_to(const HttpRequest& request, const MetricsServer::Text& text) {
  const bool ok = request.status == kHttpOk;
  const bool openmetrics = ok && request.openmetrics;
  const auto body = ok ? text(openmetrics) : fmt::format("{}\n", reason_of(request.status));
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}; charset=utf-8\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{}",
      request.status, reason_of(request.status),
      openmetrics ? "application/openmetrics-text; version=1.0.0"
      : ok        ? "text/plain; version=0.0.4"
                  : "text/plain",
      body.size(), request.status == kHttpMethodNotAllowed ? "Allow: GET\r\n" : "", body);
}

// For bind(2).
struct InetAddress {
  InetAddress(const IpAddress& address, std::uint16_t port) {
    if (address.family == Family::ipv4) {
      ipv4.sin_family = AF_INET;
      ipv4.sin_port = htons(port);
      std::memcpy(&ipv4.sin_addr, address.bytes.data(), sizeof ipv4.sin_addr);
    } else {
      ipv6.sin6_family = AF_INET6;
      ipv6.sin6_port = htons(port);
      std::memcpy(&ipv6.sin6_addr, address.bytes.data(), sizeof ipv6.sin6_addr);
    }
  }
  bool is_ipv4() const { return ipv4.sin_family == AF_INET; }
  const sockaddr* data() const {
    return is_ipv4() ? reinterpret_cast<const sockaddr*>(&ipv4) : reinterpret_cast<const sockaddr*>(&ipv6);
  }
  socklen_t size() const { return is_ipv4() ? sizeof ipv4 : sizeof ipv6; }

  sockaddr_in ipv4{};
  sockaddr_in6 ipv6{};
};

}  // namespace

MetricsServer::MetricsServer(EventLoop& loop, Text text)
    : loop_(loop),
      text_(std::move(text)),
      timer_(loop, [this] { on_timer(); }),
      unix_(std::make_unique<UnixListener>("metrics socket")) {}

MetricsServer::~MetricsServer() {
  for (const auto& c : clients_) loop_.unwatch(c->fd.get());
  if (*unix_) loop_.unwatch(unix_->fd());
  if (tcp_) loop_.unwatch(tcp_.get());
}

Result<> MetricsServer::open(const std::string& path) {
  constexpr mode_t kMode = 0660;
  if (auto ok = unix_->open(path, kMode, kMaxClients); !ok) return ok;
  return watch(unix_->fd());
}

Result<> MetricsServer::open(const IpAddress& address, std::uint16_t port) {
  const auto failed = [&] {
    return fail_errno(fmt::format("can't serve metrics on {} port {}", to_string(address), port));
  };
  const InetAddress to(address, port);
  UniqueFd fd(::socket(socket_family(address.family), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failed();
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), to.data(), to.size()) < 0 || ::listen(fd.get(), kMaxClients) < 0) return failed();
  tcp_ = std::move(fd);
  return watch(tcp_.get());
}

Result<> MetricsServer::watch(int listener) {
  return loop_.watch(listener, EPOLLIN, [this, listener](std::uint32_t) { accept_clients(listener); });
}

// --- Clients ---

void MetricsServer::accept_clients(int listener) {
  while (clients_.size() < kMaxClients) {
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      add_client(std::move(fd));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      accept_again_ = loop_.now() + kAcceptAgain;  // no descriptor or memory left
      arm_timer();
      break;
    }
  }
  listen(false);
}

void MetricsServer::add_client(UniqueFd fd) {
  const int raw = fd.get();
  const auto c = std::make_shared<Client>(Client{.fd = std::move(fd), .deadline = loop_.now() + kClientTime});
  if (!loop_.watch(raw, EPOLLIN, [this, c](std::uint32_t) { on_events(c); })) return;  // too many watches: it is closed
  clients_.push_back(c);
  arm_timer();
}

// Those that have come wait meanwhile, and the loop must not spin on them.
void MetricsServer::listen(bool on) {
  const std::uint32_t events = on ? EPOLLIN : 0U;
  if (*unix_) loop_.change(unix_->fd(), events);
  if (tcp_) loop_.change(tcp_.get(), events);
}

void MetricsServer::on_events(const std::shared_ptr<Client>& c) {
  if (c->output.empty()) return read_request(c);
  if (c->sent < c->output.size()) return send_answer(c);
  wait_for_end(c);
}

void MetricsServer::read_request(const std::shared_ptr<Client>& c) {
  std::array<char, kMaxHttpRequest> piece;
  const auto n = ::recv(c->fd.get(), piece.data(), piece.size() - c->input.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return drop(c);
  c->input.append(piece.data(), static_cast<std::size_t>(n));
  const auto request = read_http_request(c->input);
  if (!request) return;
  c->output = answer_to(*request, text_);
  send_answer(c);
}

void MetricsServer::send_answer(const std::shared_ptr<Client>& c) {
  const auto n = ::send(c->fd.get(), c->output.data() + c->sent, c->output.size() - c->sent, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return drop(c);
  c->sent += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  if (c->sent < c->output.size()) return loop_.change(c->fd.get(), EPOLLOUT);
  ::shutdown(c->fd.get(), SHUT_WR);
  loop_.change(c->fd.get(), EPOLLIN);
}

// Were the socket closed with something unread, its client might see a reset in place of the end of the answer.
void MetricsServer::wait_for_end(const std::shared_ptr<Client>& c) {
  std::array<char, kMaxHttpRequest> nowhere;
  const auto n = ::recv(c->fd.get(), nowhere.data(), nowhere.size(), 0);
  if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) return;
  drop(c);
}

void MetricsServer::drop(const std::shared_ptr<Client>& c) {
  loop_.unwatch(c->fd.get());
  std::erase(clients_, c);
  if (!accept_again_) listen(true);
  arm_timer();
}

// --- Time ---

void MetricsServer::arm_timer() {
  auto first = accept_again_;
  for (const auto& c : clients_) first = earlier(first, c->deadline);
  timer_.arm(first);
}

void MetricsServer::on_timer() {
  const auto now = loop_.now();
  if (accept_again_ && *accept_again_ <= now) {
    accept_again_.reset();
    listen(clients_.size() < kMaxClients);
  }
  const auto all = clients_;
  for (const auto& c : all) {
    if (c->deadline <= now) drop(c);
  }
  arm_timer();
}

}  // namespace ctsync::control
