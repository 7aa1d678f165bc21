// SPDX-License-Identifier: GPL-2.0-or-later
// Lines on their way to somebody who may not take them (a full pipe, a stopped terminal, a syslog daemon that hangs).
// The writer never waits: what is not taken at once is kept, up to a limit, and offered again with flush(). What does
// not fit is lost, counted, and told in its place as soon as there is room again. No line arrives in pieces that belong
// to different lines.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ctsync/base/clock.h"

namespace ctsync {

class LineWriter {
 public:
  // The line that stands where `lost` lines are missing; without the end.
  using LossLine = std::function<std::string(std::uint64_t lost)>;
  enum class Left : std::uint8_t {
    nothing,
    some,  // a part was taken: more may be taken soon
    all,   // nothing is taken at the moment
  };

  // `end` ends a line; `limit`: bytes to keep. Without `loss_line` losses are only counted.
  LineWriter(char end, std::size_t limit, LossLine loss_line)
      : end_(end), limit_(limit), loss_line_(std::move(loss_line)) {}
  virtual ~LineWriter() = default;
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Keeps the line, for the next flush().
  void add(std::string_view line);
  // Offers what is kept. What is left then, of what there was.
  Left flush();
  bool pending() const { return taken_ < kept_.size(); }
  std::uint64_t lost_lines() const { return lost_; }  // in all

 protected:
  // Passes the beginning of `data` on, whole lines or the rest of one and whole lines; never waits. How many bytes were
  // taken; 0: none at the moment.
  virtual std::size_t pass_on(std::string_view data) = 0;
  // Whoever takes the lines is another one now: a line of which he would get only the rest is passed on from its start.
  void begin_again() { taken_ = line_start(); }

 private:
  std::size_t line_start() const;
  void append(std::string_view line);
  bool room_for(std::size_t size) const;
  void tell_losses();
  void forget_taken();

  const char end_;
  const std::size_t limit_;
  const LossLine loss_line_;
  std::string kept_;
  std::size_t taken_ = 0;  // of kept_
  std::uint64_t lost_ = 0;
  std::uint64_t lost_here_ = 0;  // behind what is kept
};

// When to flush again what was left; none: nothing was.
std::optional<Duration> retry_delay(LineWriter::Left left);

// Flushes until nothing is left or `time` is over: for the end of a process.
void drain(std::span<LineWriter* const> writers, Duration time);

}  // namespace ctsync
