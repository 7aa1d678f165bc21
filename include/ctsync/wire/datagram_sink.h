// SPDX-License-Identifier: GPL-2.0-or-later
// Where packed datagrams go: the active link, or a recorder in tests.
#pragma once

#include <cstdint>
#include <span>

namespace ctsync::wire {

class DatagramSink {
 public:
  virtual ~DatagramSink() = default;
  // Takes the datagrams in order, whole messages each, never empty. The bytes are valid during the call only. What
  // becomes of what cannot be sent (counted, queued, dropped) is up to the sink. Must not call back into the packer.
  virtual void send(std::span<const std::span<const std::uint8_t>> datagrams) = 0;
  // The transport takes no more at the moment: data should wait. Urgent things may still be sent.
  virtual bool congested() const { return false; }
};

}  // namespace ctsync::wire
