// SPDX-License-Identifier: GPL-2.0-or-later
// The statements of `Filter` (spec config.md 6).
#include <fmt/format.h>

#include <algorithm>

#include "builder.h"
#include "known_protocols.h"

namespace ctsync::config {
namespace {

// Clears what lies behind the first `prefix` bits.
void mask(IpAddress& address, unsigned prefix) {
  for (unsigned i = 0; i < address.bytes.size(); ++i) {
    const unsigned kept = prefix > 8 * i ? std::min(prefix - 8 * i, 8U) : 0;
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] & (0xff00U >> kept));
  }
}

}  // namespace

void Builder::set_action(Position where, std::optional<FilterAction>& action, FilterAction value,
                         std::string_view what) {
  if (action && *action != value) {
    report_.warning(where, fmt::format("this action replaces that of the earlier `{}' list, the entries of both lists "
                                       "count as one list",
                                       what));
  }
  action = value;
}

void Builder::filter_protocols(Position where, FilterAction action) {
  set_action(where, config.filter.protocol_action, action, "Protocol");
}

void Builder::filter_addresses(Position where, FilterAction action) {
  set_action(where, config.filter.address_action, action, "Address");
}

void Builder::filter_states(Position where, FilterAction action) {
  set_action(where, config.filter.state_action, action, "State");
}

void Builder::filter_ports(Position where, FilterAction action) {
  set_action(where, config.filter.port_action, action, "Port");
}

void Builder::filter_port(const Number& port) {
  if (port.value == 0 || port.value > 65535) {
    report_.error(port.where, fmt::format("{} is no port: 1 to 65535", printable(port.text)));
    return;
  }
  config.filter.ports.push_back(static_cast<std::uint16_t>(port.value));
}

void Builder::filter_protocol(Position where, std::string_view name) {
  const std::optional<std::uint8_t> number = protocol_number(std::string(name));
  if (!number) {
    const std::string_view similar = similar_protocol(name);
    report_.warning(where,
                    fmt::format("getprotobyname() cannot find protocol `{}' in /etc/protocols, leaving it out of the "
                                "filter{}",
                                printable(name), similar.empty() ? "" : fmt::format("; did you mean `{}'?", similar)));
    return;
  }
  if (seen_protocols_.insert(*number).second) config.filter.protocols.push_back(*number);
}

void Builder::filter_address(Position where, Family family, std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view ip = text.substr(0, slash);
  const unsigned longest = family == Family::ipv4 ? 32 : 128;
  unsigned prefix = longest;
  if (slash != std::string_view::npos) {
    const Number given = make_number(text.substr(slash + 1), where);
    if (given.value > longest) {
      report_.warning(where, fmt::format("{} is not a valid network, ignoring", printable(text)));
      return;
    }
    prefix = static_cast<unsigned>(given.value);
  }
  std::optional<IpAddress> address = parse_ip(family, ip);
  if (!address) {
    report_.warning(where, fmt::format("{} is not a valid {}, ignoring", printable(ip), to_string(family)));
    return;
  }
  mask(*address, prefix);
  if (seen_addresses_.emplace(*address, prefix).second) {
    config.filter.addresses.push_back({*address, prefix});
  } else if (family == Family::ipv4 && prefix != longest) {
    report_.warning(where, fmt::format("netmask {} is repeated in the ignore pool", printable(ip)));
  }
}

void Builder::filter_state(unsigned state) {
  config.filter.tcp_states = static_cast<std::uint16_t>(config.filter.tcp_states | (1U << state));
}

}  // namespace ctsync::config
