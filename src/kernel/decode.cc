// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/decode.h"

#include <algorithm>

#include "netlink_message.h"

namespace ctsync::kernel {
namespace {

using Bytes = std::span<const std::uint8_t>;

// What a tuple attribute turned out to hold.
struct TupleParts {
  bool src = false;
  bool dst = false;
  std::uint8_t numbers = 0;  // 1 and 2: the two ports or keys; 4, 8, 16: ICMP id, type, code

  bool addresses() const { return src && dst; }
  bool has_numbers() const { return (numbers & 3) == 3 || (numbers & 28) == 28; }
};

// An IPv4 address in an IPv6 tuple or the other way round does not occur, and would break what Address promises.
bool one_family(Tuple& t, Family family) {
  if (t.family != Family::none && t.family != family) return false;
  t.family = family;
  return true;
}

bool decode_ip(Bytes data, Tuple& t, TupleParts& parts) {
  return for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_IP_V4_SRC:
        return one_family(t, Family::ipv4) && (parts.src = a.copy(t.src.data(), 4));
      case CTA_IP_V4_DST:
        return one_family(t, Family::ipv4) && (parts.dst = a.copy(t.dst.data(), 4));
      case CTA_IP_V6_SRC:
        return one_family(t, Family::ipv6) && (parts.src = a.copy(t.src.data(), 16));
      case CTA_IP_V6_DST:
        return one_family(t, Family::ipv6) && (parts.dst = a.copy(t.dst.data(), 16));
      default:
        return true;
    }
  });
}

bool decode_proto(Bytes data, Tuple& t, TupleParts& parts) {
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  std::uint16_t id = 0;
  const bool ok = for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_PROTO_NUM:
        return a.u8(t.l4);
      case CTA_PROTO_SRC_PORT:
        parts.numbers |= 1;
        return a.be16(t.src_port);
      case CTA_PROTO_DST_PORT:
        parts.numbers |= 2;
        return a.be16(t.dst_port);
      case CTA_PROTO_ICMP_ID:
      case CTA_PROTO_ICMPV6_ID:
        parts.numbers |= 4;
        return a.be16(id);
      case CTA_PROTO_ICMP_TYPE:
      case CTA_PROTO_ICMPV6_TYPE:
        parts.numbers |= 8;
        return a.u8(type);
      case CTA_PROTO_ICMP_CODE:
      case CTA_PROTO_ICMPV6_CODE:
        parts.numbers |= 16;
        return a.u8(code);
      default:
        return true;
    }
  });
  if (parts.numbers & 28) t.set_icmp(type, code, id);
  return ok;
}

bool decode_tuple(Bytes data, Tuple& t, TupleParts& parts) {
  return for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_TUPLE_IP:
        return decode_ip(a.data, t, parts);
      case CTA_TUPLE_PROTO:
        return decode_proto(a.data, t, parts);
      case CTA_TUPLE_ZONE:
        return a.be16(t.zone);
      default:
        return true;
    }
  });
}

bool decode_orig(Bytes data, Flow& f, TupleParts& parts) {
  if (!decode_tuple(data, f.orig, parts)) return false;
  if (parts.has_numbers()) f.present |= has::kPorts;
  return true;
}

bool decode_reply(Bytes data, Flow& f, Tuple& reply) {
  TupleParts parts;
  if (!decode_tuple(data, reply, parts)) return false;
  if (!parts.addresses()) return true;
  f.reply_src = reply.src;
  f.reply_dst = reply.dst;
  f.reply_src_port = reply.src_port;
  f.reply_dst_port = reply.dst_port;
  f.present |= has::kReply;
  return true;
}

bool decode_master(Bytes data, FlowRecord& r) {
  TupleParts parts;
  r.extra.master = {};
  if (!decode_tuple(data, r.extra.master, parts)) return false;
  if (!parts.addresses()) return true;
  r.flow.present |= has::kMaster;
  if (parts.has_numbers()) r.flow.present |= has::kMasterPorts;
  return true;
}

