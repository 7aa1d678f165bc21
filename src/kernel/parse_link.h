// SPDX-License-Identifier: GPL-2.0-or-later
// An interface message of rtnetlink (RTM_NEWLINK, RTM_DELLINK) to plain values. Any bytes will do: no I/O, nothing is
// read beyond them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "ctsync/kernel/link_watcher.h"

namespace ctsync::kernel {

struct ParsedLink {
  std::string name;
  LinkInfo info;
};

// `body` is what follows the netlink header. Nothing for what is not a whole interface: port messages of a bridge, and
// nonsense.
std::optional<ParsedLink> parse_link(std::span<const std::uint8_t> body);

}  // namespace ctsync::kernel
