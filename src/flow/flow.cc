// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/flow.h"

#include <algorithm>

#include "ctsync/flow/expectation.h"

namespace ctsync {
namespace {

// Request type -> type of its answer and back (RFC 792, RFC 4443, RFC 4620); others map to themselves.
std::uint8_t icmp_answer(std::uint8_t l4, std::uint8_t type) {
  if (l4 == kIcmp) {
    switch (type) {
      case 8:
        return 0;  // echo
      case 0:
        return 8;
      case 13:
        return 14;  // timestamp
      case 14:
        return 13;
      case 15:
        return 16;  // information
      case 16:
        return 15;
      case 17:
        return 18;  // address mask
      case 18:
        return 17;
      default:
        return type;
    }
  }
  switch (type) {
    case 128:
      return 129;  // echo
    case 129:
      return 128;
    case 139:
      return 140;  // node information
    case 140:
      return 139;
    default:
      return type;
  }
}

}  // namespace

Tuple inverse(const Tuple& t) {
  Tuple r = t;
  r.src = t.dst;
  r.dst = t.src;
  if (is_icmp(t.l4)) {
    r.set_icmp(icmp_answer(t.l4, t.icmp_type()), t.icmp_code(), t.icmp_id());
  } else {
    r.src_port = t.dst_port;
    r.dst_port = t.src_port;
  }
  return r;
}

Tuple Flow::reply() const {
  Tuple r = orig;
  r.src = reply_src;
  r.dst = reply_dst;
  r.src_port = reply_src_port;
  r.dst_port = reply_dst_port;
  return r;
}

void copy_extra(FlowExtra& to, const FlowExtra& from, std::uint32_t bits) {
  if (bits & has::kLabels) to.labels = from.labels;
  if (bits & has::kHelper) to.helper = from.helper;
  if (bits & has::kSeqAdjOrig) to.seqadj_orig = from.seqadj_orig;
  if (bits & has::kSeqAdjReply) to.seqadj_reply = from.seqadj_reply;
  if (bits & (has::kMaster | has::kMasterPorts)) to.master = from.master;
  if (bits & has::kSynproxyValues) {
    to.synproxy_isn = from.synproxy_isn;
    to.synproxy_its = from.synproxy_its;
    to.synproxy_tsoff = from.synproxy_tsoff;
  }
  if (bits & has::kSctpTags) {
    to.sctp_vtag_orig = from.sctp_vtag_orig;
    to.sctp_vtag_reply = from.sctp_vtag_reply;
  }
  if (bits & has::kDccpRole) to.dccp_role = from.dccp_role;
  if (bits & has::kReplyZone) to.reply_zone = from.reply_zone;
  if (bits & has::kCounters) {
    to.counters_orig = from.counters_orig;
    to.counters_reply = from.counters_reply;
  }
}

void merge(Flow& to, const Flow& from) {
  const auto p = from.present;
  if (p & has::kStatus) to.status = from.status;
  if (p & has::kTimeout) to.timeout = from.timeout;
  if (p & has::kMark) to.mark = from.mark;
  if (p & has::kId) to.id = from.id;
  if (p & has::kProtoState) to.proto_state = from.proto_state;
  if (p & has::kWscaleOrig) to.wscale_orig = from.wscale_orig;
  if (p & has::kWscaleReply) to.wscale_reply = from.wscale_reply;
  // A reply tuple, once known, stays; NAT values of wire flows are attributes like any other.
  if (!(to.present & has::kReply)) {
    if (p & has::kReply) {
      to.reply_src = from.reply_src;
      to.reply_dst = from.reply_dst;
      to.reply_src_port = from.reply_src_port;
      to.reply_dst_port = from.reply_dst_port;
    } else {
      if (p & has::kSnat) to.reply_dst = from.reply_dst;
      if (p & has::kDnat) to.reply_src = from.reply_src;
      if (p & has::kSnatPort) to.reply_dst_port = from.reply_dst_port;
      if (p & has::kDnatPort) to.reply_src_port = from.reply_src_port;
    }
  }
  // A SYNPROXY part without values means zeros.
  if ((p & (has::kSynproxy | has::kSynproxyValues)) == has::kSynproxy) to.present &= ~has::kSynproxyValues;
  to.present |= p;
}

NatView nat_of(const Flow& f) {
  NatView v;
  if (!f.knows(has::kReply)) {
    v.snat = f.knows(has::kSnat);
    v.dnat = f.knows(has::kDnat);
    v.snat_port = f.knows(has::kSnatPort);
    v.dnat_port = f.knows(has::kDnatPort);
    return v;
  }
  const bool status_known = f.knows(has::kStatus);
  const bool src_done = !status_known || (f.status & status::kSrcNatDone) != 0;
  const bool dst_done = !status_known || (f.status & status::kDstNatDone) != 0;
  v.snat = src_done && f.reply_dst != f.orig.src;
  v.dnat = dst_done && f.reply_src != f.orig.dst;
  v.snat_port = src_done && f.reply_dst_port != f.orig.src_port;
  v.dnat_port = dst_done && f.reply_src_port != f.orig.dst_port;
  return v;
}

bool same_nat(const Flow& a, const Flow& b) {
  const auto v = nat_of(a);
  const auto w = nat_of(b);
  if (v.snat != w.snat || v.dnat != w.dnat) return false;
  if (v.snat && a.reply_dst != b.reply_dst) return false;
  if (v.dnat && a.reply_src != b.reply_src) return false;
  if (is_icmp(a.orig.l4)) return true;
  if (v.snat_port != w.snat_port || v.dnat_port != w.dnat_port) return false;
  return (!v.snat_port || a.reply_dst_port == b.reply_dst_port) &&
         (!v.dnat_port || a.reply_src_port == b.reply_src_port);
}

bool same_key(const Expectation& a, const Expectation& b) {
  return a.master == b.master && a.expected == b.expected && a.mask == b.mask && a.flags == b.flags &&
         a.klass == b.klass && a.zone == b.zone && std::strcmp(a.helper.data(), b.helper.data()) == 0 &&
         std::strcmp(a.function.data(), b.function.data()) == 0;
}

}  // namespace ctsync
