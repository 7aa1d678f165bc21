// SPDX-License-Identifier: GPL-2.0-or-later
// What kind of transport a dedicated link is, and the state of its interface.
#pragma once

#include <cstdint>
#include <string_view>

namespace ctsync {

enum class LinkKind : std::uint8_t { multicast, udp, tcp };
// The word of the configuration file: "Multicast", "UDP", "TCP".
std::string_view to_string(LinkKind kind);

enum class LinkState : std::uint8_t {
  running,
  no_carrier,  // up, but not running
  down,        // or there is no such interface
};
// As `-s link` prints it (spec cli.md 7.7): "RUNNING", "NO-CARRIER", "DOWN".
std::string_view to_string(LinkState state);

}  // namespace ctsync
