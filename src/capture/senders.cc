// SPDX-License-Identifier: GPL-2.0-or-later
#include "senders.h"

#include <fmt/format.h>

#include <iterator>
#include <numeric>

namespace ctsync::capture {

Sender* Senders::find(const IpAddress& address) {
  if (const auto at = senders_.find(address); at != senders_.end()) return &at->second;
  return senders_.size() < kMost ? &senders_[address] : nullptr;
}

std::uint64_t Senders::messages() const {
  std::uint64_t sum = others_;
  for (const auto& [address, s] : senders_) sum += std::reduce(s.messages.begin(), s.messages.end());
  return sum;
}

void Senders::append(std::string& out) const {
  const auto to = std::back_inserter(out);
  for (const auto& [address, s] : senders_) {
    fmt::format_to(to, "{}:", to_string(address));
    const char* separator = " ";
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      if (s.messages[kind] == 0) continue;
      fmt::format_to(to, "{}{} {}", separator, s.messages[kind], kKindWords[kind]);
      separator = ", ";
    }
    fmt::format_to(to, "; {} missing, {} repeated\n", s.track.missing(), s.track.repeated());
  }
  if (others_ != 0) fmt::format_to(to, "further senders: {} messages\n", others_);
}

}  // namespace ctsync::capture
