// SPDX-License-Identifier: GPL-2.0-or-later
// Buffers that could not be sent yet, in order, whole messages each (spec replication.md 1.7): datagrams, or pieces of
// a TCP stream. When it is full the oldest one goes, but never one that is partly on the wire: that would put the
// stream out of step.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace ctsync::link {

class ErrorQueue {
 public:
  explicit ErrorQueue(std::size_t maximum) { set_maximum(maximum); }

  bool full() const { return buffers_.size() >= maximum_; }
  bool empty() const { return buffers_.empty(); }
  std::size_t size() const { return buffers_.size(); }
  std::size_t maximum() const { return maximum_; }
  std::uint64_t dropped() const { return dropped_; }
  // What is in it beyond that stays until it is sent.
  void set_maximum(std::size_t maximum) { maximum_ = maximum == 0 ? 1 : maximum; }

  // Appends a copy of `buffer`, of which the first `written` bytes are on the wire already (only if the queue is
  // empty).
  void push(std::span<const std::uint8_t> buffer, std::size_t written = 0);

  // Fills `parts` with what is to be written next, the oldest first; returns how many. Valid until the next change.
  std::size_t fill(std::span<iovec> parts);
  // The first `n` buffers are sent, or given up.
  void pop(std::size_t n) { buffers_.erase(buffers_.begin(), buffers_.begin() + static_cast<std::ptrdiff_t>(n)); }
  // A stream: `n` bytes of that were written. Returns how many buffers are completely out and gone from the queue.
  std::size_t advance(std::size_t n);
  // The connection is gone: the first buffer starts again from its beginning on the next one.
  void rewind() { written_ = 0; }
  bool partly_written() const { return written_ != 0; }

 private:
  std::size_t maximum_ = 1;
  std::deque<std::vector<std::uint8_t>> buffers_;
  std::size_t written_ = 0;  // bytes of the first buffer
  std::uint64_t dropped_ = 0;
};

}  // namespace ctsync::link