bool decode_tcp(Bytes data, Flow& f) {
  return for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_PROTOINFO_TCP_STATE:
        f.present |= has::kProtoState;
        return a.u8(f.proto_state);
      case CTA_PROTOINFO_TCP_WSCALE_ORIGINAL:
        f.present |= has::kWscaleOrig;
        return a.u8(f.wscale_orig);
      case CTA_PROTOINFO_TCP_WSCALE_REPLY:
        f.present |= has::kWscaleReply;
        return a.u8(f.wscale_reply);
      default:
        return true;
    }
  });
}

bool decode_sctp(Bytes data, FlowRecord& r) {
  unsigned tags = 0;
  const bool ok = for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_PROTOINFO_SCTP_STATE:
        r.flow.present |= has::kProtoState;
        return a.u8(r.flow.proto_state);
      case CTA_PROTOINFO_SCTP_VTAG_ORIGINAL:
        tags |= 1;
        return a.be32(r.extra.sctp_vtag_orig);
      case CTA_PROTOINFO_SCTP_VTAG_REPLY:
        tags |= 2;
        return a.be32(r.extra.sctp_vtag_reply);
      default:
        return true;
    }
  });
  if (tags == 3) r.flow.present |= has::kSctpTags;
  return ok;
}

bool decode_dccp(Bytes data, FlowRecord& r) {
  return for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_PROTOINFO_DCCP_STATE:
        r.flow.present |= has::kProtoState;
        return a.u8(r.flow.proto_state);
      case CTA_PROTOINFO_DCCP_ROLE:
        r.flow.present |= has::kDccpRole;
        return a.u8(r.extra.dccp_role);
      default:
        return true;
    }
  });
}

bool decode_protoinfo(Bytes data, FlowRecord& r) {
  return for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_PROTOINFO_TCP:
        return decode_tcp(a.data, r.flow);
      case CTA_PROTOINFO_SCTP:
        return decode_sctp(a.data, r);
      case CTA_PROTOINFO_DCCP:
        return decode_dccp(a.data, r);
      default:
        return true;
    }
  });
}

template <std::size_t N>
bool copy_text(const Attribute& a, std::array<char, N>& to) {
  const auto text = a.text().substr(0, N - 1);
  to = {};
  std::copy(text.begin(), text.end(), to.begin());
  return !text.empty();
}

bool decode_help(Bytes data, FlowRecord& r) {
  return for_each_attribute(data, [&](const Attribute& a) {
    if (a.type == CTA_HELP_NAME && copy_text(a, r.extra.helper)) r.flow.present |= has::kHelper;
    return true;
  });
}

bool decode_labels(Bytes data, FlowRecord& r) {
  // A bitmap of 32-bit words in host order; what the kernel leaves out is zero.
  ByteReader words(data);
  for (auto& word : r.extra.labels) word = words.left() >= 4 ? words.host32() : 0;
  r.flow.present |= has::kLabels;
  return true;
}

bool decode_seqadj(Bytes data, SeqAdjust& s, std::uint32_t& present, std::uint32_t bit) {
  unsigned seen = 0;
  const bool ok = for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_SEQADJ_CORRECTION_POS:
        seen |= 1;
        return a.be32(s.correction_pos);
      case CTA_SEQADJ_OFFSET_BEFORE:
        seen |= 2;
        return a.be32(s.offset_before);
      case CTA_SEQADJ_OFFSET_AFTER:
        seen |= 4;
        return a.be32(s.offset_after);
      default:
        return true;
    }
  });
  if (seen == 7) present |= bit;
  return ok;
}

