// SPDX-License-Identifier: GPL-2.0-or-later
#include "socket_address.h"

#include <fmt/format.h>

#include <algorithm>

#include "ctsync/control/server.h"

namespace ctsync::control {

Result<SocketAddress> SocketAddress::of(const std::string& path) {
  static_assert(Server::kMaxPath == sizeof(sockaddr_un::sun_path) - 1);
  if (path.empty()) return fail("no path for the control socket (`UNIX { Path ... }' in the configuration file)");
  if (path.size() > Server::kMaxPath) {
    return fail(fmt::format("path of the control socket `{}' is longer than {} characters", path, Server::kMaxPath));
  }
  SocketAddress a;
  a.address_.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), a.address_.sun_path);
  return a;
}

}  // namespace ctsync::control
