// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/syslog_writer.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <iterator>

namespace ctsync {
namespace {

std::string message(int priority, std::string_view text) {
  const auto now = static_cast<std::time_t>(SystemClock().wall_seconds());
  std::tm local{};
  ::localtime_r(&now, &local);
  char date[32] = "";
  std::strftime(date, sizeof date, "%h %e %T", &local);
  auto line = fmt::format("<{}>{} conntrack-tools[{}]: {}", priority, date, ::getpid(), text);
  std::replace(line.begin(), line.end(), '\0', ' ');  // it ends a line here
  return line;
}

}  // namespace

SyslogWriter::SyslogWriter(int facility, std::size_t limit, std::string path)
    : LineWriter('\0', limit,
                 [facility](std::uint64_t lost) {
                   return message(facility | LOG_WARNING, fmt::format("{} lines were lost", lost));
                 }),
      facility_(facility),
      path_(std::move(path)) {}

void SyslogWriter::add(int priority, std::string_view text) { LineWriter::add(message(facility_ | priority, text)); }

bool SyslogWriter::connect_as(int type) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path_.copy(to.sun_path, sizeof to.sun_path - 1);
  socket_.reset(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket_ && ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return true;
  const int error = errno;
  socket_.reset();
  errno = error;
  return false;
}

// Some syslog daemons offer a stream, in which a null character ends a message.
bool SyslogWriter::connect() {
  if (socket_) return true;
  stream_ = !connect_as(SOCK_DGRAM) && errno == EPROTOTYPE && connect_as(SOCK_STREAM);
  return static_cast<bool>(socket_);
}

std::size_t SyslogWriter::pass_on(std::string_view data) {
  if (!connect()) return 0;
  const auto line = data.substr(0, data.find('\0'));
  const auto bytes = stream_ ? data : line;
  const auto n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (n >= 0) return stream_ ? static_cast<std::size_t>(n) : line.size() + 1;
  if (errno == EMSGSIZE) return line.size() + 1;  // will never fit
  if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) return 0;
  // The daemon has gone. The next one makes a socket of its own, and must not get the rest of a line.
  socket_.reset();
  begin_again();
  return 0;
}

}  // namespace ctsync
