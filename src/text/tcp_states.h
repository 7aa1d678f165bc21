// SPDX-License-Identifier: GPL-2.0-or-later
// Names of the states of enum tcp_conntrack (linux/netfilter/nf_conntrack_tcp.h), as libnetfilter_conntrack has them.
#pragma once

#include <array>
#include <string_view>

namespace ctsync::text {

inline constexpr std::array<std::string_view, 10> kTcpStates{"NONE",     "SYN_SENT",   "SYN_RECV", "ESTABLISHED",
                                                             "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT",
                                                             "CLOSE",    "SYN_SENT2"};

}  // namespace ctsync::text
