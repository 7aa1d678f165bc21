// SPDX-License-Identifier: GPL-2.0-or-later
#include "service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "ctsync/base/unique_fd.h"

namespace ctsync::daemon {

ServiceNotify::ServiceNotify(bool enabled) {
  const char* path = enabled ? std::getenv("NOTIFY_SOCKET") : nullptr;
  if (path != nullptr && (path[0] == '/' || path[0] == '@') && path[1] != '\0') path_ = path;
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

std::optional<Duration> ServiceNotify::watchdog_interval() const {
  const char* text = std::getenv("WATCHDOG_USEC");
  if (path_.empty() || text == nullptr) return std::nullopt;
  std::uint64_t usec = 0;
  const auto* end = text + std::strlen(text);
  if (std::from_chars(text, end, usec).ptr != end || usec == 0 || usec > std::uint64_t{1} << 40) return std::nullopt;
  return std::chrono::microseconds(usec / 2);
}

}  // namespace ctsync::daemon
