// SPDX-License-Identifier: GPL-2.0-or-later
#include "error_queue.h"

#include <algorithm>

namespace ctsync::link {

void ErrorQueue::push(std::span<const std::uint8_t> buffer, std::size_t written) {
  if (full()) {
    ++dropped_;
    const std::size_t victim = partly_written() ? 1 : 0;
    if (victim >= buffers_.size()) return;  // the only place holds what is half on the wire
    buffers_.erase(buffers_.begin() + static_cast<std::ptrdiff_t>(victim));
  }
  if (buffers_.empty()) written_ = written;
  buffers_.emplace_back(buffer.begin(), buffer.end());
}

std::size_t ErrorQueue::fill(std::span<iovec> parts) {
  const auto n = std::min(parts.size(), buffers_.size());
  for (std::size_t i = 0; i < n; ++i) {
    const auto skip = i == 0 ? written_ : 0;
    parts[i] = {buffers_[i].data() + skip, buffers_[i].size() - skip};
  }
  return n;
}

std::size_t ErrorQueue::advance(std::size_t n) {
  std::size_t complete = 0;
  written_ += n;
  while (!buffers_.empty() && written_ >= buffers_.front().size()) {
    written_ -= buffers_.front().size();
    buffers_.pop_front();
    ++complete;
  }
  return complete;
}

}  // namespace ctsync::link
