// SPDX-License-Identifier: GPL-2.0-or-later
// The `Filter` blocks of `General`, merged into one list per kind (spec config.md 6): a second block of a kind adds to
// the list and its action replaces the earlier one. A kind without an action is not tested at all; a kind with an
// action and an empty list is (`Accept { }` rejects everything).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ctsync/flow/flow_filter.h"
#include "ctsync/flow/ip_address.h"

namespace ctsync::config {

struct AddressEntry {
  IpAddress address;    // host bits below `prefix` are zero
  unsigned prefix = 0;  // bits; 32 (IPv4) or 128 (IPv6) is a single address
  friend bool operator==(const AddressEntry&, const AddressEntry&) = default;
};

struct FilterConfig {
  bool from_kernelspace = false;  // of the last `Filter` block

  std::optional<FilterAction> protocol_action;
  std::vector<std::uint8_t> protocols;  // layer-4 protocol numbers, each once

  std::optional<FilterAction> address_action;
  std::vector<AddressEntry> addresses;  // each once

  std::optional<FilterAction> state_action;
  std::uint16_t tcp_states = 0;  // bit N: state N of enum tcp_conntrack (linux/netfilter/nf_conntrack_tcp.h)

  std::optional<FilterAction> port_action;
  std::vector<std::uint16_t> ports;

  bool operator==(const FilterConfig&) const = default;
};

}  // namespace ctsync::config
