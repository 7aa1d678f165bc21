// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/wire/flow_codec.h"

#include <algorithm>

#include "attributes.h"

namespace ctsync::wire {
namespace {

// Attribute ids, spec replication.md 2.2.
enum Attr : std::uint32_t {
  kOrigIpv4 = 0,
  kOrigIpv6,
  kL4Proto,
  kOrigPorts,
  kTcpState,
  kStatus,
  kTimeout,
  kMark,
  kMasterIpv4,
  kMasterIpv6,
  kMasterL4Proto,
  kMasterPorts,
  kSnatIpv4,
  kDnatIpv4,
  kSnatPort,
  kDnatPort,
  kSeqAdjust,
  kSctpState,
  kSctpTagOrig,
  kSctpTagReply,
  kDccpState,
  kDccpRole,
  kIcmpType,
  kIcmpCode,
  kIcmpId,
  kWscaleOrig,
  kWscaleReply,
  kHelper,
  kLabels,
  kSnatIpv6,
  kDnatIpv6,
  kSynproxy,
  kZone,
  kOrigZone,  // doc/wire-format.md, section 10
  kReplyZone,
  kAttrCount,
};

constexpr std::uint16_t kMaxHelperAttr = kAttrHeader + kMaxWireHelperName + 1;
constexpr std::uint16_t kMaxLabelsAttr = kAttrHeader + 1024;

constexpr std::array<AttrRule, kAttrCount> kRules = {{
    {12},
    {36},
    {5},
    {8},
    {5},
    {8},
    {8},
    {8},  // 0 addresses, protocol, ports, state, status ...
    {12},
    {36},
    {5},
    {8},
    {8},
    {8},
    {6},
    {6},  // 8 master, IPv4 NAT
    {28},
    {5},
    {8},
    {8},
    {5},
    {5},
    {5},
    {5},  // 16 sequence adjustment, SCTP, DCCP, ICMP
    {6},
    {5},
    {5},
    {kMaxHelperAttr, true},
    {kMaxLabelsAttr, true},
    {20},
    {20},
    {16},
    {6},  // 24 ICMP id ... zone
    {6},  // 33 zone of the original direction
    {6},  // 34 zone of the reply direction
}};

void put_protocol_part(ByteWriter& w, const Flow& f, const FlowExtra* x, const EncodeOptions& options) {
  const auto l4 = f.orig.l4;
  if (is_icmp(l4)) {
    if (!f.knows(has::kPorts)) return;
    put_u8(w, kIcmpType, f.orig.icmp_type());
    put_u8(w, kIcmpCode, f.orig.icmp_code());
    put_host16(w, kIcmpId, f.orig.icmp_id());
    return;
  }
  // Stock sends nothing for GRE and UDP-Lite, but takes keys and ports (spec replication.md 9, 11).
  const bool unsent_by_stock = (l4 == kGre || l4 == kUdpLite) && (f.orig.src_port != 0 || f.orig.dst_port != 0);
  if (has_ports(l4) || unsent_by_stock) put_ports(w, kOrigPorts, f.orig);
  if (!f.knows(has::kProtoState)) return;
  switch (l4) {
    case kTcp:
      put_u8(w, kTcpState, f.proto_state);
      if (options.window_scale && f.knows(has::kWscaleOrig)) put_u8(w, kWscaleOrig, f.wscale_orig);
      if (options.window_scale && f.knows(has::kWscaleReply)) put_u8(w, kWscaleReply, f.wscale_reply);
      break;
    case kSctp:
      put_u8(w, kSctpState, f.proto_state);
      if (x != nullptr && f.knows(has::kSctpTags)) {
        put_be32(w, kSctpTagOrig, x->sctp_vtag_orig);
        put_be32(w, kSctpTagReply, x->sctp_vtag_reply);
      }
      break;
    case kDccp:
      put_u8(w, kDccpState, f.proto_state);
      if (x != nullptr && f.knows(has::kDccpRole)) put_u8(w, kDccpRole, x->dccp_role);
      break;
    default:
      break;
  }
}

void put_nat(ByteWriter& w, const Flow& f, bool swap) {
  const auto nat = nat_of(f);
  const auto written = [swap = swap && f.orig.family == Family::ipv4](const Address& a) {
    return swap ? swapped(a) : a;
  };
  if (nat.snat) put_address(w, kSnatIpv4, kSnatIpv6, f.orig.family, written(f.reply_dst));
  if (nat.dnat) put_address(w, kDnatIpv4, kDnatIpv6, f.orig.family, written(f.reply_src));
  // For ICMP the two numbers are not ports; stock sends zeros then (spec replication.md 2.5).
  const bool ports = !is_icmp(f.orig.l4);
  if (nat.snat_port) put_host16(w, kSnatPort, ports ? f.reply_dst_port : std::uint16_t{0});
  if (nat.dnat_port) put_host16(w, kDnatPort, ports ? f.reply_src_port : std::uint16_t{0});
}

void put_master(ByteWriter& w, const Flow& f, const FlowExtra& x) {
  if (!f.knows(has::kMaster) || x.master.family == Family::none) return;
  put_addresses(w, kMasterIpv4, kMasterIpv6, x.master);
  put_u8(w, kMasterL4Proto, x.master.l4);
  if (f.knows(has::kMasterPorts)) put_ports(w, kMasterPorts, x.master);
}

void put_seq_adjust(ByteWriter& w, const FlowExtra& x) {
  put_header(w, kSeqAdjust, 24);
  for (const auto& s : {x.seqadj_orig, x.seqadj_reply}) {
    w.be32(s.correction_pos);
    w.be32(s.offset_before);
    w.be32(s.offset_after);
  }
}

void put_synproxy(ByteWriter& w, const Flow& f, const FlowExtra* x) {
  put_header(w, kSynproxy, 12);
  if (x != nullptr && f.knows(has::kSynproxyValues)) {
    w.be32(x->synproxy_its);
    w.be32(x->synproxy_isn);
    w.be32(x->synproxy_tsoff);
  } else {
    w.zeros(12);
  }
}

void put_labels(ByteWriter& w, const FlowExtra& x) {
  put_header(w, kLabels, sizeof x.labels);
  for (const auto word : x.labels) w.be32(word);
}

using Attributes = AttrIndex<kAttrCount>;

// The original tuple. `family` is that of the address pair that came last.
DecodeStatus get_tuple(Flow& f, const Attributes& a, Family family) {
  if (family == Family::none || !a.has(kL4Proto)) return DecodeStatus::incomplete;
  auto& t = f.orig;
  get_addresses(t, family, a.at(family == Family::ipv4 ? kOrigIpv4 : kOrigIpv6));
  t.l4 = *a.at(kL4Proto);
  if (is_icmp(t.l4)) {
    if (!a.has(kIcmpType)) return DecodeStatus::ok;
    t.set_icmp(*a.at(kIcmpType), a.has(kIcmpCode) ? *a.at(kIcmpCode) : std::uint8_t{0},
               a.has(kIcmpId) ? get_host16(a.at(kIcmpId)) : std::uint16_t{0});
    f.present |= has::kPorts;
    return DecodeStatus::ok;
  }
  const bool may_have = has_ports(t.l4) || t.l4 == kGre || t.l4 == kUdpLite;
  if (may_have && a.has(kOrigPorts)) {
    get_ports(t, a.at(kOrigPorts));
    f.present |= has::kPorts;
  }
  return has_ports(t.l4) && !f.knows(has::kPorts) ? DecodeStatus::no_ports : DecodeStatus::ok;
}

void get_nat(Flow& f, const Attributes& a) {
  const bool ipv4 = f.orig.family == Family::ipv4;
  const auto snat = ipv4 ? kSnatIpv4 : kSnatIpv6;
  const auto dnat = ipv4 ? kDnatIpv4 : kDnatIpv6;
  if (a.has(snat)) {
    get_address(f.reply_dst, f.orig.family, a.at(snat));
    f.present |= has::kSnat;
  }
  if (a.has(dnat)) {
    get_address(f.reply_src, f.orig.family, a.at(dnat));
    f.present |= has::kDnat;
  }
  if (is_icmp(f.orig.l4)) return;  // noise of stock senders, spec replication.md 2.5
  if (a.has(kSnatPort)) {
    f.reply_dst_port = get_host16(a.at(kSnatPort));
    f.present |= has::kSnatPort;
  }
  if (a.has(kDnatPort)) {
    f.reply_src_port = get_host16(a.at(kDnatPort));
    f.present |= has::kDnatPort;
  }
}

void get_protocol_state(FlowRecord& r, const Attributes& a) {
  auto& f = r.flow;
  const auto state = [&](Attr id) {
    if (!a.has(id)) return;
    f.proto_state = *a.at(id);
    f.present |= has::kProtoState;
  };
  switch (f.orig.l4) {
    case kTcp:
      state(kTcpState);
      if (a.has(kWscaleOrig)) {
        f.wscale_orig = *a.at(kWscaleOrig);
        f.present |= has::kWscaleOrig;
      }
      if (a.has(kWscaleReply)) {
        f.wscale_reply = *a.at(kWscaleReply);
        f.present |= has::kWscaleReply;
      }
      break;
    case kSctp:
      state(kSctpState);
      if (a.has(kSctpTagOrig) && a.has(kSctpTagReply)) {
        r.extra.sctp_vtag_orig = get_be32(a.at(kSctpTagOrig));
        r.extra.sctp_vtag_reply = get_be32(a.at(kSctpTagReply));
        f.present |= has::kSctpTags;
      }
      break;
    case kDccp:
      state(kDccpState);
      if (a.has(kDccpRole)) {
        r.extra.dccp_role = *a.at(kDccpRole);
        f.present |= has::kDccpRole;
      }
      break;
    default:
      break;
  }
}

// A master without addresses or protocol names no flow; it is ignored.
void get_master(FlowRecord& r, const Attributes& a) {
  const auto family = a.has(kMasterIpv4) ? Family::ipv4 : a.has(kMasterIpv6) ? Family::ipv6 : Family::none;
  if (family == Family::none || !a.has(kMasterL4Proto)) return;
  r.extra.master = Tuple{};
  get_addresses(r.extra.master, family, a.at(family == Family::ipv4 ? kMasterIpv4 : kMasterIpv6));
  r.extra.master.l4 = *a.at(kMasterL4Proto);
  r.flow.present |= has::kMaster;
  if (a.has(kMasterPorts)) {
    get_ports(r.extra.master, a.at(kMasterPorts));
    r.flow.present |= has::kMasterPorts;
  }
}

void get_extras(FlowRecord& r, const Attributes& a) {
  auto& f = r.flow;
  auto& x = r.extra;
  if (a.has(kSeqAdjust)) {
    const auto* d = a.at(kSeqAdjust);
    x.seqadj_orig = {get_be32(d), get_be32(d + 4), get_be32(d + 8)};
    x.seqadj_reply = {get_be32(d + 12), get_be32(d + 16), get_be32(d + 20)};
    f.present |= has::kSeqAdjOrig | has::kSeqAdjReply;
  }
  if (a.has(kHelper) && get_string(x.helper, a.span(kHelper))) f.present |= has::kHelper;
  if (a.has(kLabels)) {
    // Bits that the kernel does not have are dropped.
    const auto words = std::min(a.span(kLabels).size() / 4, kLabelWords);
    x.labels = {};
    for (std::size_t i = 0; i < words; ++i) x.labels[i] = get_be32(a.at(kLabels) + 4 * i);
    f.present |= has::kLabels;
  }
  if (a.has(kSynproxy)) {
    const auto* d = a.at(kSynproxy);
    f.present |= has::kSynproxy;
    x.synproxy_its = get_be32(d);
    x.synproxy_isn = get_be32(d + 4);
    x.synproxy_tsoff = get_be32(d + 8);
    if ((x.synproxy_its | x.synproxy_isn | x.synproxy_tsoff) != 0) f.present |= has::kSynproxyValues;
  }
}

void get_word(Flow& f, std::uint32_t& to, const Attributes& a, Attr id, std::uint32_t bit) {
  if (!a.has(id)) return;
  to = get_be32(a.at(id));
  f.present |= bit;
}

}  // namespace

Address swapped(const Address& ipv4) { return {ipv4[3], ipv4[2], ipv4[1], ipv4[0]}; }

void swap_nat_addresses(Flow& f) {
  if (f.orig.family != Family::ipv4) return;
  if (f.knows(has::kSnat)) f.reply_dst = swapped(f.reply_dst);
  if (f.knows(has::kDnat)) f.reply_src = swapped(f.reply_src);
}

void encode_flow(ByteWriter& w, MsgType type, std::uint8_t flags, std::uint32_t seq, const Flow& f,
                 const FlowExtra* extra, std::uint32_t age_seconds, const EncodeOptions& options) {
  const auto begin = w.size();
  encode_header(w, {type, flags, 0, seq});
  put_addresses(w, kOrigIpv4, kOrigIpv6, f.orig);
  put_be32(w, kStatus, f.knows(has::kStatus) ? f.status & ~status::kLocal : 0);
  put_u8(w, kL4Proto, f.orig.l4);
  put_protocol_part(w, f, extra, options);
  if (options.send_timeout && f.knows(has::kTimeout)) put_be32(w, kTimeout, aged_timeout(f.timeout, age_seconds));
  const std::uint32_t sent = f.present & ~options.left_out;
  if ((sent & has::kMark) != 0) put_be32(w, kMark, f.mark);
  if (extra != nullptr) put_master(w, f, *extra);
  put_nat(w, f, options.swap_nat);
  if (extra != nullptr && (f.present & has::kExtra) != 0) {
    if (f.knows(has::kSeqAdjOrig | has::kSeqAdjReply)) put_seq_adjust(w, *extra);
    if (f.knows(has::kHelper)) put_string(w, kHelper, extra->helper, kMaxWireHelperName);
    if ((sent & has::kLabels) != 0) put_labels(w, *extra);
  }
  if (f.knows(has::kSynproxy)) put_synproxy(w, f, extra);
  if (f.knows(has::kZone)) {
    put_be16(w, kZone, f.orig.zone);
  } else if (options.one_way_zones && f.orig.zone != 0) {
    put_be16(w, kOrigZone, f.orig.zone);
  } else if (options.one_way_zones && f.knows(has::kReplyZone) && extra != nullptr) {
    put_be16(w, kReplyZone, extra->reply_zone);
  }
  set_length(w, begin);
}

DecodeStatus decode_flow(std::span<const std::uint8_t> payload, FlowRecord& out) {
  Attributes a;
  Family family = Family::none;
  const bool good = a.read(payload, kRules, [&](std::uint32_t id, std::span<const std::uint8_t> data) {
    if (id == kOrigIpv4) family = Family::ipv4;
    if (id == kOrigIpv6) family = Family::ipv6;
    return id != kLabels || (!data.empty() && data.size() % 4 == 0);
  });
  if (!good) return DecodeStatus::bad_attribute;

  auto& f = out.flow;
  f = Flow{};
  if (const auto status = get_tuple(f, a, family); status != DecodeStatus::ok) return status;
  get_word(f, f.status, a, kStatus, has::kStatus);
  get_word(f, f.timeout, a, kTimeout, has::kTimeout);
  get_word(f, f.mark, a, kMark, has::kMark);
  if (a.has(kZone)) {
    f.orig.zone = get_be16(a.at(kZone));
    f.present |= has::kZone;
  } else if (a.has(kOrigZone)) {
    f.orig.zone = get_be16(a.at(kOrigZone));
  } else if (a.has(kReplyZone)) {
    out.extra.reply_zone = get_be16(a.at(kReplyZone));
    f.present |= has::kReplyZone;
  }
  get_protocol_state(out, a);
  get_nat(f, a);
  get_master(out, a);
  get_extras(out, a);
  return DecodeStatus::ok;
}

}  // namespace ctsync::wire
