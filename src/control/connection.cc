// SPDX-License-Identifier: GPL-2.0-or-later
#include "connection.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "ctsync/base/bytes.h"

namespace ctsync::control {

Connection::Read Connection::read_request() {
  while (received_ < request_.size()) {
    const auto n = ::recv(fd(), request_.data() + received_, request_.size() - received_, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return Read::more;
    if (n <= 0) return Read::end;
    received_ += static_cast<std::size_t>(n);
  }
  has_request_ = true;
  return Read::request;
}

std::int32_t Connection::request() const { return static_cast<std::int32_t>(ByteReader(request_).host32()); }

void Connection::discard_input() {
  std::array<char, 4096> nowhere;
  for (int i = 0; i < 16; ++i) {
    const auto n = ::recv(fd(), nowhere.data(), nowhere.size(), 0);
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n == 0 && !input_ended_) {
      input_ended_ = true;  // a client may end its side and still read the answer
      update_events();
    }
    return;
  }
}

std::uint32_t Connection::wanted_events() const {
  return (input_ended_ ? 0U : EPOLLIN) | (pending() != 0 || finishing_ || failed_ ? EPOLLOUT : 0U);
}

void Connection::write(std::string_view text) {
  if (!usable() || text.empty()) return;
  if (sent_ > buffer_.size() / 2) {
    buffer_.erase(0, sent_);
    sent_ = 0;
  }
  const bool idle = pending() == 0;
  buffer_.append(text);
  // Not sent on if earlier text waits: the loop does that. The loop also drops a connection that failed.
  if (idle) flush();
}

void Connection::finish() {
  if (!usable()) return;
  finishing_ = true;
  waiter_ = nullptr;
  update_events();
}

bool Connection::flush() {
  if (failed_) return false;
  const bool was_full = pending() >= kBufferSize / 2;
  const auto sent_before = sent_;
  while (pending() != 0) {
    const auto n = ::send(fd(), buffer_.data() + sent_, pending(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      failed_ = true;
      buffer_ = {};
      sent_ = 0;
      update_events();
      return false;
    }
    sent_ += static_cast<std::size_t>(n);
  }
  if (pending() == 0) {
    stalled_since_.reset();
  } else if (!stalled_since_ || sent_ != sent_before) {
    stalled_since_ = loop_.now();
  }
  if (pending() == 0) {
    buffer_.clear();
    sent_ = 0;
  }
  if (was_full && pending() < kBufferSize / 2) wake_waiter();
  update_events();
  return true;
}

void Connection::flush_until(TimePoint end) {
  while (flush() && pending() != 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - loop_.now());
    if (left.count() <= 0) return;
    pollfd socket{.fd = fd(), .events = POLLOUT, .revents = 0};
    ::poll(&socket, 1, static_cast<int>(left.count()));
  }
}

void Connection::wake_waiter() {
  if (waiter_ != nullptr) waiter_->wake();
}

void Connection::close() {
  if (!open_) return;
  open_ = false;
  loop_.unwatch(fd());
  fd_.reset();
  wake_waiter();
  waiter_ = nullptr;
}

}  // namespace ctsync::control
