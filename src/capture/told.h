// SPDX-License-Identifier: GPL-2.0-or-later
// What a line tells: a message, or what is there instead of one. Refers to what it was made from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"
#include "ctsync/wire/extension.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"
#include "message_sink.h"
#include "sequence_track.h"

namespace ctsync::capture {

struct Told {
  Place place{};

  const wire::Message* message = nullptr;  // null: a gap
  bool good_header = true;                 // else nothing below is set
  wire::DecodeStatus payload = wire::DecodeStatus::ok;
  Seen seen{};
  // What it is about, none or one of these:
  const FlowRecord* flow = nullptr;
  const Expectation* expectation = nullptr;
  const wire::Extension* tail = nullptr;  // not empty
  std::size_t foreign_tail = 0;           // bytes of a tail in which nothing is known

  Gap gap{};
  std::span<const std::uint8_t> bytes{};  // of a gap
  std::size_t count = 0;                  // as in MessageSink::gap
};

// Kinds of message, in the order of summaries: the data types, then ControlKind.
inline constexpr std::size_t kKinds = 10;
inline constexpr std::array<std::string_view, kKinds> kKindWords{"NEW",     "UPD", "DEL",  "EXP NEW", "EXP UPD",
                                                                 "EXP DEL", "ACK", "NACK", "RESYNC",  "ALIVE"};

// Of a message with a good header.
constexpr std::size_t kind_of(const wire::Header& h) {
  if (wire::is_data(h.type)) return static_cast<std::size_t>(h.type);
  return static_cast<std::size_t>(wire::MsgType::expect_delete) + static_cast<std::size_t>(wire::control_kind(h.flags));
}

// Whether the range of numbers says anything: that of a RESYNC usually does not.
constexpr bool has_range(const wire::Message& m) {
  return (m.header.flags & (wire::flag::kAck | wire::flag::kNack)) != 0 || m.from != 0 || m.to != 0;
}

// So many bytes of what is no message are shown.
inline constexpr std::size_t kMostBytesShown = 32;

constexpr std::span<const std::uint8_t> shown(std::span<const std::uint8_t> bytes) {
  return bytes.first(bytes.size() < kMostBytesShown ? bytes.size() : kMostBytesShown);
}

}  // namespace ctsync::capture
