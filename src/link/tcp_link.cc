// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp_link.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

namespace ctsync::link {
namespace {

constexpr int kBacklog = 8;

// A node that died without a word must not look connected for hours. Best effort.
void supervise(int fd) {
  const auto set = [fd](int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof value); };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 20'000);  // ms without an acknowledgement
  set(IPPROTO_TCP, TCP_NODELAY, 1);            // the packer has packed already
}

std::size_t bytes_waiting(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCINQ, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

bool would_block(int code) { return code == EAGAIN || code == EWOULDBLOCK || code == EINTR; }

}  // namespace

TcpLink::TcpLink(const LinkOptions& options, std::size_t number, LinkContext context)
    : options_(options),
      number_(number),
      c_(std::move(context)),
      accept_timer_(c_.loop, [this] { c_.loop.change(listener_.get(), EPOLLIN); }),
      connect_timer_(c_.loop, [this] { on_connect_timer(); }) {}

Result<> TcpLink::open(std::uint32_t interface_index) {
  close();
  if (auto r = listen(interface_index); !r) {
    listener_.reset();
    return r;
  }
  if (auto ok = c_.loop.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_connection(); }); !ok) {
    listener_.reset();
    return open_error(options_, "watching the socket", ok.error().code);
  }
  destination_ = socket_address(peer_address(options_), options_.port, interface_index);
  begin_outage(ENOTCONN);
  connect();
  return {};
}

void TcpLink::close() {
  accept_timer_.cancel();
  if (listener_) c_.loop.unwatch(listener_.get());
  listener_.reset();
  close_server();
  drop_client();
  connect_timer_.cancel();
  outage_.reset();
  failure_counted_ = false;
}

Result<> TcpLink::listen(std::uint32_t interface_index) {
  auto fd = open_socket(options_, SOCK_STREAM);
  if (!fd) return std::unexpected(fd.error());
  listener_ = std::move(*fd);
  if (auto r = set_option(listener_.get(), SOL_SOCKET, SO_REUSEADDR, 1, options_, "SO_REUSEADDR"); !r) return r;
  if (auto r = set_receive_buffer(listener_.get(), options_); !r) return r;  // accepted sockets inherit it
  if (auto r = set_send_buffer(listener_.get(), options_); !r) return r;  // tells now if it will fail when connecting
  const auto local = socket_address(local_address(options_), options_.port, interface_index);
  const auto where = describe(local_address(options_), options_.port);
  if (::bind(listener_.get(), local.get(), local.length) < 0) return open_error(options_, "bind to " + where);
  if (::listen(listener_.get(), kBacklog) < 0) return open_error(options_, "listen on " + where);
  return {};
}

ConnectionState TcpLink::connection() const {
  return {.server = static_cast<bool>(server_), .client = client_state_ == ClientState::connected};
}

// One a turn; the descriptor stays readable while others wait. First what the peer sent before it came back is read, but
// no more than was there when the new connection was seen: a connection that is kept full would never be replaced.
void TcpLink::accept_connection() {
  if (server_ && !left_of_old_) left_of_old_ = bytes_waiting(server_.get());
  if (left_of_old_.value_or(0) > 0) return;
  sockaddr_storage from{};
  socklen_t length = sizeof from;
  UniqueFd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd) return adopt(std::move(fd), from);
  const int code = errno;
  if (would_block(code) || code == ECONNABORTED) return;
  ++statistics_.receive_errors;
  c_.handlers.on_error(number_, "accept", code);
  // Out of descriptors, say: the waiting connection would wake us without end.
  c_.loop.change(listener_.get(), 0);
  accept_timer_.arm_in(kRetry);
}

// Nobody but the peer takes the place of the peer, but for one that has gone without a word and comes back from another
// of its addresses: connections of a peer are not bound to any.
bool TcpLink::may_replace(const IpAddress& from) const {
  const auto peer = peer_address(options_);
  return !server_ || from == peer || server_peer_ != peer || c_.loop.now() - heard_ >= kSilence;
}

