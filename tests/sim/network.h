// SPDX-License-Identifier: GPL-2.0-or-later
// The simulated dedicated links: every datagram goes to all other nodes, as on a multicast group. What may happen on the
// way is said by Faults; without faults it is instant and in order but for a fixed delay.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/random.h"
#include "tally.h"

namespace ctsync::sim {

struct Faults {
  double loss = 0;   // of a datagram
  double burst = 0;  // that a datagram is the first of a burst, in which all that goes the same way is lost
  Duration longest_burst{};
  double duplicate = 0;
  double reorder = 0;  // arrives up to max_delay late
  double corrupt = 0;  // truncated, a sequence number damaged, or replaced by noise
  Duration max_delay{};
  Duration delay{};  // of all
};

struct Delivery {
  TimePoint at;
  std::uint64_t order = 0;  // of sending, decides between equal times
  std::size_t from = 0;
  std::size_t to = 0;
  std::uint8_t link = 0;
  std::vector<std::uint8_t> bytes;
};

class Network {
 public:
  static constexpr std::uint8_t kLinks = 2;

  Network(std::size_t nodes, Random& random, Tally& tally)
      : nodes_(nodes), random_(random), tally_(tally), cut_(nodes, false), ways_(nodes * nodes), last_(nodes) {
    for (auto& l : link_cut_) l.assign(nodes, false);
  }

  std::size_t nodes() const { return nodes_; }
  void set_faults(const Faults& f) { faults_ = f; }
  void cut(std::size_t node, bool on) { cut_[node] = on; }  // neither sends nor receives
  bool is_cut(std::size_t node) const { return cut_[node]; }
  // Nothing of `from` reaches `to`.
  void cut_way(std::size_t from, std::size_t to, bool on) { way(from, to).cut = on; }
  // The node's port of this link is dead.
  void cut_link(std::uint8_t link, std::size_t node, bool on) { link_cut_[link][node] = on; }
  void mend_all();

  // The last datagram that this node sent; empty: none.
  const std::vector<std::uint8_t>& last_of(std::size_t node) const { return last_[node]; }

  void send(std::size_t from, std::uint8_t link, std::span<const std::uint8_t> bytes, TimePoint now);

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
  struct Way {
    bool cut = false;
    TimePoint burst_until{};
  };
  Way& way(std::size_t from, std::size_t to) { return ways_[from * nodes_ + to]; }
  bool is_lost(std::size_t from, std::size_t to, std::uint8_t link, TimePoint now);
  void damage(std::vector<std::uint8_t>& bytes);

  static constexpr Duration kDelay = std::chrono::microseconds(100);

  std::size_t nodes_;
  Random& random_;
  Tally& tally_;
  Faults faults_;
  std::vector<bool> cut_;
  std::array<std::vector<bool>, kLinks> link_cut_;
  std::vector<Way> ways_;
  std::vector<std::vector<std::uint8_t>> last_;
  std::uint64_t order_ = 0;
  std::priority_queue<Delivery, std::vector<Delivery>, Later> queue_;
};

// The messages of a datagram, in words.
std::string text_of(std::span<const std::uint8_t> datagram);

}  // namespace ctsync::sim
