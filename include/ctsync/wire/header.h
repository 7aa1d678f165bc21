// SPDX-License-Identifier: GPL-2.0-or-later
// The header of a replication message (spec replication.md 1.1, 1.2): eight bytes, then the payload. On the wire all
// numbers are in network order; here they are in host order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ctsync/base/bytes.h"

namespace ctsync::wire {

inline constexpr std::size_t kHeaderSize = 8;
inline constexpr std::size_t kControlRangeSize = 16;  // ACK, NACK and RESYNC: header, from, to
inline constexpr std::uint8_t kVersion = 1;

// Low nibble of byte 0. The values in between are unassigned; a received Header may hold one.
enum class MsgType : std::uint8_t {
  flow_new = 0,
  flow_update = 1,
  flow_delete = 2,
  expect_new = 3,
  expect_update = 4,
  expect_delete = 5,
  control = 10,
};

constexpr bool is_flow(MsgType t) { return t <= MsgType::flow_delete; }
constexpr bool is_expectation(MsgType t) { return t >= MsgType::expect_new && t <= MsgType::expect_delete; }
constexpr bool is_data(MsgType t) { return t <= MsgType::expect_delete; }

// Bits of the flags byte. HELLO and HELLO_BACK ride on any message; the others give the kind of a control message.
namespace flag {
inline constexpr std::uint8_t kResync = 0x02;
inline constexpr std::uint8_t kNack = 0x04;
inline constexpr std::uint8_t kAck = 0x08;
inline constexpr std::uint8_t kAlive = 0x10;
inline constexpr std::uint8_t kHello = 0x20;
inline constexpr std::uint8_t kHelloBack = 0x40;
inline constexpr std::uint8_t kRange = kResync | kNack | kAck;  // these carry from and to
}  // namespace flag

enum class ControlKind : std::uint8_t { none, ack, nack, resync, alive };

// The kind of a control message when several of the bits are set (spec replication.md 1.5).
constexpr ControlKind control_kind(std::uint8_t flags) {
  if (flags & flag::kAck) return ControlKind::ack;
  if (flags & flag::kNack) return ControlKind::nack;
  if (flags & flag::kResync) return ControlKind::resync;
  if (flags & flag::kAlive) return ControlKind::alive;
  return ControlKind::none;
}

struct Header {
  MsgType type = MsgType::control;
  std::uint8_t flags = 0;
  std::uint16_t length = 0;  // whole message: header, attributes and their padding
  std::uint32_t seq = 0;
};

// Writes a header of this version.
inline void encode_header(ByteWriter& w, const Header& h) {
  w.be32(static_cast<std::uint32_t>(kVersion) << 28 | static_cast<std::uint32_t>(h.type) << 24 |
         static_cast<std::uint32_t>(h.flags) << 16 | h.length);
  w.be32(h.seq);
}

// Makes the length of the message that begins at `begin` that of all written since.
inline void set_length(ByteWriter& w, std::size_t begin) {
  w.patch_be16(begin + 2, static_cast<std::uint16_t>(w.size() - begin));
}

// ACK, NACK, RESYNC: `from` to `to`, both inclusive (0, 0 with RESYNC).
inline void encode_control(ByteWriter& w, std::uint8_t flags, std::uint32_t seq, std::uint32_t from, std::uint32_t to) {
  encode_header(w, {MsgType::control, flags, kControlRangeSize, seq});
  w.be32(from);
  w.be32(to);
}

// A control message without a range: ALIVE.
inline void encode_alive(ByteWriter& w, std::uint8_t flags, std::uint32_t seq) {
  encode_header(w, {MsgType::control, flags, kHeaderSize, seq});
}

}  // namespace ctsync::wire
