// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/line_writer.h"

#include <ctime>
#include <utility>

namespace ctsync {

// Once lines are being lost, the next one is kept when half of the room is free again: one gap, not a gap after each
// line that finds a place.
bool LineWriter::room_for(std::size_t size) const {
  const std::size_t used = kept_.size() - taken_;
  return used + size <= (lost_here_ == 0 ? limit_ : limit_ / 2);
}

void LineWriter::append(std::string_view line) {
  kept_ += line;
  kept_ += end_;
}

void LineWriter::add(std::string_view line) {
  if (!room_for(line.size() + 1)) {
    ++lost_;
    ++lost_here_;
    return;
  }
  tell_losses();
  append(line);
}

void LineWriter::tell_losses() {
  const auto lost = std::exchange(lost_here_, 0);
  if (lost != 0 && loss_line_) append(loss_line_(lost));
}

LineWriter::Left LineWriter::flush() {
  bool some = false;
  while (pending()) {
    const auto n = pass_on(std::string_view(kept_).substr(taken_));
    if (n == 0) break;
    some = true;
    taken_ += n;
    if (!pending()) tell_losses();
  }
  forget_taken();
  if (!pending()) return Left::nothing;
  return some ? Left::some : Left::all;
}

std::size_t LineWriter::line_start() const { return taken_ == 0 ? 0 : kept_.rfind(end_, taken_ - 1) + 1; }

// Seldom, so that a slow reader of much does not make all of it move with each line he takes.
void LineWriter::forget_taken() {
  if (pending() && taken_ < kept_.size() / 2) return;
  const auto whole = line_start();
  kept_.erase(0, whole);
  taken_ -= whole;
}

std::optional<Duration> retry_delay(LineWriter::Left left) {
  switch (left) {
    case LineWriter::Left::nothing:
      return std::nullopt;
    case LineWriter::Left::some:
      return std::chrono::milliseconds(2);
    case LineWriter::Left::all:
      return std::chrono::milliseconds(50);
  }
  return std::nullopt;
}

void drain(std::span<LineWriter* const> writers, Duration time) {
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 5'000'000};
  const SystemClock clock;
  const auto end = clock.now() + time;
  for (;;) {
    bool left = false;
    for (auto* w : writers) left |= w->flush() != LineWriter::Left::nothing;
    if (!left || clock.now() >= end) return;
    ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace ctsync
