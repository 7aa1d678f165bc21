// SPDX-License-Identifier: GPL-2.0-or-later
#include "exchange.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "ctsync/base/bytes.h"
#include "socket_address.h"

namespace ctsync::control {
namespace {

std::unexpected<Error> fail_with_reason() {
  const int code = errno;
  return fail(std::strerror(code), code);
}

}  // namespace

// Four bytes fit into the buffer of a fresh socket.
bool send_request(int fd, Request request) {
  std::array<std::uint8_t, sizeof(std::int32_t)> bytes{};
  ByteWriter(bytes).host32(static_cast<std::uint32_t>(request));
  return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

Exchange::Exchange(EventLoop& loop, std::string path, Request request, Done done)
    : loop_(loop), path_(std::move(path)), request_(request), done_(std::move(done)) {}

Exchange::~Exchange() {
  if (fd_) loop_.unwatch(fd_.get());
}

void Exchange::begin() {
  answer_.clear();
  if (auto r = ask(); !r) {
    fd_.reset();
    done_(std::unexpected(r.error()));
  }
}

Result<> Exchange::ask() {
  const auto address = SocketAddress::of(path_);
  if (!address) return std::unexpected(address.error());
  fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd_ || ::connect(fd_.get(), address->data(), SocketAddress::size()) < 0) return fail_with_reason();
  if (!send_request(fd_.get(), request_)) return fail_with_reason();
  return loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t) { on_readable(); });
}

void Exchange::on_readable() {
  std::array<char, 16 * 1024> piece;
  for (;;) {
    const auto n = ::recv(fd_.get(), piece.data(), piece.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) return end(fail_with_reason());
    if (n == 0) return end(std::move(answer_));
    answer_.append(piece.data(), static_cast<std::size_t>(n));
    if (answer_.size() > kMostBytes) return end(fail("the answer is too long"));
  }
}

void Exchange::end(Result<std::string> answer) {
  loop_.unwatch(fd_.get());
  fd_.reset();
  done_(std::move(answer));
}

}  // namespace ctsync::control
