// SPDX-License-Identifier: GPL-2.0-or-later
// Names of layer-4 protocols. The well-known ones are built in, because a filter must not depend on whether
// /etc/protocols is installed: a minimal Debian has none, and `Protocol Accept' would lose what it cannot name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ctsync::config {

// The number of a built-in name, else what the system's database says. As in getprotobyname(3), case matters and
// aliases count: `sctp' and `SCTP', but not `Sctp'. Empty for names that neither knows and for numbers above 255.
std::optional<std::uint8_t> protocol_number(const std::string& name);

// The built-in name that was probably meant: the same but for case and punctuation. Empty if there is none.
std::string_view similar_protocol(std::string_view name);

}  // namespace ctsync::config
