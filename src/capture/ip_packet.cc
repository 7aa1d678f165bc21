// SPDX-License-Identifier: GPL-2.0-or-later
#include "ip_packet.h"

#include <algorithm>

#include "ctsync/base/bytes.h"

namespace ctsync::capture {
namespace {

// As on Linux: some of libpcap's numbers depend on the system.
enum LinkType : int {
  kNull = 0,
  kEthernet = 1,
  kRaw = 12,
  kLoop = 108,
  kLinuxCooked = 113,
  kIpv4Alone = 228,
  kIpv6Alone = 229,
  kLinuxCooked2 = 276,
};

enum EtherType : std::uint16_t {
  kTypeIpv4 = 0x0800,
  kTypeIpv6 = 0x86dd,
  kVlan = 0x8100,
  kServiceVlan = 0x88a8,
  kOldVlan = 0x9100
};

// Extension headers of IPv6.
enum NextHeader : std::uint8_t {
  kHopByHop = 0,
  kRouting = 43,
  kFragment = 44,
  kAuthentication = 51,
  kDestination = 60
};

bool is_tag(std::uint16_t type) { return type == kVlan || type == kServiceVlan || type == kOldVlan; }

// Steps over VLAN tags; past the end everything reads as 0.
std::uint16_t behind_tags(ByteReader& r, std::uint16_t type) {
  while (is_tag(type)) {
    r.skip(2);
    type = r.be16();
  }
  return type;
}

// Steps over the header of the link. Returns what it says is behind it, 0 if it does not say.
std::uint16_t skip_link_header(ByteReader& r, int link_type) {
  switch (link_type) {
    case kEthernet:
      r.skip(12);
      return behind_tags(r, r.be16());
    case kLinuxCooked:
      r.skip(14);
      return behind_tags(r, r.be16());
    case kLinuxCooked2: {
      const std::uint16_t type = r.be16();
      r.skip(18);
      return behind_tags(r, type);
    }
    case kNull:
    case kLoop:
      r.skip(4);  // the address family, whose numbers differ between systems
      return 0;
    default:
      return 0;
  }
}

IpAddress read_address(ByteReader& r, Family family) {
  IpAddress a{.family = family};
  r.copy(a.bytes.data(), family == Family::ipv4 ? 4 : a.bytes.size());
  return a;
}

// `rest`: what was captured of `size` bytes, perhaps with the padding of the link.
void set_payload(IpPacket& p, std::span<const std::uint8_t> rest, std::size_t size) {
  p.payload = rest.first(std::min(rest.size(), size));
  p.missing = size - p.payload.size();
}

std::optional<IpPacket> read_ipv4(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kShortest = 20;
  ByteReader r(bytes);
  const std::size_t header = (r.u8() & 0x0fU) * 4U;
  r.skip(1);
  const std::size_t total = r.be16();
  IpPacket p;
  p.id = r.be16();
  const std::uint32_t fragment = r.be16();
  r.skip(1);
  p.protocol = r.u8();
  r.skip(2);
  p.source = read_address(r, Family::ipv4);
  p.destination = read_address(r, Family::ipv4);
  if (r.failed() || header < kShortest || header > bytes.size() || total < header) return std::nullopt;
  set_payload(p, bytes.subspan(header), total - header);
  p.more = (fragment & 0x2000) != 0;
  p.offset = (fragment & 0x1fff) * 8;
  p.is_fragment = p.more || p.offset != 0;
  return p;
}

std::optional<IpPacket> read_ipv6(std::span<const std::uint8_t> bytes) {
  ByteReader r(bytes);
  r.skip(4);
  const std::size_t size = r.be16();
  IpPacket p;
  p.protocol = r.u8();
  r.skip(1);
  p.source = read_address(r, Family::ipv6);
  p.destination = read_address(r, Family::ipv6);
  if (r.failed()) return std::nullopt;
  set_payload(p, r.bytes(r.left()), size);
  if (!skip_extensions(p)) return std::nullopt;
  return p;
}

}  // namespace

bool is_known_link_type(int link_type) {
  switch (link_type) {
    case kNull:
    case kEthernet:
    case kRaw:
    case kLoop:
    case kLinuxCooked:
    case kIpv4Alone:
    case kIpv6Alone:
    case kLinuxCooked2:
      return true;
    default:
      return false;
  }
}

std::optional<IpPacket> read_ip(int link_type, const Frame& frame) {
  ByteReader r(frame.bytes);
  const std::uint16_t type = skip_link_header(r, link_type);
  const auto bytes = r.bytes(r.left());
  if (bytes.empty()) return std::nullopt;
  const int version = bytes.front() >> 4;
  std::optional<IpPacket> p;
  if (version == 4 && (type == 0 || type == kTypeIpv4)) p = read_ipv4(bytes);
  if (version == 6 && (type == 0 || type == kTypeIpv6)) p = read_ipv6(bytes);
  if (p) p->time = frame.time;
  return p;
}

bool skip_extensions(IpPacket& p) {
  while (!p.is_fragment) {
    ByteReader r(p.payload);
    const std::uint8_t next = r.u8();
    std::size_t size = 8;
    switch (p.protocol) {
      case kHopByHop:
      case kRouting:
      case kDestination:
        size = (r.u8() + 1U) * 8U;
        break;
      case kAuthentication:
        size = (r.u8() + 2U) * 4U;
        break;
      case kFragment: {
        r.skip(1);
        const std::uint32_t fragment = r.be16();
        p.id = r.be32();
        p.more = (fragment & 1) != 0;
        p.offset = fragment & 0xfff8;
        p.is_fragment = p.more || p.offset != 0;
        break;
      }
      default:
        return true;
    }
    if (r.failed() || size > p.payload.size()) return false;
    p.payload = p.payload.subspan(size);
    p.protocol = next;
  }
  return true;
}

}  // namespace ctsync::capture
