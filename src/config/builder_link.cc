// SPDX-License-Identifier: GPL-2.0-or-later
// The statements of `Multicast`, `UDP` and `TCP` (spec config.md 9).
#include <fmt/format.h>
#include <net/if.h>

#include "builder.h"

namespace ctsync::config {

void Builder::begin_link(Position where, LinkKind kind, bool is_default) {
  if (!config.links.empty() && config.links.front().kind != kind) {
    report_.error(where, fmt::format("cannot use `{}' with other dedicated link protocols!", to_string(kind)));
  } else if (config.links.size() >= kMaxLinks) {
    report_.error(where, fmt::format("too many dedicated links in the configuration file (Maximum: {})", kMaxLinks));
  }
  link_ = {};
  link_.kind = kind;
  link_.is_default = is_default;
  link_.line = where.line;
  link_.column = where.column;
}

void Builder::end_link() {
  if (config.links.size() < kMaxLinks) config.links.push_back(link_);
}

void Builder::link_interface(Position where, std::string_view name) {
  link_.interface = name;
  if (if_nametoindex(link_.interface.c_str()) == 0) {
    report_.warning(where, fmt::format("{} is an invalid interface", printable(name)));
  }
}

void Builder::link_quoted_interface(Position where, std::string_view quoted) {
  const std::string_view name = quoted.substr(1, quoted.size() - 2);
  if (name.empty() || name.find('\0') != std::string_view::npos) {
    report_.error(where, fmt::format("{} cannot be the name of an interface", printable(quoted)));
    return;
  }
  link_interface(where, name);
}

// The last address decides the family of a UDP or TCP link. In a Multicast block the first one does, and an address of
// the other family is kept only to make check_start() refuse the link.
void Builder::link_address(Position where, Family family, std::string_view text) {
  const std::optional<IpAddress> address = checked_ip(where, family, text);
  if (!address) return;
  link_.address = *address;
  if (link_.kind == LinkKind::multicast && link_.family != Family::none && link_.family != family) {
    report_.warning(where, family == Family::ipv4
                               ? "your multicast address is IPv4 but is binded to an IPv6 interface? Surely, this is "
                                 "not what you want"
                               : "your multicast address is IPv6 but is binded to an IPv4 interface? Surely this is "
                                 "not what you want");
    return;
  }
  link_.family = family;
}

void Builder::link_ipv4_interface(Position where, std::string_view text) {
  const std::optional<IpAddress> address = checked_ip(where, Family::ipv4, text);
  if (!address) return;
  if (link_.family == Family::ipv6) {
    report_.warning(where,
                    "your multicast interface is IPv4 but is binded to an IPv6 interface? Surely, this is not "
                    "what you want");
    return;
  }
  link_.family = Family::ipv4;
  link_.ipv4_interface = *address;
}

void Builder::warn_ipv6_interface(Position where) { report_.warning(where, "`IPv6_interface' not required, ignoring"); }

void Builder::link_destination(Position where, Family family, std::string_view text) {
  const std::optional<IpAddress> address = checked_ip(where, family, text);
  if (!address) return;
  link_.destination = *address;
  link_.family = family;
}

void Builder::link_port(const Number& port) {
  link_.port = to_u16(port, link_.kind == LinkKind::multicast ? "Group" : "Port");
}

void Builder::link_buffer(std::optional<std::uint32_t> LinkConfig::*member, const Number& bytes) {
  const std::uint32_t value = to_u32(bytes);
  link_.*member = value != 0 ? std::optional(value) : std::nullopt;
}

void Builder::finish_link(LinkConfig& link) {
  const Position where{.line = link.line, .column = link.column};
  const bool is_multicast = link.kind == LinkKind::multicast;
  if (link.port == 0) {
    report_.warning(where, fmt::format("{} link has no `{}', it uses a random port and nothing will be exchanged",
                                       to_string(link.kind), is_multicast ? "Group" : "Port"));
  }
  if (is_multicast) return;
  if (link.destination.is_set() && link.destination.family != link.family) {
    report_.warning(
        where, fmt::format("{} link has addresses of both families, ignoring the destination", to_string(link.kind)));
    link.destination = {};
  }
  if (!link.destination.is_set()) {
    report_.warning(
        where, fmt::format("{} link has no destination address, nothing will reach the peer", to_string(link.kind)));
  }
}

}  // namespace ctsync::config
