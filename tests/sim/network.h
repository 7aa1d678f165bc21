// SPDX-License-Identifier: GPL-2.0-or-later
// A simulated dedicated link: every datagram goes to all other nodes, as on a multicast group. What may happen on the
// way is said by Faults; without faults it is instant and in order but for a fixed delay.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/random.h"

namespace ctsync::sim {

struct Faults {
  double loss = 0;  // of a datagram
  double duplicate = 0;
  double reorder = 0;  // arrives up to max_delay late
  double corrupt = 0;  // truncated, a sequence number damaged, or replaced by noise
  Duration max_delay{};
};

struct Delivery {
  TimePoint at;
  std::uint64_t order = 0;  // of sending, decides between equal times
  std::size_t from = 0;
  std::size_t to = 0;
  std::vector<std::uint8_t> bytes;
};

class Network {
 public:
  Network(std::size_t nodes, Random& random) : nodes_(nodes), random_(random), cut_(nodes, false), last_(nodes) {}

  void set_faults(const Faults& f) { faults_ = f; }
  void cut(std::size_t node, bool on) { cut_[node] = on; }  // neither sends nor receives
  bool is_cut(std::size_t node) const { return cut_[node]; }
  // The last datagram that this node sent; empty: none.
  const std::vector<std::uint8_t>& last_of(std::size_t node) const { return last_[node]; }

  void send(std::size_t from, std::span<const std::uint8_t> bytes, TimePoint now);

  std::optional<TimePoint> next() const {
    if (queue_.empty()) return std::nullopt;
    return queue_.top().at;
  }
  Delivery take() {
    Delivery d = queue_.top();
    queue_.pop();
    return d;
  }

 private:
  struct Later {
    bool operator()(const Delivery& a, const Delivery& b) const {
      return a.at != b.at ? a.at > b.at : a.order > b.order;
    }
  };
  void damage(std::vector<std::uint8_t>& bytes);

  static constexpr Duration kDelay = std::chrono::microseconds(100);

  std::size_t nodes_;
  Random& random_;
  Faults faults_;
  std::vector<bool> cut_;
  std::vector<std::vector<std::uint8_t>> last_;
  std::uint64_t order_ = 0;
  std::priority_queue<Delivery, std::vector<Delivery>, Later> queue_;
};

}  // namespace ctsync::sim
