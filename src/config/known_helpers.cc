// SPDX-License-Identifier: GPL-2.0-or-later
#include <netinet/in.h>

#include <array>

#include "ctsync/config/helper_config.h"

namespace ctsync::config {
namespace {

// spec helpers.md 3
constexpr auto kKnownHelpers = std::to_array<KnownHelper>({
    {"amanda", IPPROTO_UDP, 3, 180},
    {"dhcpv6", IPPROTO_UDP, 1, 300},
    {"ftp", IPPROTO_TCP, 1, 300},
    {"mdns", IPPROTO_UDP, 8, 30},
    {"rpc", IPPROTO_TCP, 1, 300},
    {"rpc", IPPROTO_UDP, 1, 300},
    {"sane", IPPROTO_TCP, 1, 300},
    {"slp", IPPROTO_UDP, 8, 16},
    {"ssdp", IPPROTO_TCP, 8, 300},
    {"ssdp", IPPROTO_UDP, 8, 300},
    {"tftp", IPPROTO_UDP, 1, 300},
    {"tns", IPPROTO_TCP, 1, 300},
});

}  // namespace

std::span<const KnownHelper> known_helpers() { return kKnownHelpers; }

}  // namespace ctsync::config
