// SPDX-License-Identifier: GPL-2.0-or-later
// Cuts a TCP stream into whole messages (spec replication.md 1.1): bytes in, as the connection gives them, whole
// messages out. Does no I/O. A stream that is out of step, so that no message can follow, is told once and for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace ctsync::link {

class StreamReader {
 public:
  static constexpr std::size_t kCapacity = 65536;       // bytes kept of a stream
  static constexpr std::size_t kLongestMessage = 4096;  // no sender builds longer ones (spec 1.4)

  StreamReader() : bytes_(std::make_unique_for_overwrite<std::uint8_t[]>(kCapacity)) {}

  // Where the next bytes of the stream go; never empty while the stream is in step.
  std::span<std::uint8_t> room();
  // `n` bytes were put there. Returns the whole messages that this makes, in one piece and each once; valid until
  // room() is called again. If the stream is out of step from here on, the bad bytes come last: whoever reads the
  // messages finds and counts them as those of a bad datagram.
  std::span<const std::uint8_t> add(std::size_t n);
  bool out_of_step() const { return out_of_step_; }
  // Another connection: begins anew.
  void clear();

 private:
  std::unique_ptr<std::uint8_t[]> bytes_;
  std::size_t begin_ = 0;  // of what was not handed over yet
  std::size_t end_ = 0;
  bool out_of_step_ = false;
};

}  // namespace ctsync::link