bool decode_synproxy(Bytes data, FlowRecord& r) {
  auto& e = r.extra;
  std::uint32_t isn = 0;
  std::uint32_t its = 0;
  std::uint32_t tsoff = 0;
  const bool ok = for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_SYNPROXY_ISN:
        return a.be32(isn);
      case CTA_SYNPROXY_ITS:
        return a.be32(its);
      case CTA_SYNPROXY_TSOFF:
        return a.be32(tsoff);
      default:
        return true;
    }
  });
  r.flow.present |= has::kSynproxy;
  if (isn | its | tsoff) {
    // Every flow made through netlink has a zero one (spec replication.md 2.5): those shall not cost a side record.
    r.flow.present |= has::kSynproxyValues;
    e.synproxy_isn = isn;
    e.synproxy_its = its;
    e.synproxy_tsoff = tsoff;
  }
  return ok;
}

bool decode_counters(Bytes data, FlowCounters& c) {
  c = {};
  return for_each_attribute(data, [&](const Attribute& a) {
    switch (a.type) {
      case CTA_COUNTERS_PACKETS:
        return a.be64(c.packets);
      case CTA_COUNTERS_BYTES:
        return a.be64(c.bytes);
      default:
        return true;
    }
  });
}

// Takes the nfgenmsg off; Family::none if it names neither IPv4 nor IPv6.
bool take_family(Bytes& body, Family& family) {
  if (body.size() < sizeof(nfgenmsg)) return false;
  const auto number = body[0];
  family = number == 2 ? Family::ipv4 : number == 10 ? Family::ipv6 : Family::none;
  body = body.subspan(sizeof(nfgenmsg));
  return true;
}

struct FlowParts {
  TupleParts orig;
  Tuple reply;
  unsigned counters = 0;
  bool zone_seen = false;
  std::uint16_t zone = 0;
};

bool decode_attribute(const Attribute& a, DecodeOptions options, FlowRecord& r, FlowParts& parts) {
  Flow& f = r.flow;
  switch (a.type) {
    case CTA_TUPLE_ORIG:
      return decode_orig(a.data, f, parts.orig);
    case CTA_TUPLE_REPLY:
      return decode_reply(a.data, f, parts.reply);
    case CTA_TUPLE_MASTER:
      return decode_master(a.data, r);
    case CTA_STATUS:
      f.present |= has::kStatus;
      return a.be32(f.status);
    case CTA_TIMEOUT:
      f.present |= has::kTimeout;
      return a.be32(f.timeout);
    case CTA_MARK:
      f.present |= has::kMark;
      return a.be32(f.mark);
    case CTA_ID:
      f.present |= has::kId;
      return a.be32(f.id);
    case CTA_ZONE:
      parts.zone_seen = true;
      return a.be16(parts.zone);
    case CTA_PROTOINFO:
      return decode_protoinfo(a.data, r);
    case CTA_HELP:
      return decode_help(a.data, r);
    case CTA_LABELS:
      return decode_labels(a.data, r);
    case CTA_SEQ_ADJ_ORIG:
      return decode_seqadj(a.data, r.extra.seqadj_orig, f.present, has::kSeqAdjOrig);
    case CTA_SEQ_ADJ_REPLY:
      return decode_seqadj(a.data, r.extra.seqadj_reply, f.present, has::kSeqAdjReply);
    case CTA_SYNPROXY:
      return decode_synproxy(a.data, r);
    case CTA_COUNTERS_ORIG:
      if (!options.counters) return true;
      parts.counters |= 1;
      return decode_counters(a.data, r.extra.counters_orig);
    case CTA_COUNTERS_REPLY:
      if (!options.counters) return true;
      parts.counters |= 2;
      return decode_counters(a.data, r.extra.counters_reply);
    default:
      return true;
  }
}

bool decode_expect_nat(Bytes data, Expectation& e) {
  return for_each_attribute(data, [&](const Attribute& a) {
    if (a.type == CTA_EXPECT_NAT_DIR) {
      e.present |= expect_has::kNatDir;
      return a.be32(e.nat_dir);
    }
    if (a.type != CTA_EXPECT_NAT_TUPLE) return true;
    TupleParts parts;
    if (!decode_tuple(a.data, e.nat, parts)) return false;
    if (parts.addresses()) e.present |= expect_has::kNat;
    if (parts.has_numbers()) e.present |= expect_has::kNatPorts;
    return true;
  });
}

