// SPDX-License-Identifier: GPL-2.0-or-later
// Walks over the messages of a datagram or of a piece of a TCP stream: checks 1 to 7 of spec replication.md 1.5, in
// that order. What a message means, and whether its type, flags and number are acceptable, is for the engine to judge
// (checks 8 to 11).
//
//   wire::MessageReader reader(datagram);
//   wire::Message m;
//   while (reader.next(m, stats)) ...        // counts what is bad and goes on where the rules say so
//
// Nothing is copied: payload points into the data given at construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ctsync/base/bytes.h"
#include "ctsync/wire/header.h"
#include "ctsync/wire/receive_stats.h"

namespace ctsync::wire {

struct Message {
  Header header;
  std::span<const std::uint8_t> payload;  // what follows the header, header.length - 8 bytes
  // Of control messages with ACK, NACK or RESYNC, else 0.
  std::uint32_t from = 0;
  std::uint32_t to = 0;
};

class MessageReader {
 public:
  enum class Source : std::uint8_t {
    datagram,
    stream,  // a cut at the end is no error: need_more, not truncated, and not bad_size for a length beyond it
  };
  enum class Status : std::uint8_t {
    message,        // out is set
    wrong_version,  // this message was skipped; go on (check 7)
    truncated,      // the rest is unusable (checks 1, 4); datagram only
    bad_size,       // the rest is unusable (checks 2, 3, 5, 6); a stream is out of step for good
    need_more,      // stream only: the bytes after consumed() are the beginning of a message
    end,            // everything was consumed
  };

  explicit MessageReader(std::span<const std::uint8_t> data, Source source = Source::datagram)
      : data_(data), source_(source) {}

  // The next message, or why there is none. After truncated, bad_size, need_more and end it keeps saying the same.
  Status next(Message& out);

  // As above, but counts errors in `stats` and steps over messages of another version. False when the walk is over;
  // last() tells why.
  bool next(Message& out, ReceiveStats& stats);

  Status last() const { return last_; }
  // Bytes of the messages walked over so far, skipped ones included. A stream keeps what follows them for the next
  // round.
  std::size_t consumed() const { return consumed_; }

 private:
  Status step(Message& out);
  Status cut(Status in_datagram) const { return source_ == Source::stream ? Status::need_more : in_datagram; }

  std::span<const std::uint8_t> data_;
  std::size_t consumed_ = 0;
  Source source_;
  Status last_ = Status::message;
};

}  // namespace ctsync::wire
