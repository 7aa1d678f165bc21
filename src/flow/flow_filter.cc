// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/flow_filter.h"

#include <algorithm>
#include <utility>

namespace ctsync {
namespace {

Address masked(const Address& a, unsigned prefix) {
  Address m{};
  const unsigned whole = prefix / 8;
  std::copy_n(a.begin(), whole, m.begin());
  if (prefix % 8 != 0) m[whole] = static_cast<std::uint8_t>(a[whole] & (0xff00U >> (prefix % 8)));
  return m;
}

bool agrees(std::optional<FilterAction> action, bool match) {
  return !action || match == (*action == FilterAction::accept);
}

}  // namespace

void NetworkSet::add(Family family, const Address& network, std::uint8_t prefix) {
  auto& levels = family == Family::ipv4 ? v4_ : v6_;
  prefix = std::min<std::uint8_t>(prefix, family == Family::ipv4 ? 32 : 128);
  auto level = std::find_if(levels.begin(), levels.end(), [&](const Level& l) { return l.prefix == prefix; });
  if (level == levels.end()) level = levels.insert(levels.end(), Level{prefix, {}});
  const auto m = masked(network, prefix);
  auto& sorted = level->sorted;
  const auto at = std::lower_bound(sorted.begin(), sorted.end(), m);
  if (at == sorted.end() || *at != m) sorted.insert(at, m);
}

bool NetworkSet::contains(Family family, const Address& a) const {
  const auto& levels = family == Family::ipv4 ? v4_ : v6_;
  return std::any_of(levels.begin(), levels.end(), [&](const Level& l) {
    return std::binary_search(l.sorted.begin(), l.sorted.end(), masked(a, l.prefix));
  });
}

std::vector<Network> NetworkSet::list(Family family) const {
  std::vector<Network> all;
  for (const auto& level : family == Family::ipv4 ? v4_ : v6_) {
    for (const auto& address : level.sorted) all.push_back({address, level.prefix});
  }
  return all;
}

void FlowFilter::set_protocols(FilterAction action, const std::vector<std::uint8_t>& numbers) {
  protocol_action_ = action;
  protocols_.reset();
  for (const auto n : numbers) protocols_.set(n);
}

void FlowFilter::set_addresses(FilterAction action, NetworkSet networks) {
  address_action_ = action;
  networks_ = std::move(networks);
}

void FlowFilter::set_tcp_states(FilterAction action, TcpStates states) {
  state_action_ = action;
  states_ = states;
}

void FlowFilter::set_ports(FilterAction action, std::vector<std::uint16_t> ports) {
  port_action_ = action;
  ports_ = std::move(ports);
  std::ranges::sort(ports_);
  ports_.erase(std::ranges::unique(ports_).begin(), ports_.end());
}

bool FlowFilter::accepts(const Flow& f, bool destroyed) const {
  if (!agrees(protocol_action_, protocols_.test(f.orig.l4))) return false;
  if (address_action_) {
    const bool far_known = f.knows(has::kReply) || f.knows(has::kDnat);
    const Address& far = far_known ? f.reply_src : f.orig.dst;
    const bool match = networks_.contains(f.orig.family, f.orig.src) || networks_.contains(f.orig.family, far);
    if (!agrees(address_action_, match)) return false;
  }
  if (port_action_ && (has_ports(f.orig.l4) || f.orig.l4 == kUdpLite)) {
    const bool changed_known = f.knows(has::kReply) || f.knows(has::kDnatPort);
    const bool match = std::ranges::binary_search(ports_, f.orig.dst_port) ||
                       (changed_known && std::ranges::binary_search(ports_, f.reply_src_port));
    if (!agrees(port_action_, match)) return false;
  }
  const bool testable = !destroyed && f.orig.l4 == kTcp && f.knows(has::kProtoState) && f.proto_state < states_.size();
  return !testable || agrees(state_action_, states_.test(f.proto_state));
}

}  // namespace ctsync