void TcpLink::adopt(UniqueFd fd, const sockaddr_storage& from) {
  left_of_old_.reset();
  const auto address = ip_address_of(from);
  if (!may_replace(address)) return;
  close_server();
  supervise(fd.get());
  server_ = std::move(fd);
  server_peer_ = address;
  heard_ = c_.loop.now();
  if (auto ok = c_.loop.watch(server_.get(), EPOLLIN, [this](std::uint32_t) { read_stream(); }); !ok) {
    ++statistics_.receive_errors;
    c_.handlers.on_error(number_, "accept", ok.error().code);
    close_server();
  }
}

void TcpLink::close_server() {
  if (server_) c_.loop.unwatch(server_.get());
  server_.reset();
  left_of_old_.reset();
  stream_.clear();
}

// Reads what has arrived, as much as fits into a turn.
void TcpLink::read_stream() {
  std::size_t budget = kTurnBytes;
  for (std::size_t i = 0; i < c_.receive_limit && budget > 0; ++i) {
    auto room = stream_.room();
    room = room.first(std::min(room.size(), budget));
    const auto n = ::recv(server_.get(), room.data(), room.size(), 0);
    if (n < 0 && would_block(errno)) return;
    if (n <= 0) {
      if (n < 0) {
        ++statistics_.receive_errors;
        c_.handlers.on_error(number_, "receive", errno);
      }
      return close_server();
    }
    const auto count = static_cast<std::size_t>(n);
    heard_ = c_.loop.now();
    if (left_of_old_) *left_of_old_ -= std::min(*left_of_old_, count);
    ++statistics_.packets_received;
    statistics_.bytes_received += count;
    budget -= count;
    if (!take(count) || count < room.size()) return;
  }
  c_.loop.hurry();
}

// Hands over the whole messages that these bytes complete. False if the connection is closed.
bool TcpLink::take(std::size_t bytes) {
  const auto messages = stream_.add(bytes);
  const bool out_of_step = stream_.out_of_step();
  if (!messages.empty()) c_.handlers.on_datagram(number_, server_peer_, messages);
  if (!server_) return false;  // closed by the handler
  if (!out_of_step) return true;
  ++statistics_.receive_errors;
  c_.handlers.on_error(number_, "stream out of step", EBADMSG);
  close_server();
  return false;
}

void TcpLink::connect() {
  last_attempt_ = c_.loop.now();
  client_.reset(::socket(socket_family(options_.family()), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!client_) return client_failed("connect", errno);
  supervise(client_.get());
  (void)set_send_buffer(client_.get(), options_);  // refusal stopped the start, at the listener
  client_state_ = ClientState::connecting;
  const auto watched = c_.loop.watch(client_.get(), EPOLLOUT, [this](std::uint32_t events) { on_client(events); });
  if (!watched) return client_failed("connect", watched.error().code);
  if (::connect(client_.get(), destination_.get(), destination_.length) == 0) return client_connected();
  if (errno != EINPROGRESS) return client_failed("connect", errno);
  connect_timer_.arm_in(kConnectWait);
}

// Once connected: the end of the connection always, room to write while something waits.
void TcpLink::watch_client() {
  std::uint32_t events = EPOLLIN | EPOLLRDHUP;
  if (current_ && !c_.queue.empty()) events |= EPOLLOUT;
  c_.loop.change(client_.get(), events);
}

void TcpLink::on_connect_timer() {
  if (client_state_ == ClientState::connecting) return client_failed("connect", ETIMEDOUT);
  connect();
}

void TcpLink::on_client(std::uint32_t events) {
  if (client_state_ == ClientState::connecting) return finish_connect();
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) drain_client();
  if (client_state_ == ClientState::connected && (events & EPOLLOUT)) flush();
}

void TcpLink::finish_connect() {
  int code = 0;
  socklen_t length = sizeof code;
  if (::getsockopt(client_.get(), SOL_SOCKET, SO_ERROR, &code, &length) < 0) code = errno;
  if (code != 0) return client_failed("connect", code);
  sockaddr_storage peer{};
  length = sizeof peer;
  if (::getpeername(client_.get(), reinterpret_cast<sockaddr*>(&peer), &length) < 0) return;  // not yet
  client_connected();
}

