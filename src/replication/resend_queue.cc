// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/replication/resend_queue.h"

#include <algorithm>

#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

void ResendQueue::push_back(NodeRef n, std::uint32_t seq) {
  nodes_.link(n).seq = seq;
  list_.push_back(n);
  if (runs() != 0 && runs_.back().count < kRun) {
    ++runs_.back().count;
    return;
  }
  if (runs_.size() == runs_.capacity() && begin_ > runs_.size() / 2) {  // rather than growing
    runs_.erase(runs_.begin(), runs_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  runs_.push_back({.seq = seq, .count = 1, .first = n});
}

void ResendQueue::remove(NodeRef n) {
  const std::size_t at = run_of(seq(n));
  Run& run = runs_[at];
  if (run.first == n) run.first = list_.next(n);
  list_.remove(n);
  if (--run.count == 0) {
    erase_run(at);
  } else if (!join_next(at) && at > begin_) {
    join_next(at - 1);
  }
}

bool ResendQueue::join_next(std::size_t run) {
  if (run + 1 >= runs_.size() || runs_[run].count + runs_[run + 1].count > kRun) return false;
  runs_[run].count += runs_[run + 1].count;
  erase_run(run + 1);
  return true;
}

void ResendQueue::erase_run(std::size_t run) {
  if (run == begin_) {
    ++begin_;
  } else {
    runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(run));
  }
  if (begin_ == runs_.size()) {
    runs_.clear();
    begin_ = 0;
  }
}

// The run in which an element with this number is, or would be. There must be a run, and the number must not be before
// the first element. Numbers wrap, so what is compared is their distance to the beginning.
std::size_t ResendQueue::run_of(std::uint32_t seq) const {
  const std::uint32_t base = runs_[begin_].seq;
  const std::uint32_t distance = seq - base;
  if (begin_ + 1 == runs_.size() || distance < runs_[begin_ + 1].seq - base) return begin_;  // the usual case
  const auto later = std::upper_bound(runs_.begin() + static_cast<std::ptrdiff_t>(begin_), runs_.end(), distance,
                                      [base](std::uint32_t d, const Run& r) { return d < r.seq - base; });
  return static_cast<std::size_t>(later - runs_.begin()) - 1;
}

NodeRef ResendQueue::first_from(std::uint32_t seq) const {
  if (empty() || !is_after(seq, this->seq(front()))) return front();
  const std::uint32_t base = runs_[begin_].seq;
  NodeRef n = runs_[run_of(seq)].first;
  while (n && this->seq(n) - base < seq - base) n = list_.next(n);
  return n;
}

std::uint32_t ResendQueue::count_before(std::uint32_t seq) const {
  if (empty() || !is_after(seq, this->seq(front()))) return 0;
  const std::uint32_t base = runs_[begin_].seq;
  const std::size_t last = run_of(seq);
  std::uint32_t count = 0;
  for (std::size_t i = begin_; i < last; ++i) count += runs_[i].count;
  for (NodeRef n = runs_[last].first; n && this->seq(n) - base < seq - base; n = list_.next(n)) ++count;
  return count;
}

}  // namespace ctsync::replication
