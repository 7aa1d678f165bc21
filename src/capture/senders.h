// SPDX-License-Identifier: GPL-2.0-or-later
// What was heard of each sender, for the remarks and for the summary.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "ctsync/flow/ip_address.h"
#include "told.h"

namespace ctsync::capture {

struct Sender {
  std::array<std::uint64_t, kKinds> messages{};
  SequenceTrack track;
};

class Senders {
 public:
  static constexpr std::size_t kMost = 256;

  // By its address. Null for one of too many: such are counted together, see others().
  Sender* find(const IpAddress& address);
  void count_other() { ++others_; }

  std::uint64_t messages() const;
  // Appends a line for each.
  void append(std::string& out) const;

 private:
  std::map<IpAddress, Sender> senders_;
  std::uint64_t others_ = 0;  // messages
};

}  // namespace ctsync::capture
