// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/wire/extension.h"

#include <algorithm>
#include <cstring>

#include "attributes.h"

namespace ctsync::wire {
namespace {

constexpr std::uint32_t kMagic = 0x43545831;  // "CTX1"

enum Tlv : std::uint16_t {
  kCapabilities = 1,
  kGroupSums = 3,
  kBucketSums = 4,
  kSumsWanted = 5,
  kRepairRequest = 6,
  kRepairEnd = 7,
  kBulkEnd = 9,
  kProbe = 11,
  kAddressee = 12,
  kMissing = 13,
};

constexpr std::size_t kTlvHeader = 4;

void put_tlv(ByteWriter& w, Tlv type, std::size_t size) {
  w.be16(type);
  w.be16(static_cast<std::uint16_t>(kTlvHeader + size));
}

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d.
constexpr std::size_t kAddressSize = 16;
constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

IpAddress read_address(std::span<const std::uint8_t> bytes) {
  const bool mapped = std::ranges::equal(bytes.first(kMapped.size()), kMapped);
  if (mapped) bytes = bytes.subspan(kMapped.size());
  IpAddress a{.family = mapped ? Family::ipv4 : Family::ipv6};
  std::ranges::copy(bytes, a.bytes.begin());
  return a;
}

void put_address(ByteWriter& w, const IpAddress& a) {
  const bool mapped = a.family == Family::ipv4;
  if (mapped) w.copy(kMapped.data(), kMapped.size());
  w.copy(a.bytes.data(), mapped ? kAddressSize - kMapped.size() : kAddressSize);
}

Capabilities read_capabilities(std::span<const std::uint8_t> data) {
  ByteReader r(data);
  Capabilities c;
  c.bits = r.be32();
  c.node = r.be32();
  c.epoch = r.be64();
  const auto text = r.bytes(std::min(r.left(), c.version.size()));
  // It goes to terminals and logs.
  std::ranges::transform(text.first(std::min(text.size(), c.version.size() - 1)), c.version.begin(),
                         [](std::uint8_t b) { return b == 0 || (b > 0x20 && b < 0x7f) ? static_cast<char>(b) : '?'; });
  std::fill(std::ranges::find(c.version, '\0'), c.version.end(), '\0');
  if (r.left() >= 8) c.host = r.be64();
  for (std::size_t i = 0; i < c.addresses.size() && r.left() >= kAddressSize; ++i) {
    c.addresses[i] = read_address(r.bytes(kAddressSize));
  }
  return c;
}

Sums read_sums(bool of_buckets, std::span<const std::uint8_t> data) {
  ByteReader r(data);
  Sums s{.of_buckets = of_buckets, .first = r.be16()};
  r.skip(2);
  while (r.left() >= 8 && s.count < Sums::kMost) s.sums[s.count++] = r.be64();
  return s;
}

RepairRequest read_repair_request(std::span<const std::uint8_t> data) {
  ByteReader r(data);
  RepairRequest q{.number = r.be32()};
  while (r.left() >= 2 && q.count < RepairRequest::kMost) q.buckets[q.count++] = r.be16();
  return q;
}

Probe read_probe(std::span<const std::uint8_t> data) {
  ByteReader r(data);
  Probe p{.stamp = r.be32()};
  while (r.left() >= 12 && p.count < Probe::kMost) {
    p.echoes[p.count++] = {.node = r.be32(), .stamp = r.be32(), .held = r.be32()};
  }
  return p;
}

void take(Extension& e, std::uint16_t type, std::span<const std::uint8_t> data) {
  ByteReader r(data);
  switch (type) {
    case kCapabilities:
      if (data.size() < 16) return;
      e.capabilities = read_capabilities(data);
      if (e.capabilities->node == 0) e.capabilities.reset();
      return;
    case kBulkEnd:
      if (data.size() < 8) return;
      e.bulk_end = {.first = r.be32(), .count = r.be32()};
      return;
    case kGroupSums:
    case kBucketSums:
      if (data.size() >= 12) e.sums = read_sums(type == kBucketSums, data);
      return;
    case kSumsWanted:
      if (data.size() >= 8) e.sums_wanted = r.be64();
      return;
    case kRepairRequest:
      if (data.size() >= 4) e.repair_request = read_repair_request(data);
      return;
    case kRepairEnd:
      if (data.size() < 8) return;
      e.repair_end = {.number = r.be32(), .first = r.be32()};
      return;
    case kProbe:
      if (data.size() >= 4) e.probe = read_probe(data);
      return;
    case kAddressee:
      if (data.size() < 8) return;
      e.addressee = {.node = r.be32(), .heard = r.be32()};
      return;
    case kMissing:
      e.missing = {};
      while (r.left() >= 8 && e.missing.count < Missing::kMost) {
        e.missing.ranges[e.missing.count++] = {.from = r.be32(), .to = r.be32()};
      }
      return;
    default:
      return;
  }
}

}  // namespace

std::span<const std::uint8_t> tail_of(const Message& m) {
  if (m.header.type != MsgType::control) return {};
  const bool range = (m.header.flags & flag::kRange) != 0;
  const std::size_t read = range ? kControlRangeSize - kHeaderSize : 0;
  return m.payload.size() > read ? m.payload.subspan(read) : std::span<const std::uint8_t>();
}

Extension read_extension(std::span<const std::uint8_t> tail) {
  Extension e;
  ByteReader r(tail);
  if (r.be32() != kMagic) return e;
  while (r.left() >= kTlvHeader) {
    const std::uint16_t type = r.be16();
    const std::size_t length = r.be16();
    if (length < kTlvHeader || length - kTlvHeader > r.left()) break;
    take(e, type, r.bytes(length - kTlvHeader));
    r.skip(std::min<std::size_t>(padded(static_cast<std::uint32_t>(length)) - length, r.left()));
  }
  return e;
}

void write_extension(ByteWriter& w, const Extension& e) {
  if (e.empty()) return;
  w.be32(kMagic);
  if (e.capabilities) {
    const auto& c = *e.capabilities;
    const auto addresses = std::ranges::count_if(c.addresses, &IpAddress::is_set);
    put_tlv(w, kCapabilities, 24 + c.version.size() + kAddressSize * static_cast<std::size_t>(addresses));
    w.be32(c.bits);
    w.be32(c.node);
    w.be64(c.epoch);
    w.copy(c.version.data(), c.version.size());
    w.be64(c.host);
    for (const auto& a : c.addresses) {
      if (a.is_set()) put_address(w, a);
    }
  }
  if (e.bulk_end) {
    put_tlv(w, kBulkEnd, 8);
    w.be32(e.bulk_end->first);
    w.be32(e.bulk_end->count);
  }
  if (e.addressee) {
    put_tlv(w, kAddressee, 8);
    w.be32(e.addressee->node);
    w.be32(e.addressee->heard);
  }
  if (e.sums.count != 0) {
    put_tlv(w, e.sums.of_buckets ? kBucketSums : kGroupSums, 4 + 8U * e.sums.count);
    w.be16(e.sums.first);
    w.zeros(2);
    for (const auto s : e.sums.all()) w.be64(s);
  }
  if (e.sums_wanted) {
    put_tlv(w, kSumsWanted, 8);
    w.be64(*e.sums_wanted);
  }
  if (e.repair_request) {
    const auto& q = *e.repair_request;
    put_tlv(w, kRepairRequest, 4 + 2U * q.count);
    w.be32(q.number);
    for (const auto b : q.all()) w.be16(b);
    if (q.count % 2 != 0) w.zeros(2);
  }
  if (e.repair_end) {
    put_tlv(w, kRepairEnd, 8);
    w.be32(e.repair_end->number);
    w.be32(e.repair_end->first);
  }
  if (e.probe) {
    put_tlv(w, kProbe, 4 + 12U * e.probe->count);
    w.be32(e.probe->stamp);
    for (const auto& echo : e.probe->all()) {
      w.be32(echo.node);
      w.be32(echo.stamp);
      w.be32(echo.held);
    }
  }
  if (e.missing.count != 0) {
    put_tlv(w, kMissing, 8U * e.missing.count);
    for (const auto& r : e.missing.all()) {
      w.be32(r.from);
      w.be32(r.to);
    }
  }
}

}  // namespace ctsync::wire
