// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses as text.
#pragma once

#include <arpa/inet.h>

#include <optional>
#include <string>
#include <string_view>

#include "ctsync/config/ip_address.h"

namespace ctsync::config {

inline std::optional<IpAddress> parse_ip(int family, std::string_view text) {
  IpAddress address{.family = family};
  if (inet_pton(family, std::string(text).c_str(), address.bytes.data()) != 1) return std::nullopt;
  return address;
}

}  // namespace ctsync::config
