// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/progress.h"

#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

namespace ctsync {
namespace {

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

}  // namespace

bool closed_before(const Flow& there, const Flow& ours) {
  return stage_of(there) == Stage::closed && stage_of(ours) != Stage::closed;
}

// The status says more than the state: within one flow an assured entry was established.
bool further_on(const Flow& there, const Flow& ours) {
  if (closed_before(there, ours)) return false;
  const auto theirs = progress_of(there);
  const auto own = progress_of(ours);
  if (theirs != own) return (theirs & own) == own;
  return stage_of(there) > stage_of(ours);
}

bool may_go_on(const Flow& f) {
  if (!f.knows(has::kStatus)) return false;
  const auto stage = stage_of(f);
  return progress_of(f) != kProgress || stage == Stage::handshake || stage == Stage::established;
}

}  // namespace ctsync
