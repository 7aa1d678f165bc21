// SPDX-License-Identifier: GPL-2.0-or-later
// What a link must know of its network interface, and who tells: the one who keeps account of all interfaces.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "ctsync/flow/ip_address.h"
#include "ctsync/flow/link_kind.h"

namespace ctsync::link {

struct InterfaceInfo {
  std::uint32_t index = 0;  // 0 = there is no such interface
  std::uint32_t mtu = 0;    // bytes
  bool up = false;
  bool running = false;

  LinkState state() const { return !up ? LinkState::down : running ? LinkState::running : LinkState::no_carrier; }
};

// The interface of this name as it is now; nothing if there is none.
using FindInterface = std::function<std::optional<InterfaceInfo>(std::string_view name)>;

// The addresses of this machine, of all its interfaces, loopback as well.
std::vector<IpAddress> own_addresses();

}  // namespace ctsync::link