bool decode_expect_tuple(Bytes data, Expectation& e, Tuple& t, std::uint32_t bit, std::uint32_t ports_bit) {
  TupleParts parts;
  t = {};
  if (!decode_tuple(data, t, parts)) return false;
  if (parts.addresses()) e.present |= bit;
  if (parts.has_numbers()) e.present |= ports_bit;
  return true;
}

bool decode_attribute(const Attribute& a, Expectation& e) {
  using namespace expect_has;
  switch (a.type) {
    case CTA_EXPECT_MASTER:
      return decode_expect_tuple(a.data, e, e.master, kMaster, kMasterPorts);
    case CTA_EXPECT_TUPLE:
      return decode_expect_tuple(a.data, e, e.expected, kExpected, kExpectedPorts);
    case CTA_EXPECT_MASK:
      return decode_expect_tuple(a.data, e, e.mask, kMask, kMaskPorts);
    case CTA_EXPECT_NAT:
      return decode_expect_nat(a.data, e);
    case CTA_EXPECT_TIMEOUT:
      e.present |= kTimeout;
      return a.be32(e.timeout);
    case CTA_EXPECT_FLAGS:
      e.present |= kFlags;
      return a.be32(e.flags);
    case CTA_EXPECT_CLASS:
      e.present |= kClass;
      return a.be32(e.klass);
    case CTA_EXPECT_ZONE:
      e.present |= kZone;
      return a.be16(e.zone);
    case CTA_EXPECT_HELP_NAME:
      if (copy_text(a, e.helper)) e.present |= kHelper;
      return true;
    case CTA_EXPECT_FN:
      if (copy_text(a, e.function)) e.present |= kFunction;
      return true;
    default:
      return true;
  }
}

}  // namespace

DecodeStatus decode_flow(Bytes body, DecodeOptions options, FlowRecord& out) {
  out.flow = {};
  Flow& f = out.flow;
  Family family = Family::none;
  if (!take_family(body, family)) return DecodeStatus::malformed;
  if (family == Family::none) return DecodeStatus::no_family;
  FlowParts parts;
  const bool ok =
      for_each_attribute(body, [&](const Attribute& a) { return decode_attribute(a, options, out, parts); });
  if (!ok) return DecodeStatus::malformed;
  if (!parts.orig.addresses() || f.orig.family != family) return DecodeStatus::no_addresses;
  if (f.knows(has::kReply) && (parts.reply.family != family || parts.reply.l4 != f.orig.l4)) {
    return DecodeStatus::malformed;
  }
  if (parts.counters == 3) f.present |= has::kCounters;
  if (parts.zone_seen) {
    f.orig.zone = parts.zone;
    f.present |= has::kZone;
  } else if (parts.reply.zone != 0) {
    out.extra.reply_zone = parts.reply.zone;
    f.present |= has::kReplyZone;
  }
  return DecodeStatus::ok;
}

DecodeStatus decode_expectation(Bytes body, Expectation& out) {
  out = {};
  Family family = Family::none;
  if (!take_family(body, family)) return DecodeStatus::malformed;
  if (family == Family::none) return DecodeStatus::no_family;
  const bool ok = for_each_attribute(body, [&](const Attribute& a) { return decode_attribute(a, out); });
  if (!ok) return DecodeStatus::malformed;
  if (!out.knows(expect_has::kExpected) || out.expected.family != family) return DecodeStatus::no_addresses;
  if (out.knows(expect_has::kZone)) out.master.zone = out.expected.zone = out.zone;
  return DecodeStatus::ok;
}

}  // namespace ctsync::kernel
