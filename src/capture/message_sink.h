// SPDX-License-Identifier: GPL-2.0-or-later
// Who is told what datagrams and streams hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ctsync/flow/ip_address.h"
#include "ctsync/wire/message_reader.h"
#include "ip_packet.h"

namespace ctsync::capture {

struct Ends {
  IpAddress source{};
  std::uint16_t source_port = 0;
  IpAddress destination{};
  std::uint16_t destination_port = 0;
  bool tcp = false;  // else UDP

  bool operator==(const Ends&) const = default;
};

// Of the packet that a message came in, or ended in.
struct Place {
  Time time{};
  Ends ends{};
};

// What is there instead of a message. The first three are counted by a daemon, too (doc/wire-format.md, section 5).
enum class Gap : std::uint8_t {
  wrong_version,
  truncated,
  bad_size,
  empty,         // a datagram without anything
  cut_off,       // the end of a datagram was not captured
  not_captured,  // of a stream
  skipped,       // of a stream: in which no message begins
  unfinished,    // of a stream: the beginning of a message, whose rest was not captured
};

class MessageSink {
 public:
  virtual ~MessageSink() = default;
  virtual void message(const Place& place, const wire::Message& m) = 0;
  // `bytes`: what is there, as far as it is of interest; `count`: how many bytes this is about.
  virtual void gap(const Place& place, Gap what, std::span<const std::uint8_t> bytes, std::size_t count) = 0;
};

// Tells all messages that the reader of `bytes` finds. Returns why there are no more.
inline wire::MessageReader::Status tell_all(wire::MessageReader& reader, std::span<const std::uint8_t> bytes,
                                            const Place& place, MessageSink& sink) {
  using Status = wire::MessageReader::Status;
  for (;;) {
    const std::size_t begin = reader.consumed();
    wire::Message m;
    const Status status = reader.next(m);
    if (status == Status::message) {
      sink.message(place, m);
    } else if (status == Status::wrong_version) {
      const std::size_t size = reader.consumed() - begin;
      sink.gap(place, Gap::wrong_version, bytes.subspan(begin, size), size);
    } else {
      return status;
    }
  }
}

}  // namespace ctsync::capture
