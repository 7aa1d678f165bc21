// SPDX-License-Identifier: GPL-2.0-or-later
// Frames, packets and messages as bytes.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "ctsync/wire/header.h"
#include "ip_packet.h"

namespace ctsync::capture_test {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::uint16_t kPort = 3780;
inline constexpr std::uint8_t kTcpProtocol = 6;
inline constexpr std::uint8_t kUdpProtocol = 17;
inline constexpr int kEthernetLink = 1;  // libpcap's number

inline Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const auto& p : parts) all.insert(all.end(), p.begin(), p.end());
  return all;
}

// A byte that no test sends, if there is no packet.
inline Bytes payload_of(const std::optional<capture::IpPacket>& p) {
  return p ? Bytes(p->payload.begin(), p->payload.end()) : Bytes{0xff};
}

inline Bytes be16(std::size_t n) { return {static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)}; }
inline Bytes be32(std::uint32_t n) { return joined({be16(n >> 16), be16(n & 0xffff)}); }
inline Bytes slice(const Bytes& b, std::size_t begin, std::size_t size) {
  return {b.begin() + static_cast<std::ptrdiff_t>(begin), b.begin() + static_cast<std::ptrdiff_t>(begin + size)};
}

// From 192.0.2.1 to 192.0.2.2. `fragment`: flags and offset as in the header.
inline Bytes ipv4(std::uint8_t protocol, const Bytes& payload, std::uint16_t id = 1, std::uint16_t fragment = 0) {
  return joined({{0x45, 0},
                 be16(20 + payload.size()),
                 be16(id),
                 be16(fragment),
                 {64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2},
                 payload});
}

// From fd00::1 to fd00::2.
inline Bytes ipv6(std::uint8_t next, const Bytes& payload) {
  Bytes source(16);
  source[0] = 0xfd;
  source[15] = 1;
  Bytes destination = source;
  destination[15] = 2;
  return joined({{0x60, 0, 0, 0}, be16(payload.size()), {next, 64}, source, destination, payload});
}

inline Bytes udp(const Bytes& body, std::uint16_t port = kPort) {
  return joined({be16(4000), be16(port), be16(8 + body.size()), {0, 0}, body});
}

inline Bytes tcp(std::uint32_t seq, const Bytes& body, std::uint8_t flags = 0x10) {
  return joined({be16(4000), be16(kPort), be32(seq), be32(0), {0x50, flags, 0xff, 0xff, 0, 0, 0, 0}, body});
}

// IPv4 or IPv6, by the first byte.
inline Bytes ethernet(const Bytes& packet) {
  const std::size_t type = packet[0] >> 4 == 4 ? 0x0800 : 0x86dd;
  return joined({{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, be16(type), packet});
}

inline Bytes alive(std::uint32_t seq, std::uint8_t more_flags = 0) {
  std::array<std::uint8_t, wire::kHeaderSize> room;
  ByteWriter w(room);
  wire::encode_alive(w, wire::flag::kAlive | more_flags, seq);
  return {room.begin(), room.end()};
}

inline Bytes ack(std::uint32_t seq, std::uint32_t from, std::uint32_t to) {
  std::array<std::uint8_t, wire::kControlRangeSize> room;
  ByteWriter w(room);
  wire::encode_control(w, wire::flag::kAck, seq, from, to);
  return {room.begin(), room.end()};
}

}  // namespace ctsync::capture_test
