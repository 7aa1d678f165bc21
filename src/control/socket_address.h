// SPDX-License-Identifier: GPL-2.0-or-later
// The address of a UNIX socket at a path, for bind and connect (unix(7)).
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "ctsync/base/result.h"

namespace ctsync::control {

class SocketAddress {
 public:
  // Fails for an empty path and for one that does not fit into sun_path.
  static Result<SocketAddress> of(const std::string& path);

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&address_); }
  static constexpr socklen_t size() { return sizeof(sockaddr_un); }

 private:
  sockaddr_un address_{};
};

}  // namespace ctsync::control
