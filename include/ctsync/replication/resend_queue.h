// SPDX-License-Identifier: GPL-2.0-or-later
// What was sent and is not acknowledged: a FIFO of ascending sequence numbers in which any number is found at once.
// Peers name numbers in their ACKs and NACKs as they like, so no look-up may walk through a queue of 131072 elements.
//
// The elements are linked in their table slots (SendQueue). Beside that there is a short list of runs: each stands for
// up to kRun successive elements and knows the first one. A look-up is a binary search among the runs, then a walk of
// less than kRun steps. Two neighbours that fit into one run are joined, so a queue of n elements has at most
// 2 n / kRun + 1 runs, and all of them together take less than two bytes an element. Runs are made every kRun pushes
// and end once, so keeping them costs next to nothing; in the steady state nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ctsync/replication/send_queue.h"

namespace ctsync::replication {

class ResendQueue {
 public:
  static constexpr std::uint32_t kRun = 32;

  explicit ResendQueue(Nodes& nodes) : nodes_(nodes), list_(nodes, table::Queue::resend) {}

  // n must be in no queue, and `seq` be after all numbers in this one.
  void push_back(NodeRef n, std::uint32_t seq);
  void remove(NodeRef n);  // n must be in this queue

  NodeRef front() const { return list_.front(); }
  NodeRef next(NodeRef n) const { return list_.next(n); }
  std::uint32_t seq(NodeRef n) const { return nodes_.link(n).seq; }
  std::uint32_t length() const { return list_.length(); }
  bool empty() const { return list_.empty(); }

  // The first element with this number or a later one; nothing if there is none.
  NodeRef first_from(std::uint32_t seq) const;
  // How many elements have a number before this one. Adds up all runs before it.
  std::uint32_t count_before(std::uint32_t seq) const;

  std::size_t runs() const { return runs_.size() - begin_; }

 private:
  // `seq`: no element of the run has a number before it, and none of the run before has one from it on.
  struct Run {
    std::uint32_t seq;
    std::uint32_t count;
    NodeRef first;
  };

  std::size_t run_of(std::uint32_t seq) const;
  bool join_next(std::size_t run);
  void erase_run(std::size_t run);

  Nodes& nodes_;
  SendQueue list_;
  std::vector<Run> runs_;
  std::size_t begin_ = 0;  // the runs before this index have ended
};

}  // namespace ctsync::replication
