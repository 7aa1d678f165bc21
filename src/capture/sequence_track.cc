// SPDX-License-Identifier: GPL-2.0-or-later
#include "sequence_track.h"

#include <algorithm>

#include "ctsync/replication/sequence.h"

namespace ctsync::capture {

using replication::Relation;

Seen SequenceTrack::see(std::uint32_t seq, bool hello) {
  const bool anew = hello && !hello_;
  hello_ = hello;
  if (!begun_) return begin(seq, Order::next);
  const std::uint32_t missing = seq - next_;
  switch (replication::relation(seq, next_)) {
    case Relation::expected:
      ++next_;
      return {};
    case Relation::before:
      return see_before(seq, anew);
    case Relation::after:
      break;
  }
  if (anew) return begin(seq, Order::restarted);
  if (missing >= kFar) return begin(seq, Order::elsewhere);
  if (gaps_.size() == kMostGaps) gaps_.erase(gaps_.begin());
  gaps_.push_back({.from = next_, .to = seq - 1});
  missing_ += missing;
  next_ = seq + 1;
  return {Order::gap, missing};
}

// A node that restarts after more than a message a second begins before where it was.
Seen SequenceTrack::see_before(std::uint32_t seq, bool anew) {
  if (fill(seq)) return {Order::late};
  const bool just_now = next_ - seq == 1;
  if (anew && !just_now) return begin(seq, Order::restarted);
  if (!replication::is_before(seq, first_)) {
    ++repeated_;
    return {Order::repeated};
  }
  if (hello_) return begin(seq, Order::restarted);
  return first_ - seq < kFar ? Seen{Order::late} : begin(seq, Order::elsewhere);
}

Seen SequenceTrack::begin(std::uint32_t seq, Order order) {
  begun_ = true;
  first_ = seq;
  next_ = seq + 1;
  gaps_.clear();
  return {order};
}

bool SequenceTrack::fill(std::uint32_t seq) {
  const auto within = [&](const wire::NumberRange& g) {
    return !replication::is_before(seq, g.from) && !replication::is_after(seq, g.to);
  };
  const auto at = std::ranges::find_if(gaps_, within);
  if (at == gaps_.end()) return false;
  --missing_;
  const wire::NumberRange whole = *at;
  const wire::NumberRange behind{.from = seq + 1, .to = whole.to};
  if (seq == whole.from && seq == whole.to) {
    gaps_.erase(at);
  } else if (seq == whole.from) {
    *at = behind;
  } else {
    at->to = seq - 1;
    if (seq != whole.to && gaps_.size() < kMostGaps) gaps_.insert(at + 1, behind);
  }
  return true;
}

}  // namespace ctsync::capture
