// SPDX-License-Identifier: GPL-2.0-or-later
// The attribute layer common to both kinds of payload (spec replication.md 2.1, 2.7). On the wire an attribute is:
// length (header included, padding not), id, data, zero bytes up to a multiple of four.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ctsync/base/bytes.h"
#include "ctsync/flow/flow.h"
#include "ctsync/wire/header.h"

namespace ctsync::wire {

inline constexpr std::uint32_t kAttrHeader = 4;

// What the data of an attribute may be.
struct AttrRule {
  std::uint16_t length;  // of the whole attribute
  bool at_most = false;  // up to that length, else exactly that
};

constexpr std::uint32_t padded(std::uint32_t length) { return (length + 3U) & ~3U; }

// What is left of a timeout reported `age` seconds ago: at least 1, because the flow is still there; 0 stays 0.
constexpr std::uint32_t aged_timeout(std::uint32_t timeout, std::uint32_t age) {
  if (timeout == 0) return 0;
  return timeout > age ? timeout - age : 1;
}

// Writers. Attribute header and data up to 16 bits go out as whole words, which also makes the padding.
inline void put_header(ByteWriter& w, std::uint32_t id, std::uint32_t data_size) {
  w.be32((kAttrHeader + data_size) << 16 | id);
}
inline void put_u8(ByteWriter& w, std::uint32_t id, std::uint8_t v) {
  put_header(w, id, 1);
  w.be32(static_cast<std::uint32_t>(v) << 24);
}
inline void put_be16(ByteWriter& w, std::uint32_t id, std::uint16_t v) {
  put_header(w, id, 2);
  w.be32(static_cast<std::uint32_t>(v) << 16);
}
// The three attributes in host order, spec replication.md 2.3.
inline void put_host16(ByteWriter& w, std::uint32_t id, std::uint16_t v) { put_be16(w, id, network_order(v)); }
inline void put_be32(ByteWriter& w, std::uint32_t id, std::uint32_t v) {
  put_header(w, id, 4);
  w.be32(v);
}
inline void put_ports(ByteWriter& w, std::uint32_t id, const Tuple& t) {
  put_be32(w, id, static_cast<std::uint32_t>(t.src_port) << 16 | t.dst_port);
}
inline std::size_t address_size(Family f) { return f == Family::ipv4 ? 4 : 16; }
inline void put_address(ByteWriter& w, std::uint32_t ipv4_id, std::uint32_t ipv6_id, Family f, const Address& a) {
  const auto size = address_size(f);
  put_header(w, f == Family::ipv4 ? ipv4_id : ipv6_id, static_cast<std::uint32_t>(size));
  w.copy(a.data(), size);
}
inline void put_addresses(ByteWriter& w, std::uint32_t ipv4_id, std::uint32_t ipv6_id, const Tuple& t) {
  const auto size = address_size(t.family);
  put_header(w, t.family == Family::ipv4 ? ipv4_id : ipv6_id, static_cast<std::uint32_t>(2 * size));
  w.copy(t.src.data(), size);
  w.copy(t.dst.data(), size);
}
// A terminated string; left out if it is empty or has more than `max_length` characters.
inline void put_string(ByteWriter& w, std::uint32_t id, std::span<const char> text, std::size_t max_length) {
  const auto length = ::strnlen(text.data(), text.size());
  if (length == 0 || length > max_length) return;
  const auto size = static_cast<std::uint32_t>(length) + 1;
  put_header(w, id, size);
  w.copy(text.data(), length);
  w.zeros(padded(size) - length);
}

// Readers of data whose size was checked.
inline std::uint16_t get_be16(const std::uint8_t* d) {
  std::uint16_t v = 0;
  std::memcpy(&v, d, sizeof v);
  return network_order(v);
}
inline std::uint16_t get_host16(const std::uint8_t* d) { return network_order(get_be16(d)); }
inline std::uint32_t get_be32(const std::uint8_t* d) {
  std::uint32_t v = 0;
  std::memcpy(&v, d, sizeof v);
  return network_order(v);
}
inline void get_ports(Tuple& t, const std::uint8_t* d) {
  t.src_port = get_be16(d);
  t.dst_port = get_be16(d + 2);
}
inline void get_address(Address& a, Family f, const std::uint8_t* d) { std::memcpy(a.data(), d, address_size(f)); }
inline void get_addresses(Tuple& t, Family f, const std::uint8_t* d) {
  t.family = f;
  get_address(t.src, f, d);
  get_address(t.dst, f, d + address_size(f));
}
// Copies a string of a message: as much as fits, always terminated. False if it is empty.
inline bool get_string(std::span<char> to, std::span<const std::uint8_t> data) {
  const auto room = data.size() < to.size() ? data.size() : to.size() - 1;
  const auto length = ::strnlen(reinterpret_cast<const char*>(data.data()), room);
  if (length == 0) return false;
  std::memset(to.data(), 0, to.size());
  std::memcpy(to.data(), data.data(), length);
  return true;
}

// Where the attributes of one message are. Later ones replace earlier ones, as the rules demand, and the codec need not
// care about their order.
template <std::size_t kCount>
class AttrIndex {
 public:
  // False if the message is to be rejected (rules 1 to 5). `accept(id, data)` may refuse an attribute, which is then
  // ignored (rule 6).
  template <typename Accept>
  bool read(std::span<const std::uint8_t> payload, const std::array<AttrRule, kCount>& rules, Accept&& accept) {
    while (payload.size() > kAttrHeader) {
      const std::uint32_t length = get_be16(payload.data());
      const std::uint32_t id = get_be16(payload.data() + 2);
      if (length > payload.size() || length < kAttrHeader || id >= kCount) return false;
      const auto rule = rules[id];
      if (rule.at_most ? length > rule.length : length != rule.length) return false;
      const auto data = payload.subspan(kAttrHeader, length - kAttrHeader);
      if (accept(id, data)) {
        at_[id] = data.data();
        size_[id] = static_cast<std::uint16_t>(data.size());
        known_ |= std::uint64_t{1} << id;
      }
      // The padding of the last attribute may be missing.
      payload = payload.subspan(padded(length) < payload.size() ? padded(length) : payload.size());
    }
    return true;
  }

  // Of the others only with has().
  bool has(std::uint32_t id) const { return (known_ >> id & 1U) != 0; }
  const std::uint8_t* at(std::uint32_t id) const { return at_[id]; }
  std::span<const std::uint8_t> span(std::uint32_t id) const { return {at_[id], size_[id]}; }

 private:
  static_assert(kCount <= 64);
  std::uint64_t known_ = 0;
  // Not cleared: known_ says which are set.
  std::array<const std::uint8_t*, kCount> at_;
  std::array<std::uint16_t, kCount> size_;
};

}  // namespace ctsync::wire
