// SPDX-License-Identifier: GPL-2.0-or-later
// The messages of one direction of a TCP connection. Segments are put in order, as far as that takes little memory. What the
// capture lacks is told, and the stream is taken up again at the next segment that begins with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "message_sink.h"

namespace ctsync::capture {

class TcpStream {
 public:
  // Segments that have come before their turn are kept: so many, of so many bytes together. With more, the one before them
  // will not come any more.
  static constexpr std::size_t kMostHeld = 64;
  static constexpr std::size_t kMostHeldBytes = 256U << 10;
  static constexpr std::size_t kLongestMessage = 4096;  // no sender builds longer ones (spec replication.md 1.4)

  struct Segment {
    std::uint32_t seq = 0;
    bool syn = false;
    std::span<const std::uint8_t> payload{};
    std::size_t missing = 0;  // bytes behind it that were not captured
  };

  explicit TcpStream(const Ends& ends) : ends_(ends) {}

  const Ends& ends() const { return ends_; }
  void take(const Segment& segment, const Time& time, MessageSink& sink);
  // Tells what is left. The next segment begins anew.
  void end(MessageSink& sink);

 private:
  struct Held {
    std::uint32_t seq;
    std::vector<std::uint8_t> payload;
    std::size_t missing;
    Time time;
  };

  void hold(const Segment& segment, const Time& time, MessageSink& sink);
  void take_held(MessageSink& sink);
  void give_up_gap(MessageSink& sink);
  void take_in_turn(const Segment& segment, const Time& time, MessageSink& sink);
  void add(std::span<const std::uint8_t> bytes, MessageSink& sink);
  void lose(std::size_t count, MessageSink& sink);
  Place place() const { return {last_, ends_}; }

  Ends ends_;
  Time last_{};              // of the last segment
  bool begun_ = false;       // next_ is known
  bool in_step_ = false;     // rest_ begins with a message
  std::uint32_t next_ = 0;   // number of the byte that comes next
  std::size_t skipped_ = 0;  // bytes since the stream was last in step
  std::size_t held_bytes_ = 0;
  std::vector<std::uint8_t> rest_;  // the beginning of a message
  std::vector<Held> held_;          // in the order in which they came
};

}  // namespace ctsync::capture
