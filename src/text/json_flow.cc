// SPDX-License-Identifier: GPL-2.0-or-later
#include <array>
#include <bit>
#include <span>

#include "ctsync/flow/ip_address.h"
#include "ctsync/text/json_object.h"
#include "tcp_states.h"

namespace ctsync::text {
namespace {

constexpr std::array<std::string_view, 10> kSctpStates{
    "NONE",          "CLOSED",        "COOKIE_WAIT",       "COOKIE_ECHOED",  "ESTABLISHED",
    "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", "HEARTBEAT_ACKED"};
constexpr std::array<std::string_view, 8> kDccpStates{"NONE", "REQUEST",  "RESPOND", "PARTOPEN",
                                                      "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"};
// Of the bits of the kernel's status word, from the first.
constexpr std::array<std::string_view, 16> kStatusBits{
    "EXPECTED",     "SEEN_REPLY", "ASSURED",       "CONFIRMED", "SRC_NAT",   "DST_NAT", "SEQ_ADJUST", "SRC_NAT_DONE",
    "DST_NAT_DONE", "DYING",      "FIXED_TIMEOUT", "TEMPLATE",  "UNTRACKED", "HELPER",  "OFFLOAD",    "HW_OFFLOAD"};

std::string_view name_of_protocol(std::uint8_t l4) {
  switch (l4) {
    case kIcmp:
      return "icmp";
    case kTcp:
      return "tcp";
    case kUdp:
      return "udp";
    case kDccp:
      return "dccp";
    case kGre:
      return "gre";
    case kIcmpv6:
      return "icmpv6";
    case kSctp:
      return "sctp";
    case kUdpLite:
      return "udplite";
    default:
      return {};
  }
}

std::span<const std::string_view> states_of(std::uint8_t l4) {
  switch (l4) {
    case kTcp:
      return kTcpStates;
    case kSctp:
      return kSctpStates;
    case kDccp:
      return kDccpStates;
    default:
      return {};
  }
}

void add_protocol(JsonObject& o, const Tuple& t) {
  o.text("family", t.family == Family::ipv6 ? "ipv6" : "ipv4");
  o.number("protocol", t.l4);
  if (const auto name = name_of_protocol(t.l4); !name.empty()) o.text("protocol_name", name);
}

void add_address(JsonObject& o, std::string_view name, Family family, const Address& address) {
  o.text(name, to_string(IpAddress{.family = family, .bytes = address}));
}

void add_ports(JsonObject& o, std::uint8_t l4, const Tuple& t) {
  if (is_icmp(l4)) {
    o.number("type", t.icmp_type());
    o.number("code", t.icmp_code());
    o.number("id", t.icmp_id());
  } else if (l4 == kGre) {
    o.number("srckey", t.src_port);
    o.number("dstkey", t.dst_port);
  } else if (has_ports(l4) || l4 == kUdpLite) {
    o.number("sport", t.src_port);
    o.number("dport", t.dst_port);
  }
}

// `of`: the tuple that says which family and protocol it is.
void add_tuple(JsonObject& in, std::string_view name, const Tuple& of, const Tuple& t, bool with_ports) {
  JsonObject o(in.key(name));
  add_address(o, "src", of.family, t.src);
  add_address(o, "dst", of.family, t.dst);
  if (with_ports) add_ports(o, of.l4, t);
  o.end();
}

// What source and destination are changed to.
void add_nat(JsonObject& in, const Flow& f) {
  JsonObject o(in.key("nat"));
  if (f.knows(has::kSnat)) add_address(o, "src", f.orig.family, f.reply_dst);
  if (f.knows(has::kDnat)) add_address(o, "dst", f.orig.family, f.reply_src);
  if (f.knows(has::kSnatPort)) o.number("sport", f.reply_dst_port);
  if (f.knows(has::kDnatPort)) o.number("dport", f.reply_src_port);
  o.end();
}

void add_state(JsonObject& o, const Flow& f) {
  const auto states = states_of(f.orig.l4);
  if (!f.knows(has::kProtoState) || states.empty()) return;
  o.text("state", f.proto_state < states.size() ? states[f.proto_state] : "UNKNOWN");
}

void add_status(JsonObject& o, std::uint32_t status) {
  o.number("status", status);
  auto& out = o.key("flags");
  out += '[';
  bool first = true;
  for (std::size_t bit = 0; bit < kStatusBits.size(); ++bit) {
    if ((status >> bit & 1) == 0) continue;
    if (!first) out += ',';
    first = false;
    append_json_string(out, kStatusBits[bit]);
  }
  out += ']';
}

// The numbers of the bits that are set.
void add_labels(JsonObject& o, const std::array<std::uint32_t, kLabelWords>& labels) {
  auto& out = o.key("labels");
  out += '[';
  bool first = true;
  for (std::size_t word = 0; word < labels.size(); ++word) {
    for (auto rest = labels[word]; rest != 0; rest &= rest - 1) {
      if (!first) out += ',';
      first = false;
      fmt::format_to(std::back_inserter(out), "{}", word * 32 + static_cast<std::size_t>(std::countr_zero(rest)));
    }
  }
  out += ']';
}

void add_counters(JsonObject& in, std::string_view name, const FlowCounters& c) {
  JsonObject o(in.key(name));
  o.number("packets", c.packets);
  o.number("bytes", c.bytes);
  o.end();
}

void add_extra(JsonObject& o, const Flow& f, const FlowExtra& extra) {
  if (f.knows(has::kHelper)) o.text("helper", extra.helper.data());
  if (f.knows(has::kLabels)) add_labels(o, extra.labels);
  if (f.knows(has::kMaster)) add_tuple(o, "master", extra.master, extra.master, f.knows(has::kMasterPorts));
  if (f.knows(has::kCounters)) {
    add_counters(o, "original_counters", extra.counters_orig);
    add_counters(o, "reply_counters", extra.counters_reply);
  }
}

void add_zone(JsonObject& o, const Flow& f, const FlowExtra* extra) {
  if (f.knows(has::kZone)) {
    o.number("zone", f.orig.zone);
  } else if (f.orig.zone != 0) {
    o.number("original_zone", f.orig.zone);
  } else if (extra != nullptr && f.knows(has::kReplyZone)) {
    o.number("reply_zone", extra->reply_zone);
  }
}

void add_ages(JsonObject& o, const RenderOptions& options) {
  if (options.expires_in) o.number("expires_in", *options.expires_in);
  if (options.active_since) o.number("active_since", *options.active_since);
}

}  // namespace

void append_json_string(std::string& out, std::string_view s) {
  out += '"';
  for (const char c : s) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_json(std::string& out, const Flow& f, const FlowExtra* extra, const RenderOptions& options) {
  JsonObject o(out);
  add_protocol(o, f.orig);
  add_state(o, f);
  add_tuple(o, "original", f.orig, f.orig, f.knows(has::kPorts));
  if (f.knows(has::kReply)) {
    add_tuple(o, "reply", f.orig, f.reply(), f.knows(has::kPorts));
  } else if ((f.present & has::kNat) != 0) {
    add_nat(o, f);
  }
  add_zone(o, f, extra);
  if (f.knows(has::kStatus)) add_status(o, f.status);
  if (options.show_timeout && f.knows(has::kTimeout)) o.number("timeout", f.timeout);
  if (f.knows(has::kMark)) o.number("mark", f.mark);
  if (f.knows(has::kId)) o.number("id", f.id);
  if (extra != nullptr) add_extra(o, f, *extra);
  add_ages(o, options);
  o.end();
}

void append_json(std::string& out, const Expectation& x, const RenderOptions& options) {
  JsonObject o(out);
  add_protocol(o, x.expected);
  if (x.knows(expect_has::kMaster)) add_tuple(o, "master", x.master, x.master, x.knows(expect_has::kMasterPorts));
  if (x.knows(expect_has::kExpected)) {
    add_tuple(o, "expected", x.expected, x.expected, x.knows(expect_has::kExpectedPorts));
  }
  if (x.knows(expect_has::kMask)) add_tuple(o, "mask", x.expected, x.mask, x.knows(expect_has::kMaskPorts));
  if (x.knows(expect_has::kNat)) add_tuple(o, "nat", x.expected, x.nat, x.knows(expect_has::kNatPorts));
  if (x.knows(expect_has::kNatDir)) o.text("nat_direction", x.nat_dir == 0 ? "original" : "reply");
  if (x.knows(expect_has::kZone)) o.number("zone", x.zone);
  if (x.knows(expect_has::kFlags)) o.number("flags", x.flags);
  if (x.knows(expect_has::kClass)) o.number("class", x.klass);
  if (x.knows(expect_has::kHelper)) o.text("helper", x.helper.data());
  if (x.knows(expect_has::kFunction)) o.text("function", x.function.data());
  add_ages(o, options);
  o.end();
}

void append_json_resend(std::string& out, bool is_control, std::uint32_t seq, std::uint32_t flags) {
  JsonObject o(out);
  o.text("kind", is_control ? "control" : "object");
  o.number("seq", seq);
  if (is_control) o.number("flags", flags);
  o.end();
}

}  // namespace ctsync::text