void TcpLink::client_connected() {
  client_state_ = ClientState::connected;
  outage_.reset();
  failure_counted_ = false;
  connect_timer_.cancel();
  watch_client();
  flush();
}

// A peer sends nothing on this connection; what comes is its end.
void TcpLink::drain_client() {
  std::array<std::uint8_t, 4096> nothing;
  const auto n = ::recv(client_.get(), nothing.data(), nothing.size(), 0);
  if (n > 0 || (n < 0 && would_block(errno))) return;
  client_failed("connection", n == 0 ? ECONNRESET : errno);
}

void TcpLink::drop_client() {
  if (client_) c_.loop.unwatch(client_.get());
  client_.reset();
  client_state_ = ClientState::disconnected;
  if (current_) c_.queue.rewind();
}

bool TcpLink::unacknowledged() const {
  int bytes = 0;
  return client_ && ::ioctl(client_.get(), SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

// The kernel forgets what it would still send.
void TcpLink::reset_client() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(client_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  drop_client();
}

void TcpLink::begin_outage(int code) {
  const bool began = !outage_;
  if (began) outage_ = Outage{.since = c_.loop.now()};
  outage_->code = code;
  if (began) c_.on_outage();
}

void TcpLink::client_failed(const char* what, int code) {
  drop_client();
  begin_outage(code);
  if (!failure_counted_) {
    failure_counted_ = true;
    ++statistics_.send_errors;
    c_.handlers.on_error(number_, what, code);
  }
  retry_later();
}

void TcpLink::retry_later() {
  const auto earliest = *last_attempt_ + kRetry;
  connect_timer_.arm(std::max(earliest, c_.loop.now()));
}

void TcpLink::set_current(bool current) {
  if (current == current_) return;
  // The link that takes over sends a buffer as a whole that is half sent here. And what the peer has not acknowledged
  // would arrive when this link is mended, and undo what it has been told on the other one since.
  if (!current && (c_.queue.partly_written() || unacknowledged())) {
    reset_client();
    begin_outage(ECONNRESET);
    retry_later();
  }
  current_ = current;
  if (client_state_ != ClientState::connected) return;
  watch_client();
  flush();
}

void TcpLink::send(std::span<const Datagram> datagrams) {
  while (!datagrams.empty() && c_.queue.empty() && client_state_ == ClientState::connected) {
    std::array<iovec, kBatch> parts;
    const auto n = std::min(datagrams.size(), kBatch);
    for (std::size_t i = 0; i < n; ++i) {
      parts[i] = {const_cast<std::uint8_t*>(datagrams[i].data()), datagrams[i].size()};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = n;
    const auto sent = ::sendmsg(client_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (!would_block(errno)) client_failed("send", errno);
      break;
    }
    auto written = static_cast<std::size_t>(sent);
    statistics_.bytes_sent += written;
    while (!datagrams.empty() && written >= datagrams.front().size()) {
      written -= datagrams.front().size();
      ++statistics_.packets_sent;
      datagrams = datagrams.subspan(1);
    }
    if (written > 0) {
      c_.queue.push(datagrams.front(), written);
      datagrams = datagrams.subspan(1);
    }
  }
  if (datagrams.empty() && c_.queue.empty()) return;
  for (const auto& d : datagrams) c_.queue.push(d);
  if (client_state_ == ClientState::connected) watch_client();
}

void TcpLink::flush() {
  if (!current_) return;
  while (!c_.queue.empty()) {
    std::array<iovec, kBatch> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = c_.queue.fill(parts);
    const auto sent = ::sendmsg(client_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (!would_block(errno)) return client_failed("send", errno);
      break;
    }
    statistics_.bytes_sent += static_cast<std::uint64_t>(sent);
    statistics_.packets_sent += c_.queue.advance(static_cast<std::size_t>(sent));
  }
  watch_client();
}

}  // namespace ctsync::link
