// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp_link.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "ctsync/base/bytes.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::link {
namespace {

constexpr int kBacklog = 8;
constexpr std::size_t kLengthOffset = 2;  // of the length field in a message header (spec replication.md 1.1)

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

bool would_block(int code) { return code == EAGAIN || code == EWOULDBLOCK || code == EINTR; }

}  // namespace

TcpLink::TcpLink(const LinkOptions& options, std::size_t number, EventLoop& loop, ErrorQueue& queue,
                 const LinkHandlers& handlers, std::size_t receive_limit)
    : options_(options),
      number_(number),
      loop_(loop),
      queue_(queue),
      handlers_(handlers),
      receive_limit_(std::max<std::size_t>(receive_limit, 1)),
      accept_timer_(loop, [this] { loop_.change(listener_.get(), EPOLLIN); }),
      stream_(std::make_unique_for_overwrite<std::uint8_t[]>(kStreamBuffer)),
      connect_timer_(loop, [this] { on_connect_timer(); }) {}

Result<> TcpLink::open(std::uint32_t interface_index) {
  close();
  if (auto r = listen(interface_index); !r) {
    listener_.reset();
    return r;
  }
  loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_connections(); });
  destination_ = socket_address(peer_address(options_), options_.port, interface_index);
  connect();
  return {};
}

void TcpLink::close() {
  accept_timer_.cancel();
  if (listener_) loop_.unwatch(listener_.get());
  listener_.reset();
  close_server();
  drop_client();
  connect_timer_.cancel();
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

void TcpLink::accept_connections() {
  for (int i = 0; i < kBacklog; ++i) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    UniqueFd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      const int code = errno;
      if (would_block(code) || code == ECONNABORTED) return;
      ++statistics_.receive_errors;
      handlers_.on_error(number_, "accept", code);
      // Out of descriptors, say: the waiting connection would wake us without end.
      loop_.change(listener_.get(), 0);
      accept_timer_.arm_in(kRetry);
      return;
    }
    adopt(std::move(fd), from);
    if (!listener_) return;  // closed by the handler
  }
}

void TcpLink::adopt(UniqueFd fd, const sockaddr_storage& from) {
  if (server_) read_stream();  // what the peer sent before it came back
  if (!listener_) return;
  close_server();
  supervise(fd.get());
  server_ = std::move(fd);
  server_peer_ = ip_address_of(from);
  loop_.watch(server_.get(), EPOLLIN, [this](std::uint32_t) { read_stream(); });
}

void TcpLink::close_server() {
  if (server_) loop_.unwatch(server_.get());
  server_.reset();
  stream_size_ = 0;
}

void TcpLink::read_stream() {
  for (std::size_t i = 0; i < receive_limit_; ++i) {
    const auto room = kStreamBuffer - stream_size_;
    const auto n = ::recv(server_.get(), stream_.get() + stream_size_, room, 0);
    if (n < 0 && would_block(errno)) return;
    if (n <= 0) {
      if (n < 0) {
        ++statistics_.receive_errors;
        handlers_.on_error(number_, "receive", errno);
      }
      return close_server();
    }
    const auto count = static_cast<std::size_t>(n);
    ++statistics_.packets_received;
    statistics_.bytes_received += count;
    stream_size_ += count;
    if (!take_messages() || count < room) return;
  }
}

