// SPDX-License-Identifier: GPL-2.0-or-later
// A flow: one conntrack entry as a plain value. Flow holds what every flow has; FlowExtra what few flows have, which
// the tables keep in a side record. Absent is not zero: each optional attribute has a presence bit. Numbers are in host
// byte order, addresses are bytes in network order.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "ctsync/flow/ip_address.h"

namespace ctsync {

// Layer-4 protocol numbers that need a rule of their own.
inline constexpr std::uint8_t kIcmp = 1;
inline constexpr std::uint8_t kTcp = 6;
inline constexpr std::uint8_t kUdp = 17;
inline constexpr std::uint8_t kDccp = 33;
inline constexpr std::uint8_t kGre = 47;
inline constexpr std::uint8_t kIcmpv6 = 58;
inline constexpr std::uint8_t kSctp = 132;
inline constexpr std::uint8_t kUdpLite = 136;

// One direction of a flow. The two numbers of the layer-4 protocol are: ports (TCP, UDP, SCTP, DCCP, UDP-Lite), keys
// (GRE), or, for ICMP and ICMPv6, id in src_port and type * 256 + code in dst_port. Zero for all other protocols.
struct Tuple {
  Address src{};
  Address dst{};
  std::uint16_t src_port = 0;
  std::uint16_t dst_port = 0;
  std::uint16_t zone = 0;
  std::uint8_t l4 = 0;
  Family family = Family::none;

  bool operator==(const Tuple& o) const { return std::memcmp(this, &o, sizeof o) == 0; }  // has no padding

  std::uint8_t icmp_type() const { return static_cast<std::uint8_t>(dst_port >> 8); }
  std::uint8_t icmp_code() const { return static_cast<std::uint8_t>(dst_port & 0xff); }
  std::uint16_t icmp_id() const { return src_port; }
  void set_icmp(std::uint8_t type, std::uint8_t code, std::uint16_t id) {
    src_port = id;
    dst_port = static_cast<std::uint16_t>(type << 8 | code);
  }
};
static_assert(sizeof(Tuple) == 40);

constexpr bool is_icmp(std::uint8_t l4) { return l4 == kIcmp || l4 == kIcmpv6; }
// Protocols whose tuple carries ports on the wire (spec replication.md 2.5).
constexpr bool has_ports(std::uint8_t l4) { return l4 == kTcp || l4 == kUdp || l4 == kSctp || l4 == kDccp; }

// The same flow seen from the other end, without NAT; an ICMP type becomes the type of its answer. The zone stays.
Tuple inverse(const Tuple& t);

// Bits of the kernel's status word (linux/netfilter/nf_conntrack_common.h, enum ip_conntrack_status).
namespace status {
inline constexpr std::uint32_t kExpected = 1U << 0;
inline constexpr std::uint32_t kSeenReply = 1U << 1;
inline constexpr std::uint32_t kAssured = 1U << 2;
inline constexpr std::uint32_t kConfirmed = 1U << 3;
inline constexpr std::uint32_t kSrcNat = 1U << 4;
inline constexpr std::uint32_t kDstNat = 1U << 5;
inline constexpr std::uint32_t kSeqAdjust = 1U << 6;
inline constexpr std::uint32_t kSrcNatDone = 1U << 7;
inline constexpr std::uint32_t kDstNatDone = 1U << 8;
inline constexpr std::uint32_t kDying = 1U << 9;
inline constexpr std::uint32_t kHelper = 1U << 13;
inline constexpr std::uint32_t kOffload = 1U << 14;    // forwarded by a flow table
inline constexpr std::uint32_t kHwOffload = 1U << 15;  // the same, in hardware
// What holds for one kernel alone: neither told to peers nor written to a kernel.
inline constexpr std::uint32_t kLocal = kOffload | kHwOffload;
// What a kernel's entry is created with, of what a peer told.
constexpr std::uint32_t of_new_entry(std::uint32_t told) {
  return (told & ~(kExpected | kDying | kLocal)) | kConfirmed;
}
}  // namespace status

// Presence bits of Flow::present.
namespace has {
inline constexpr std::uint32_t kPorts = 1U << 0;  // the two layer-4 numbers of the original tuple
inline constexpr std::uint32_t kReply = 1U << 1;  // the whole reply tuple (kernel flows)
inline constexpr std::uint32_t kSnat = 1U << 2;   // reply_dst is the address the source is changed to (wire flows)
inline constexpr std::uint32_t kDnat = 1U << 3;   // reply_src is the address the destination is changed to (wire flows)
inline constexpr std::uint32_t kSnatPort = 1U << 4;  // reply_dst_port likewise
inline constexpr std::uint32_t kDnatPort = 1U << 5;  // reply_src_port likewise
inline constexpr std::uint32_t kStatus = 1U << 6;
inline constexpr std::uint32_t kTimeout = 1U << 7;
inline constexpr std::uint32_t kMark = 1U << 8;
inline constexpr std::uint32_t kId = 1U << 9;
inline constexpr std::uint32_t kProtoState = 1U << 10;  // TCP, SCTP, DCCP
inline constexpr std::uint32_t kWscaleOrig = 1U << 11;
inline constexpr std::uint32_t kWscaleReply = 1U << 12;
inline constexpr std::uint32_t kZone = 1U << 13;      // the zone holds for both directions
inline constexpr std::uint32_t kSynproxy = 1U << 14;  // with all values zero unless kSynproxyValues
// Attributes whose values are in FlowExtra:
inline constexpr std::uint32_t kSynproxyValues = 1U << 16;
inline constexpr std::uint32_t kLabels = 1U << 17;
inline constexpr std::uint32_t kHelper = 1U << 18;
inline constexpr std::uint32_t kSeqAdjOrig = 1U << 19;
inline constexpr std::uint32_t kSeqAdjReply = 1U << 20;
inline constexpr std::uint32_t kMaster = 1U << 21;  // addresses and protocol of the master
inline constexpr std::uint32_t kMasterPorts = 1U << 22;
inline constexpr std::uint32_t kSctpTags = 1U << 23;
inline constexpr std::uint32_t kDccpRole = 1U << 24;
inline constexpr std::uint32_t kCounters = 1U << 25;
inline constexpr std::uint32_t kReplyZone = 1U << 26;   // a zone of the reply direction alone
inline constexpr std::uint32_t kExtra = 0xffffU << 16;  // any of these: the flow needs a FlowExtra
inline constexpr std::uint32_t kNat = kSnat | kDnat | kSnatPort | kDnatPort;
}  // namespace has

struct Flow {
  Tuple orig;
  // Reply tuple (family, protocol and zone are those of orig), or NAT values of a flow that came over the wire; see
  // `has`.
  Address reply_src{};
  Address reply_dst{};
  std::uint16_t reply_src_port = 0;
  std::uint16_t reply_dst_port = 0;
  std::uint32_t present = 0;  // bits of `has`
  std::uint32_t status = 0;   // bits of `status`
  std::uint32_t timeout = 0;  // seconds, as the source reported it; ages from that moment on
  std::uint32_t mark = 0;
  std::uint32_t id = 0;          // conntrack id, of kernel flows
  std::uint8_t proto_state = 0;  // kernel state number of TCP, SCTP or DCCP
  std::uint8_t wscale_orig = 0;
  std::uint8_t wscale_reply = 0;
  std::uint8_t spare = 0;

