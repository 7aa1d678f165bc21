// SPDX-License-Identifier: GPL-2.0-or-later
#include "conflict.h"

#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

#include <cstring>

namespace ctsync::kernel {
namespace {

// What a flow gains on its way and never loses.
constexpr std::uint32_t kProgress = status::kSeenReply | status::kAssured;

std::uint32_t progress_of(const Flow& f) { return f.knows(has::kStatus) ? f.status & kProgress : 0; }

// The way of a connection: unknown, handshake, established, one side has ended it, closed.
enum class Stage : std::uint8_t { unknown, handshake, established, ending, closed };

Stage tcp_stage(std::uint8_t state) {
  switch (state) {
    case TCP_CONNTRACK_SYN_SENT:
    case TCP_CONNTRACK_SYN_RECV:
    case TCP_CONNTRACK_SYN_SENT2:
      return Stage::handshake;
    case TCP_CONNTRACK_ESTABLISHED:
      return Stage::established;
    case TCP_CONNTRACK_FIN_WAIT:
    case TCP_CONNTRACK_CLOSE_WAIT:
    case TCP_CONNTRACK_LAST_ACK:
      return Stage::ending;
    case TCP_CONNTRACK_TIME_WAIT:
    case TCP_CONNTRACK_CLOSE:
      return Stage::closed;
    default:
      return Stage::unknown;
  }
}

Stage sctp_stage(std::uint8_t state) {
  switch (state) {
    case SCTP_CONNTRACK_CLOSED:
      return Stage::closed;
    case SCTP_CONNTRACK_COOKIE_WAIT:
    case SCTP_CONNTRACK_COOKIE_ECHOED:
    case SCTP_CONNTRACK_HEARTBEAT_SENT:
      return Stage::handshake;
    case SCTP_CONNTRACK_ESTABLISHED:
      return Stage::established;
    case SCTP_CONNTRACK_SHUTDOWN_SENT:
    case SCTP_CONNTRACK_SHUTDOWN_RECD:
      return Stage::ending;
    case SCTP_CONNTRACK_SHUTDOWN_ACK_SENT:
      return Stage::closed;
    default:
      return Stage::unknown;
  }
}

// Numbers of the kernel that no header for programs has (net/netfilter/nf_conntrack_proto_dccp.c).
Stage dccp_stage(std::uint8_t state) {
  switch (state) {
    case 1:  // REQUEST
    case 2:  // RESPOND
    case 3:  // PARTOPEN
      return Stage::handshake;
    case 4:  // OPEN
      return Stage::established;
    case 5:  // CLOSEREQ
    case 6:  // CLOSING
      return Stage::ending;
    case 7:  // TIMEWAIT
      return Stage::closed;
    default:
      return Stage::unknown;
  }
}

Stage stage_of(const Flow& f) {
  if (established_untold(f)) return Stage::established;
  if (!f.knows(has::kProtoState)) return Stage::unknown;
  switch (f.orig.l4) {
    case kTcp:
      return tcp_stage(f.proto_state);
    case kSctp:
      return sctp_stage(f.proto_state);
    case kDccp:
      return dccp_stage(f.proto_state);
    default:
      return Stage::unknown;
  }
}

bool closed_before(const Flow& there, const Flow& ours) {
  return stage_of(there) == Stage::closed && stage_of(ours) != Stage::closed;
}

// The status says more than the state: within one flow an assured entry was established.
bool further_on(const Flow& there, const Flow& ours) {
  const auto theirs = progress_of(there);
  const auto own = progress_of(ours);
  if (theirs != own) return (theirs & own) == own;
  return stage_of(there) > stage_of(ours);
}

bool tells_nat(const Flow& f) {
  const auto v = nat_of(f);
  return v.snat || v.dnat || v.snat_port || v.dnat_port;
}

// Whether the entry has what only a creation can write.
bool can_be_updated(const FlowRecord& there, const FlowRecord& ours) {
  if (!same_nat(there.flow, ours.flow)) return false;
  if (ours.flow.knows(has::kMaster) && !there.flow.knows(has::kMaster)) return false;
  if (!ours.flow.knows(has::kHelper)) return true;
  return there.flow.knows(has::kHelper) && std::strcmp(there.extra.helper.data(), ours.extra.helper.data()) == 0;
}

}  // namespace

Verdict judge(const FlowRecord& there, const FlowRecord& ours) {
  // A look-up also finds an entry whose reply tuple is the one asked for.
  if (!(there.flow.orig == ours.flow.orig) || closed_before(there.flow, ours.flow)) return Verdict::replace;
  const bool same = same_nat(there.flow, ours.flow) || !tells_nat(ours.flow);
  if (same && further_on(there.flow, ours.flow)) return Verdict::keep;
  return can_be_updated(there, ours) ? Verdict::merge : Verdict::replace;
}

std::uint32_t merged_status(const Flow& there, const Flow& ours) {
  return ((ours.status & ~status::kExpected) | progress_of(there)) | (there.status & status::kExpected);
}

bool may_be_refused(const Flow& ours) { return ours.knows(has::kStatus) && progress_of(ours) != kProgress; }

}  // namespace ctsync::kernel
