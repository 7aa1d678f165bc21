// SPDX-License-Identifier: GPL-2.0-or-later
// The flow filter of spec config.md 6 (user-space semantics): protocol, address, TCP state and, not known to conntrackd, port,
// each a list with one action. A flow passes if it agrees with every criterion for which an action was given. Thousands of networks cost one
// look-up per distinct prefix length, not a scan.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <vector>

#include "ctsync/flow/flow.h"

namespace ctsync {

enum class FilterAction : std::uint8_t { accept, ignore };

struct Network {
  Address address;      // host bits are zero
  std::uint8_t prefix;  // bits
};

// Networks of both families, looked up from the longest prefix to the shortest.
class NetworkSet {
 public:
  // `prefix` in bits, at most 32 or 128. Host bits of `network` are ignored.
  void add(Family family, const Address& network, std::uint8_t prefix);
  bool contains(Family family, const Address& a) const;
  bool empty() const { return v4_.empty() && v6_.empty(); }
  std::vector<Network> list(Family family) const;  // each once, in no particular order

 private:
  struct Level {
    std::uint8_t prefix;
    std::vector<Address> sorted;  // masked
  };
  std::vector<Level> v4_;
  std::vector<Level> v6_;
};

class FlowFilter {
 public:
  // Kernel TCP state numbers 0 to 15.
  using TcpStates = std::bitset<16>;

  void set_protocols(FilterAction action, const std::vector<std::uint8_t>& numbers);
  void set_addresses(FilterAction action, NetworkSet networks);
  void set_tcp_states(FilterAction action, TcpStates states);
  // Of the destination, before or after DNAT. Flows of protocols without ports are not tested.
  void set_ports(FilterAction action, std::vector<std::uint16_t> ports);

  bool active() const { return protocol_action_ || address_action_ || state_action_ || port_action_; }

  // What was set; a list without its action means nothing.
  std::optional<FilterAction> protocol_action() const { return protocol_action_; }
  std::optional<FilterAction> address_action() const { return address_action_; }
  std::optional<FilterAction> state_action() const { return state_action_; }
  std::optional<FilterAction> port_action() const { return port_action_; }
  const std::bitset<256>& protocols() const { return protocols_; }
  const NetworkSet& networks() const { return networks_; }
  const TcpStates& tcp_states() const { return states_; }
  const std::vector<std::uint16_t>& ports() const { return ports_; }  // each once, ascending

  // `destroyed`: the flow ended. The state criterion is not applied then, or entries would never leave the caches (spec
  // replication.md 4.6). The addresses compared are the original source and the reply source; in flows without a reply
  // tuple (from the wire) the original destination takes the place of the latter unless DNAT is known.
  bool accepts(const Flow& f, bool destroyed = false) const;

 private:
  std::optional<FilterAction> protocol_action_;
  std::optional<FilterAction> address_action_;
  std::optional<FilterAction> state_action_;
  std::optional<FilterAction> port_action_;
  std::bitset<256> protocols_;
  NetworkSet networks_;
  TcpStates states_;
  std::vector<std::uint16_t> ports_;
};

}  // namespace ctsync