// Hands over the whole messages in the stream buffer. False if the connection is closed.
bool TcpLink::take_messages() {
  wire::MessageReader reader({stream_.get(), stream_size_}, wire::MessageReader::Source::stream);
  wire::Message message;
  auto status = reader.next(message);
  while (status == wire::MessageReader::Status::message || status == wire::MessageReader::Status::wrong_version) {
    status = reader.next(message);
  }
  const auto whole = reader.consumed();
  bool out_of_step = status == wire::MessageReader::Status::bad_size;
  if (const auto rest = stream_size_ - whole; !out_of_step && rest >= kLengthOffset + 2) {
    ByteReader header({stream_.get() + whole, rest});
    header.skip(kLengthOffset);
    // conntrackd would swallow everything until that many bytes have arrived.
    out_of_step = header.be16() > kLongestMessage;
  }
  // A bad message goes along: the receiver of a datagram finds and counts it the same way.
  const auto hand_over = out_of_step ? stream_size_ : whole;
  if (hand_over > 0) handlers_.on_datagram(number_, server_peer_, {stream_.get(), hand_over});
  if (!server_) return false;  // closed by the handler
  if (out_of_step) {
    ++statistics_.receive_errors;
    handlers_.on_error(number_, "stream out of step", EBADMSG);
    close_server();
    return false;
  }
  stream_size_ -= whole;
  std::memmove(stream_.get(), stream_.get() + whole, stream_size_);
  return true;
}

void TcpLink::connect() {
  last_attempt_ = loop_.now();
  client_.reset(::socket(socket_family(options_.family()), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!client_) return client_failed("connect", errno);
  supervise(client_.get());
  (void)set_send_buffer(client_.get(), options_);  // refusal stopped the start, at the listener
  client_state_ = ClientState::connecting;
  loop_.watch(client_.get(), EPOLLOUT, [this](std::uint32_t events) { on_client(events); });
  if (::connect(client_.get(), destination_.get(), destination_.length) == 0) return client_connected();
  if (errno != EINPROGRESS) return client_failed("connect", errno);
  connect_timer_.arm_in(kConnectWait);
}

// Once connected: the end of the connection always, room to write while something waits.
void TcpLink::watch_client() {
  std::uint32_t events = EPOLLIN | EPOLLRDHUP;
  if (current_ && !queue_.empty()) events |= EPOLLOUT;
  loop_.change(client_.get(), events);
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
  if (client_) loop_.unwatch(client_.get());
  client_.reset();
  client_state_ = ClientState::disconnected;
  if (current_) queue_.rewind();
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

void TcpLink::client_failed(const char* what, int code) {
  drop_client();
  if (!failure_counted_) {
    failure_counted_ = true;
    ++statistics_.send_errors;
    handlers_.on_error(number_, what, code);
  }
  retry_later();
}

void TcpLink::retry_later() {
  const auto earliest = *last_attempt_ + kRetry;
  connect_timer_.arm(std::max(earliest, loop_.now()));
}

void TcpLink::set_current(bool current) {
  if (current == current_) return;
  // The link that takes over sends a buffer as a whole that is half sent here. And what the peer has not acknowledged
  // would arrive when this link is mended, and undo what it has been told on the other one since.
  if (!current && (queue_.partly_written() || unacknowledged())) {
    reset_client();
    retry_later();
  }
  current_ = current;
  if (client_state_ != ClientState::connected) return;
  watch_client();
  flush();
}

void TcpLink::send(std::span<const Datagram> datagrams) {
  while (!datagrams.empty() && queue_.empty() && client_state_ == ClientState::connected) {
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
      queue_.push(datagrams.front(), written);
      datagrams = datagrams.subspan(1);
    }
  }
  if (datagrams.empty() && queue_.empty()) return;
  for (const auto& d : datagrams) queue_.push(d);
  if (client_state_ == ClientState::connected) watch_client();
}

void TcpLink::flush() {
  if (!current_) return;
  while (!queue_.empty()) {
    std::array<iovec, kBatch> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = queue_.fill(parts);
    const auto sent = ::sendmsg(client_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (!would_block(errno)) return client_failed("send", errno);
      break;
    }
    statistics_.bytes_sent += static_cast<std::uint64_t>(sent);
    statistics_.packets_sent += queue_.advance(static_cast<std::size_t>(sent));
  }
  watch_client();
}

bool TcpLink::congested() const { return queue_.size() > queue_.maximum() / 2; }

}  // namespace ctsync::link
