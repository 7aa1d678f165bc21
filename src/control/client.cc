// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/client.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "ctsync/base/bytes.h"
#include "ctsync/base/unique_fd.h"
#include "socket_address.h"

namespace ctsync::control {
namespace {

// Words that scripts look for; path and reason stand behind them.
constexpr const char* kCannotConnect = "can't connect: is conntrackd running? appropriate permissions?";

std::unexpected<Error> cannot_connect(const std::string& path) {
  const int code = errno;
  return fail(fmt::format("{} ({}: {})", kCannotConnect, path, std::strerror(code)), code);
}

Result<UniqueFd> connect_to(const std::string& path) {
  const auto address = SocketAddress::of(path);
  if (!address) return std::unexpected(address.error());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), address->data(), SocketAddress::size()) < 0) return cannot_connect(path);
  return fd;
}

Result<> send_request(int fd, Request request) {
  std::array<std::uint8_t, sizeof(std::int32_t)> bytes{};
  ByteWriter(bytes).host32(static_cast<std::uint32_t>(request));
  // Four bytes fit into the buffer of a fresh socket.
  if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
    return fail_errno("can't send request");
  }
  return {};
}

Result<> write_all(int fd, std::span<const char> text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("can't write the answer");
    text = text.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Result<> copy_answer(int from, int to) {
  std::array<char, 16 * 1024> piece;
  for (;;) {
    const auto n = ::recv(from, piece.data(), piece.size(), 0);
    if (n == 0) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("lost the connection to the daemon");
    if (auto r = write_all(to, std::span(piece).first(static_cast<std::size_t>(n))); !r) return r;
  }
}

Result<> converse(const std::string& path, Request request, int output_fd) {
  const auto fd = connect_to(path);
  if (!fd) return std::unexpected(fd.error());
  if (auto r = send_request(fd->get(), request); !r) return r;
  return copy_answer(fd->get(), output_fd);
}

}  // namespace

int run_client(const std::string& socket_path, Request request, Log& log, int output_fd) {
  const auto r = converse(socket_path, request, output_fd);
  if (r) return 0;
  log.error("{}", r.error().text);
  return 1;
}

}  // namespace ctsync::control
