// SPDX-License-Identifier: GPL-2.0-or-later
// Flow messages (types 0 to 2) to and from bytes: spec replication.md 2.2 to 2.7. What is written is byte for byte what
// stock conntrackd writes for the same flow, except for three additions that stock peers take correctly (spec 9, 11 and
// 12): GRE keys and UDP-Lite ports in attribute 3, labels that became empty, and a timeout reduced by its age. What
// EncodeOptions::one_way_zones adds a stock peer would reject the message for.
#pragma once

#include <cstdint>
#include <span>

#include "ctsync/base/bytes.h"
#include "ctsync/flow/flow.h"
#include "ctsync/wire/header.h"

namespace ctsync::wire {

// What the configuration of the sender decides, and who hears it.
struct EncodeOptions {
  bool send_timeout = true;   // false with CommitTimeout
  bool window_scale = false;  // TCPWindowTracking
  // All that hear it take attributes 33 and 34: the zone of a flow that has one in its original, its reply direction alone.
  bool one_way_zones = false;
  std::uint32_t left_out = 0;  // of has::kMark and has::kLabels: neither sent nor taken (SyncMark, SyncLabels off)
  bool swap_nat = false;  // SwapNATAddresses: IPv4 NAT addresses as peers up to conntrackd 1.4.6 write and read them
};

enum class DecodeStatus : std::uint8_t {
  ok,
  bad_attribute,  // rules 1 to 5 of spec replication.md 2.7: length, unknown id, wrong size
  incomplete,     // no address pair or no protocol
  no_ports,       // where the protocol has them
};

// More than the longest message the encoders write; a ByteWriter with that much room never fails.
inline constexpr std::size_t kMaxEncodedSize = 512;
// Length of a name on the wire without its terminating zero; longer ones would make stock reject the message.
inline constexpr std::size_t kMaxWireHelperName = kLongestToldHelper;

// Appends one message, header included. `f` may come from the kernel (has::kReply) or from the wire (NAT bits). `extra`
// holds the attributes announced in f.present; with nullptr they are left out. `age_seconds`: how long ago f.timeout
// was reported; it is subtracted, but the result is never below 1 (0 stays 0). Pass 0 to send the stored value. If
// there is too little room, w.failed() is set and the caller must rewind w.
void encode_flow(ByteWriter& w, MsgType type, std::uint8_t flags, std::uint32_t seq, const Flow& f,
                 const FlowExtra* extra, std::uint32_t age_seconds, const EncodeOptions& options);

// Turns the IPv4 NAT addresses of a flow that came over the wire: what a peer up to conntrackd 1.4.6 tells becomes what it
// means. Their four bytes are in the opposite order there, as if they were a number of the (little-endian) host.
void swap_nat_addresses(Flow& f);
// The address with its four bytes in the opposite order; the others are zero, as of any IPv4 address.
Address swapped(const Address& ipv4);

// `payload`: the message behind its header. On success out.flow is complete (as received: nothing is defaulted or
// forced) and the members of out.extra that out.flow.present announces are set. Otherwise out is unspecified.
DecodeStatus decode_flow(std::span<const std::uint8_t> payload, FlowRecord& out);

}  // namespace ctsync::wire
