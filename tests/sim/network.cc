// SPDX-License-Identifier: GPL-2.0-or-later
#include "network.h"

namespace ctsync::sim {

void Network::send(std::size_t from, std::span<const std::uint8_t> bytes, TimePoint now) {
  last_[from].assign(bytes.begin(), bytes.end());
  if (cut_[from]) return;
  for (std::size_t to = 0; to < nodes_; ++to) {
    if (to == from || cut_[to]) continue;
    const int copies = random_.chance(faults_.duplicate) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      if (random_.chance(faults_.loss)) continue;
      Delivery d{now + kDelay, order_++, from, to, {bytes.begin(), bytes.end()}};
      if (random_.chance(faults_.reorder)) d.at += random_.time_up_to(faults_.max_delay);
      if (random_.chance(faults_.corrupt)) damage(d.bytes);
      queue_.push(std::move(d));
    }
  }
}

void Network::damage(std::vector<std::uint8_t>& bytes) {
  switch (random_.below(3)) {
    case 0:
      bytes.resize(random_.below(static_cast<std::uint32_t>(bytes.size())));
      break;
    case 1: {
      const std::uint32_t bit = random_.below(32);
      bytes[4 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      break;
    }
    default:
      for (auto& b : bytes) b = static_cast<std::uint8_t>(random_.next());
  }
}

}  // namespace ctsync::sim
