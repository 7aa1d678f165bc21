// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/terminal_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <climits>

#include "ctsync/base/unique_fd.h"

namespace ctsync {
namespace {

ssize_t write_without_waiting(int fd, mode_t kind, std::string_view data) {
  if (S_ISREG(kind)) return ::write(fd, data.data(), data.size());
  if (S_ISSOCK(kind)) return ::send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  const UniqueFd own(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (own) return ::write(own.get(), data.data(), data.size());
  // No /proc, no permission, or no reader. What poll calls writable takes this much of a pipe at least.
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) > 0) return ::write(fd, data.data(), std::min<std::size_t>(data.size(), PIPE_BUF));
  errno = EAGAIN;
  return -1;
}

}  // namespace

bool TerminalWriter::same_place(const TerminalWriter& other) const {
  struct stat a {
  }, b{};
  return ::fstat(fd_, &a) == 0 && ::fstat(other.fd_, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::size_t TerminalWriter::pass_on(std::string_view data) {
  struct stat info {};
  if (::fstat(fd_, &info) < 0) return data.size();
  const auto n = write_without_waiting(fd_, info.st_mode, data);
  if (n >= 0) return static_cast<std::size_t>(n);
  // Full for now, or gone for good, and with it everybody who could miss these lines.
  const bool full = errno == EAGAIN || errno == EINTR || errno == ENOSPC || errno == EDQUOT || errno == ENOBUFS;
  return full ? 0 : data.size();
}

}  // namespace ctsync
