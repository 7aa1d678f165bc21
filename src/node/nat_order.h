// SPDX-License-Identifier: GPL-2.0-or-later
// Finds out that a peer has the bytes of translated IPv4 addresses in the opposite order, as those up to conntrackd 1.4.6 have
// (doc/wire-format.md, 3). A message does not tell; but an address that nobody here knows, and that is known when its bytes
// are turned, does.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/flow/flow.h"
#include "ctsync/flow/ip_address.h"

namespace ctsync::node {

class NatOrder {
 public:
  // `own`: the addresses of this machine; may be empty.
  explicit NatOrder(std::function<std::vector<IpAddress>()> own) : read_own_(std::move(own)) {}

  // A flow that began in this node's kernel: to what that translates is known from now on.
  void began_here(const Flow& f);
  // An address to which a peer's flow is translated, as it was told, that makes sense only with its bytes turned.
  std::optional<Address> turned(const Flow& f, TimePoint now);

 private:
  static constexpr Duration kReadAgain = std::chrono::seconds(10);

  static std::size_t place_of(std::uint32_t address) { return (address * 0x9e3779b1U) >> 24; }
  void remember(const Address& ipv4);
  bool knows(std::uint32_t address) const;
  bool is_turned(const Address& ipv4) const;

  std::function<std::vector<IpAddress>()> read_own_;
  std::vector<std::uint32_t> own_;
  std::optional<TimePoint> own_at_;  // when they were read
  // Those that the kernel translates to, by place_of(): the latest of each place. 0 is none.
  std::array<std::uint32_t, 256> kernels_{};
};

}  // namespace ctsync::node
