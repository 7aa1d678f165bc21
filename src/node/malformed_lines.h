// SPDX-License-Identifier: GPL-2.0-or-later
// Which lines about malformed messages may be written: for each sender and kind one a minute, of all together one a second.
// Senders can be made up, so that only the last ones are remembered.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "ctsync/base/clock.h"
#include "ctsync/flow/ip_address.h"

namespace ctsync::node {

class MalformedLines {
 public:
  static constexpr Duration kSpacing = std::chrono::minutes(1);
  static constexpr Duration kPause = std::chrono::seconds(1);

  // A message of `from` is of this kind. How many such were held back since the last line about it, if there may be one now.
  std::optional<std::uint64_t> allow(const IpAddress& from, std::uint8_t kind, TimePoint now) {
    Entry& e = entry_of(from, kind);
    const bool too_soon = (e.told_at && now - *e.told_at < kSpacing) || (told_at_ && now - *told_at_ < kPause);
    if (too_soon) {
      ++e.held_back;
      return std::nullopt;
    }
    e.told_at = told_at_ = now;
    return std::exchange(e.held_back, 0);
  }

 private:
  struct Entry {
    IpAddress from;
    std::uint8_t kind = 0;
    std::optional<TimePoint> told_at;
    std::uint64_t held_back = 0;
  };

  // If it is new, in the place of the one that was told longest ago.
  Entry& entry_of(const IpAddress& from, std::uint8_t kind) {
    Entry* oldest = entries_.data();
    for (Entry& e : entries_) {
      if (e.kind == kind && e.from == from) return e;
      if (e.told_at < oldest->told_at) oldest = &e;
    }
    *oldest = {.from = from, .kind = kind, .told_at = {}, .held_back = 0};
    return *oldest;
  }

  std::array<Entry, 64> entries_;
  std::optional<TimePoint> told_at_;  // of all
};

}  // namespace ctsync::node