  bool knows(std::uint32_t bits) const { return (present & bits) == bits; }
  Tuple reply() const;  // meaningful with has::kReply
};
static_assert(sizeof(Flow) == 100);

// Kernel label bits: 128 at most (NF_CT_LABELS_MAX_SIZE); word 0 holds bits 0 to 31.
inline constexpr std::size_t kLabelWords = 4;
// Including the terminating zero (NF_CT_HELPER_NAME_LEN).
inline constexpr std::size_t kHelperNameSize = 16;
// Longer names would make conntrackd reject the message: they are told to nobody, so that no peer has them.
inline constexpr std::size_t kLongestToldHelper = 11;

struct SeqAdjust {
  std::uint32_t correction_pos = 0;
  std::uint32_t offset_before = 0;  // signed number in two's complement
  std::uint32_t offset_after = 0;
};

struct FlowCounters {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

struct FlowExtra {
  std::array<std::uint32_t, kLabelWords> labels;
  std::array<char, kHelperNameSize> helper;  // always terminated
  SeqAdjust seqadj_orig;
  SeqAdjust seqadj_reply;
  Tuple master;
  std::uint32_t synproxy_isn;
  std::uint32_t synproxy_its;
  std::uint32_t synproxy_tsoff;
  std::uint32_t sctp_vtag_orig;
  std::uint32_t sctp_vtag_reply;
  std::uint8_t dccp_role;
  std::uint16_t reply_zone;
  FlowCounters counters_orig;
  FlowCounters counters_reply;
};

// A decoded flow on its way into a table. Only the members of `extra` that flow.present announces are set; the others
// hold whatever was in memory before, so that decoding need not clear them.
struct FlowRecord {
  FlowRecord() {}  // NOLINT: extra stays uninitialised on purpose
  Flow flow;
  union {
    FlowExtra extra;
  };
};

inline constexpr std::uint8_t kTcpEstablished = 3;  // kernel state number

// Of a flow that a flow table forwards the kernel tells neither state nor timeout. Only established flows get there, so
// an assured TCP flow without a state is one.
inline bool established_untold(const Flow& f) {
  return f.orig.l4 == kTcp && !f.knows(has::kProtoState) && f.knows(has::kStatus) && (f.status & status::kAssured) != 0;
}

// Copies the attributes that `bits` names (within has::kExtra) from `from` to `to`.
void copy_extra(FlowExtra& to, const FlowExtra& from, std::uint32_t bits);

// The merge rule of the caches (spec replication.md 4.2): every attribute known in `from` overwrites, all others stay;
// the original and reply tuples stay. Extra attributes are merged by the table with copy_extra.
void merge(Flow& to, const Flow& from);

// NAT of a kernel flow, computed from the tuples as the wire format wants it (spec replication.md 2.5).
struct NatView {
  bool snat = false;
  bool dnat = false;
  bool snat_port = false;
  bool dnat_port = false;
};
// Flows with has::kReply: from the tuples and the set-up bits. Wire flows: from the presence bits.
NatView nat_of(const Flow& f);

// Whether two flows with the same original tuple are translated alike. Numbers of ICMP are not compared (spec
// replication.md 2.5).
bool same_nat(const Flow& a, const Flow& b);

// Complete = protocol, addresses and ports known: such a flow is committed after its master (spec replication.md 5.1).
inline bool has_complete_master(const Flow& f) { return f.knows(has::kMaster | has::kMasterPorts); }

}  // namespace ctsync
