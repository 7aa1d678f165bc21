// SPDX-License-Identifier: GPL-2.0-or-later
#include "service_notify.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "ctsync/base/unique_fd.h"

namespace ctsync::daemon {
namespace {

// A whole number in the environment.
std::optional<std::uint64_t> number_of(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  std::uint64_t value = 0;
  const auto* end = text + std::strlen(text);
  const auto read = std::from_chars(text, end, value);
  if (read.ec != std::errc{} || read.ptr != end) return std::nullopt;
  return value;
}

}  // namespace

ServiceNotify::ServiceNotify(bool enabled) {
  const char* path = enabled ? std::getenv("NOTIFY_SOCKET") : nullptr;
  if (path != nullptr && (path[0] == '/' || path[0] == '@') && path[1] != '\0') path_ = path;
  if (path_.empty()) return;
  const auto watched = number_of("WATCHDOG_PID");
  const auto usec = number_of("WATCHDOG_USEC");
  if (std::getenv("WATCHDOG_PID") != nullptr && watched != static_cast<std::uint64_t>(::getpid())) return;
  if (usec && *usec > 1 && *usec <= std::uint64_t{1} << 40) watchdog_interval_ = std::chrono::microseconds(*usec / 2);
}

void ServiceNotify::reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // what systemd compares with
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000));
}

void ServiceNotify::send(std::string_view assignment) const {
  sockaddr_un to{};
  if (path_.empty() || path_.size() >= sizeof to.sun_path) return;
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return;
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, path_.data(), path_.size());
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
  ::sendto(fd.get(), assignment.data(), assignment.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
           reinterpret_cast<const sockaddr*>(&to), length);
}

}  // namespace ctsync::daemon
