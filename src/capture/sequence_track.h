// SPDX-License-Identifier: GPL-2.0-or-later
// Which sequence numbers of one sender a capture has: what is missing, late, repeated. It is the capture's view, not that of a
// daemon, which asks again and gives up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ctsync/wire/extension.h"

namespace ctsync::capture {

enum class Order : std::uint8_t {
  next,       // as it should be, or the first one
  gap,        // numbers before it are missing
  late,       // it was missing so far, or is older than the first one
  repeated,   // it was there before, or is in a gap that is no longer remembered
  restarted,  // a hello with other numbers: the sender has begun anew
  elsewhere,  // numbers far from the ones before: another sender behind the same address, or a restart
};

struct Seen {
  Order order = Order::next;
  std::uint32_t missing = 0;  // with gap: so many numbers
};

class SequenceTrack {
 public:
  // `hello`: the message has that flag.
  Seen see(std::uint32_t seq, bool hello);

  std::uint64_t missing() const { return missing_; }  // numbers that have not come
  std::uint64_t repeated() const { return repeated_; }

 private:
  static constexpr std::size_t kMostGaps = 64;
  static constexpr std::uint32_t kFar = 1U << 20;

  Seen see_before(std::uint32_t seq, bool anew);
  Seen begin(std::uint32_t seq, Order order);
  bool fill(std::uint32_t seq);

  bool begun_ = false;
  bool hello_ = false;       // the last message had it
  std::uint32_t first_ = 0;  // since the last beginning
  std::uint32_t next_ = 0;
  std::vector<wire::NumberRange> gaps_;  // since then, the latest ones
  std::uint64_t missing_ = 0;
  std::uint64_t repeated_ = 0;
};

}  // namespace ctsync::capture
