// SPDX-License-Identifier: GPL-2.0-or-later
// Puts the fragments of IP packets together again, if they come in order, as every sender sends them. What remains incomplete is
// handed out as far as it goes, as a packet that the capture has cut off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ip_packet.h"

namespace ctsync::capture {

class Fragments {
 public:
  static constexpr std::size_t kMost = 16;         // packets at a time
  static constexpr std::size_t kLongest = 65'535;  // bytes of a packet

  // A packet that is whole now, or one that will not be: the oldest of too many, or one of which a fragment is missing.
  // Its payload is valid until the next call.
  std::optional<IpPacket> add(const IpPacket& fragment);
  // At the end: the next one that is still incomplete.
  std::optional<IpPacket> take();
  // Fragments whose beginning was not there: nobody knows what they belong to.
  std::uint64_t without_beginning() const { return without_beginning_; }

 private:
  struct Pending {
    IpPacket packet;
    std::vector<std::uint8_t> bytes;
  };

  std::optional<IpPacket> begin(const IpPacket& first);
  IpPacket hand_out(std::vector<Pending>::iterator which);
  std::vector<Pending>::iterator find(const IpPacket& fragment);

  std::vector<Pending> pending_;  // the oldest first
  Pending done_;
  std::uint64_t without_beginning_ = 0;
};

}  // namespace ctsync::capture
