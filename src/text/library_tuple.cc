// SPDX-License-Identifier: GPL-2.0-or-later
#include "library_tuple.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "ctsync/base/bytes.h"

namespace ctsync::text {
namespace {

struct Direction {
  nf_conntrack_attr l3;
  nf_conntrack_attr l4;
  nf_conntrack_attr ipv4_src;
  nf_conntrack_attr ipv4_dst;
  nf_conntrack_attr ipv6_src;
  nf_conntrack_attr ipv6_dst;
  nf_conntrack_attr src_port;
  nf_conntrack_attr dst_port;
};

constexpr Direction kOriginal{ATTR_ORIG_L3PROTO,  ATTR_ORIG_L4PROTO,  ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV4_DST,
                              ATTR_ORIG_IPV6_SRC, ATTR_ORIG_IPV6_DST, ATTR_ORIG_PORT_SRC, ATTR_ORIG_PORT_DST};
constexpr Direction kReply{ATTR_REPL_L3PROTO,  ATTR_REPL_L4PROTO,  ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV4_DST,
                           ATTR_REPL_IPV6_SRC, ATTR_REPL_IPV6_DST, ATTR_REPL_PORT_SRC, ATTR_REPL_PORT_DST};

void set_tuple(nf_conntrack* ct, const Direction& d, const Tuple& t, bool with_ports) {
  // The library looks names up by these numbers, so nothing else may reach it as a family.
  if (t.family != Family::ipv4 && t.family != Family::ipv6) return;
  nfct_set_attr_u8(ct, d.l3, static_cast<std::uint8_t>(t.family));
  nfct_set_attr_u8(ct, d.l4, t.l4);
  if (t.family == Family::ipv4) {
    nfct_set_attr(ct, d.ipv4_src, t.src.data());
    nfct_set_attr(ct, d.ipv4_dst, t.dst.data());
  } else {
    nfct_set_attr(ct, d.ipv6_src, t.src.data());
    nfct_set_attr(ct, d.ipv6_dst, t.dst.data());
  }
  if (!with_ports || is_icmp(t.l4)) return;
  nfct_set_attr_u16(ct, d.src_port, network_order(t.src_port));
  nfct_set_attr_u16(ct, d.dst_port, network_order(t.dst_port));
}

}  // namespace

void set_original(nf_conntrack* ct, const Tuple& t, bool with_ports) {
  set_tuple(ct, kOriginal, t, with_ports);
  if (!with_ports || !is_icmp(t.l4)) return;
  nfct_set_attr_u8(ct, ATTR_ICMP_TYPE, t.icmp_type());
  nfct_set_attr_u8(ct, ATTR_ICMP_CODE, t.icmp_code());
  nfct_set_attr_u16(ct, ATTR_ICMP_ID, network_order(t.icmp_id()));
}

void set_reply(nf_conntrack* ct, const Tuple& t, bool with_ports) { set_tuple(ct, kReply, t, with_ports); }

std::array<char, kHelperNameSize> printable_name(const std::array<char, kHelperNameSize>& name) {
  std::array<char, kHelperNameSize> r{};
  constexpr std::string_view kOfXml = "<>&\"'";
  for (std::size_t i = 0; i + 1 < r.size() && name[i] != '\0'; ++i) {
    const bool plain = name[i] > ' ' && name[i] < '\x7f' && kOfXml.find(name[i]) == std::string_view::npos;
    r[i] = plain ? name[i] : '?';
  }
  return r;
}

void append_printed(std::string& out, std::span<const char> line, int printed) {
  if (printed <= 0) return;
  // The library returns what it would have liked to print; a line that did not fit ends with the zero.
  out.append(line.data(), std::min(static_cast<std::size_t>(printed), ::strnlen(line.data(), line.size())));
}

}  // namespace ctsync::text
