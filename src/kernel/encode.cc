// SPDX-License-Identifier: GPL-2.0-or-later
#include "encode.h"

#include <linux/netfilter/nf_conntrack_tcp.h>

#include <string_view>

#include "ctsync/flow/default_timeout.h"
#include "netlink_message.h"
#include "request.h"

namespace ctsync::kernel {
namespace {

constexpr std::uint16_t kRequest = NLM_F_REQUEST;
constexpr std::uint16_t kCreateRequest = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;

// Protocols whose kernel tuple has two 16-bit numbers besides ICMP's. A GRE flow from the wire has zero keys.
bool has_two_numbers(std::uint8_t l4) { return has_ports(l4) || l4 == kGre || l4 == kUdpLite; }

void put_addresses(Request& w, const Tuple& t) {
  const Nest ip(w, CTA_TUPLE_IP);
  const bool v4 = t.family == Family::ipv4;
  const std::size_t size = v4 ? 4 : 16;
  w.bytes(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, t.src.data(), size);
  w.bytes(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, t.dst.data(), size);
}

void put_proto(Request& w, const Tuple& t) {
  const Nest proto(w, CTA_TUPLE_PROTO);
  w.u8(CTA_PROTO_NUM, t.l4);
  if (has_two_numbers(t.l4)) {
    w.be16(CTA_PROTO_SRC_PORT, t.src_port);
    w.be16(CTA_PROTO_DST_PORT, t.dst_port);
  } else if (t.l4 == kIcmp) {
    w.be16(CTA_PROTO_ICMP_ID, t.icmp_id());
    w.u8(CTA_PROTO_ICMP_TYPE, t.icmp_type());
    w.u8(CTA_PROTO_ICMP_CODE, t.icmp_code());
  } else if (t.l4 == kIcmpv6) {
    w.be16(CTA_PROTO_ICMPV6_ID, t.icmp_id());
    w.u8(CTA_PROTO_ICMPV6_TYPE, t.icmp_type());
    w.u8(CTA_PROTO_ICMPV6_CODE, t.icmp_code());
  }
}

// `zone`: of this direction alone; 0: none.
void put_tuple(Request& w, unsigned type, const Tuple& t, std::uint16_t zone = 0) {
  const Nest tuple(w, type);
  put_addresses(w, t);
  put_proto(w, t);
  if (zone != 0) w.be16(CTA_TUPLE_ZONE, zone);
}

void put_tcp(Request& w, const Flow& f, bool be_liberal) {
  const bool untold = established_untold(f);
  const bool state = f.knows(has::kProtoState) || untold;
  const auto scales = f.present & (has::kWscaleOrig | has::kWscaleReply);
  if (!state && !scales && !be_liberal) return;
  const Nest info(w, CTA_PROTOINFO);
  const Nest tcp(w, CTA_PROTOINFO_TCP);
  if (state) w.u8(CTA_PROTOINFO_TCP_STATE, untold ? kTcpEstablished : f.proto_state);
  if (scales & has::kWscaleOrig) w.u8(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, f.wscale_orig);
  if (scales & has::kWscaleReply) w.u8(CTA_PROTOINFO_TCP_WSCALE_REPLY, f.wscale_reply);
  if (!be_liberal) return;
  const nf_ct_tcp_flags flags{IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL};
  w.bytes(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &flags, sizeof flags);
  w.bytes(CTA_PROTOINFO_TCP_FLAGS_REPLY, &flags, sizeof flags);
}

// The kernel wants state and both tags or nothing.
void put_sctp(Request& w, const FlowRecord& r) {
  if (!r.flow.knows(has::kProtoState | has::kSctpTags)) return;
  const Nest info(w, CTA_PROTOINFO);
  const Nest sctp(w, CTA_PROTOINFO_SCTP);
  w.u8(CTA_PROTOINFO_SCTP_STATE, r.flow.proto_state);
  w.be32(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, r.extra.sctp_vtag_orig);
  w.be32(CTA_PROTOINFO_SCTP_VTAG_REPLY, r.extra.sctp_vtag_reply);
}

// The kernel wants state and role or nothing.
void put_dccp(Request& w, const FlowRecord& r) {
  if (!r.flow.knows(has::kProtoState | has::kDccpRole)) return;
  const Nest info(w, CTA_PROTOINFO);
  const Nest dccp(w, CTA_PROTOINFO_DCCP);
  w.u8(CTA_PROTOINFO_DCCP_STATE, r.flow.proto_state);
  w.u8(CTA_PROTOINFO_DCCP_ROLE, r.extra.dccp_role);
}

void put_protoinfo(Request& w, const FlowRecord& r, bool be_liberal) {
  switch (r.flow.orig.l4) {
    case kTcp:
      return put_tcp(w, r.flow, be_liberal);
    case kSctp:
      return put_sctp(w, r);
    case kDccp:
      return put_dccp(w, r);
    default:
      return;
  }
}

// One NAT range with a minimum only, which the kernel takes for minimum = maximum.
void put_nat(Request& w, unsigned type, Family family, const Address* address, const std::uint16_t* port) {
  if (!address && !port) return;
  const Nest nat(w, type);
  if (address) {
    const bool v4 = family == Family::ipv4;
    w.bytes(v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, address->data(), v4 ? 4 : 16);
  }
  if (!port) return;
  const Nest proto(w, CTA_NAT_PROTO);
  w.be16(CTA_PROTONAT_PORT_MIN, *port);
  w.be16(CTA_PROTONAT_PORT_MAX, *port);
}

void put_nats(Request& w, const Flow& f) {
  const NatView v = nat_of(f);
  // The port values of ICMP and of protocols without numbers mean nothing (spec replication.md 2.5).
  const bool ports = has_two_numbers(f.orig.l4);
  put_nat(w, CTA_NAT_SRC, f.orig.family, v.snat ? &f.reply_dst : nullptr,
          v.snat_port && ports ? &f.reply_dst_port : nullptr);
  put_nat(w, CTA_NAT_DST, f.orig.family, v.dnat ? &f.reply_src : nullptr,
          v.dnat_port && ports ? &f.reply_src_port : nullptr);
}

void put_seqadj(Request& w, unsigned type, const SeqAdjust& s) {
  const Nest nest(w, type);
  w.be32(CTA_SEQADJ_CORRECTION_POS, s.correction_pos);
  w.be32(CTA_SEQADJ_OFFSET_BEFORE, s.offset_before);
  w.be32(CTA_SEQADJ_OFFSET_AFTER, s.offset_after);
}

void put_synproxy(Request& w, const FlowRecord& r) {
  const bool values = r.flow.knows(has::kSynproxyValues);
  const Nest nest(w, CTA_SYNPROXY);
  w.be32(CTA_SYNPROXY_ISN, values ? r.extra.synproxy_isn : 0);
  w.be32(CTA_SYNPROXY_ITS, values ? r.extra.synproxy_its : 0);
  w.be32(CTA_SYNPROXY_TSOFF, values ? r.extra.synproxy_tsoff : 0);
}

void put_labels(Request& w, const FlowExtra& e) {
  w.bytes(CTA_LABELS, e.labels.data(), sizeof e.labels);  // words in host order
}

void put_zone(Request& w, unsigned type, std::uint16_t zone) {
  if (zone != 0) w.be16(type, zone);
}

// What creates and updates have in common.
void put_values(Request& w, const FlowRecord& r, bool be_liberal) {
  const Flow& f = r.flow;
  w.be32(CTA_TIMEOUT, f.knows(has::kTimeout) ? f.timeout : default_timeout(f));
  if (f.knows(has::kMark)) w.be32(CTA_MARK, f.mark);
  put_protoinfo(w, r, be_liberal);
  if (f.knows(has::kSeqAdjOrig)) put_seqadj(w, CTA_SEQ_ADJ_ORIG, r.extra.seqadj_orig);
  if (f.knows(has::kSeqAdjReply)) put_seqadj(w, CTA_SEQ_ADJ_REPLY, r.extra.seqadj_reply);
  if (f.knows(has::kLabels)) put_labels(w, r.extra);
  if (f.knows(has::kSynproxy)) put_synproxy(w, r);
}

void put_expect_nat(Request& w, const Expectation& e) {
  if (!e.knows(expect_has::kNat)) return;
  // The family of the saved address is that of the expectation; a wire flow of another family has none.
  if (e.nat.family != e.expected.family) return;
  const Nest nat(w, CTA_EXPECT_NAT);
  w.be32(CTA_EXPECT_NAT_DIR, e.nat_dir);
  put_tuple(w, CTA_EXPECT_NAT_TUPLE, e.nat);
}

std::uint16_t zone_of(const Expectation& e) { return e.knows(expect_has::kZone) ? e.zone : e.expected.zone; }

}  // namespace

bool encodable(const Tuple& orig) { return orig.family == Family::ipv4 || orig.family == Family::ipv6; }

std::size_t encode_create(std::span<std::uint8_t> room, std::uint32_t seq, const FlowRecord& r, bool be_liberal) {
  const Flow& f = r.flow;
  Request w(room, kFlowNew, kCreateRequest, seq, f.orig.family);
  // A zone of one direction alone is a part of a new entry's tuple. (To find one the kernel takes that of the original
  // direction for that of both.)
  put_tuple(w, CTA_TUPLE_ORIG, f.orig, f.knows(has::kZone) ? 0 : f.orig.zone);
  put_tuple(w, CTA_TUPLE_REPLY, inverse(f.orig), f.knows(has::kReplyZone) ? r.extra.reply_zone : 0);
  if (f.knows(has::kMaster)) put_tuple(w, CTA_TUPLE_MASTER, r.extra.master);
  if (f.knows(has::kStatus)) w.be32(CTA_STATUS, status::of_new_entry(f.status));
  put_nats(w, f);
  if (f.knows(has::kHelper)) {
    const Nest help(w, CTA_HELP);
    w.text(CTA_HELP_NAME, r.extra.helper.data());
  }
  put_values(w, r, be_liberal);
  if (f.knows(has::kZone)) put_zone(w, CTA_ZONE, f.orig.zone);
  return w.size();
}

std::size_t encode_update(std::span<std::uint8_t> room, std::uint32_t seq, const FlowRecord& r, bool be_liberal) {
  const Flow& f = r.flow;
  Request w(room, kFlowNew, kRequest, seq, f.orig.family);
  put_tuple(w, CTA_TUPLE_ORIG, f.orig);
  if (f.knows(has::kStatus)) {
    w.be32(CTA_STATUS,
           (f.status & ~(status::kSrcNat | status::kDstNat | status::kDying | status::kLocal)) | status::kConfirmed);
  }
  put_values(w, r, be_liberal);
  put_zone(w, CTA_ZONE, f.orig.zone);
  return w.size();
}

std::size_t encode_destroy(std::span<std::uint8_t> room, std::uint32_t seq, const Tuple& orig,
                           const std::uint32_t* id) {
  Request w(room, kFlowDelete, kRequest, seq, orig.family);
  put_tuple(w, CTA_TUPLE_ORIG, orig);
  if (id) w.be32(CTA_ID, *id);
  put_zone(w, CTA_ZONE, orig.zone);
  return w.size();
}

std::size_t encode_get(std::span<std::uint8_t> room, std::uint32_t seq, const Tuple& orig) {
  Request w(room, kFlowGet, kRequest, seq, orig.family);
  put_tuple(w, CTA_TUPLE_ORIG, orig);
  put_zone(w, CTA_ZONE, orig.zone);
  return w.size();
}

std::size_t encode_expect_create(std::span<std::uint8_t> room, std::uint32_t seq, const Expectation& e, bool minimal) {
  using namespace expect_has;
  Request w(room, kExpectNew, kCreateRequest, seq, e.expected.family);
  put_tuple(w, CTA_EXPECT_MASTER, e.master);
  put_tuple(w, CTA_EXPECT_TUPLE, e.expected);
  put_tuple(w, CTA_EXPECT_MASK, e.mask);
  if (e.knows(kTimeout)) w.be32(CTA_EXPECT_TIMEOUT, e.timeout);
  if (e.knows(kFlags)) w.be32(CTA_EXPECT_FLAGS, e.flags);
  if (e.knows(kHelper)) w.text(CTA_EXPECT_HELP_NAME, e.helper.data());
  if (!minimal) {
    if (e.knows(kClass)) w.be32(CTA_EXPECT_CLASS, e.klass);
    put_expect_nat(w, e);
    if (e.knows(kFunction)) w.text(CTA_EXPECT_FN, e.function.data());
  }
  put_zone(w, CTA_EXPECT_ZONE, zone_of(e));
  return w.size();
}

std::size_t encode_expect_destroy(std::span<std::uint8_t> room, std::uint32_t seq, const Expectation& e) {
  Request w(room, kExpectDelete, kRequest, seq, e.expected.family);
  put_tuple(w, CTA_EXPECT_TUPLE, e.expected);
  put_zone(w, CTA_EXPECT_ZONE, zone_of(e));
  return w.size();
}

std::size_t encode_flush_expectations(std::span<std::uint8_t> room, std::uint32_t seq) {
  return Request(room, kExpectDelete, kRequest, seq, Family::none).size();
}

}  // namespace ctsync::kernel
