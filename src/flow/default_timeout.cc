// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/default_timeout.h"

namespace ctsync {
namespace {

std::uint32_t tcp_timeout(std::uint8_t state) {
  constexpr std::array<std::uint32_t, 10> kByState{60, 120, 60, 432000, 120, 60, 30, 120, 10, 120};
  return state < kByState.size() ? kByState[state] : 60;
}

std::uint32_t sctp_timeout(std::uint8_t state) {
  // none, closed, cookie wait, cookie echoed, established, shutdown sent, received, acknowledged, heartbeat sent
  constexpr std::array<std::uint32_t, 9> kByState{10, 10, 3, 3, 210, 3, 3, 3, 30};
  return state < kByState.size() ? kByState[state] : 10;
}

std::uint32_t dccp_timeout(std::uint8_t state) {
  // none, request, respond, partopen, open, close request, closing, time wait
  constexpr std::array<std::uint32_t, 8> kByState{240, 240, 480, 480, 43200, 64, 64, 240};
  return state < kByState.size() ? kByState[state] : 240;
}

}  // namespace

std::uint32_t default_timeout(const Flow& f) {
  const bool stream = f.knows(has::kStatus) && (f.status & status::kAssured);
  switch (f.orig.l4) {
    case kTcp:
      return tcp_timeout(established_untold(f) ? kTcpEstablished : f.proto_state);
    case kUdp:
    case kUdpLite:
      return stream ? 120 : 30;
    case kIcmp:
    case kIcmpv6:
      return 30;
    case kGre:
      return stream ? 180 : 30;
    case kSctp:
      return sctp_timeout(f.proto_state);
    case kDccp:
      return dccp_timeout(f.proto_state);
    default:
      return 600;
  }
}

}  // namespace ctsync
