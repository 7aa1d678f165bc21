// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/text/render_flow.h"

#include <fmt/format.h>
#include <linux/netlink.h>

#include <array>
#include <cstdlib>
#include <iterator>

#include "ctsync/base/bytes.h"
#include "library_tuple.h"
#include "plain_flow.h"

namespace ctsync::text {
namespace {

void set_state(nf_conntrack* ct, const Flow& f) {
  if (!f.knows(has::kProtoState)) return;
  switch (f.orig.l4) {
    case kTcp:
      nfct_set_attr_u8(ct, ATTR_TCP_STATE, f.proto_state);
      break;
    case kSctp:
      nfct_set_attr_u8(ct, ATTR_SCTP_STATE, f.proto_state);
      break;
    case kDccp:
      nfct_set_attr_u8(ct, ATTR_DCCP_STATE, f.proto_state);
      break;
    default:
      break;
  }
}

void set_zone(nf_conntrack* ct, const Flow& f, const FlowExtra* extra) {
  if (f.knows(has::kZone)) {
    nfct_set_attr_u16(ct, ATTR_ZONE, f.orig.zone);
  } else if (f.orig.zone != 0) {
    nfct_set_attr_u16(ct, ATTR_ORIG_ZONE, f.orig.zone);
  } else if (extra != nullptr && f.knows(has::kReplyZone)) {
    nfct_set_attr_u16(ct, ATTR_REPL_ZONE, extra->reply_zone);
  }
}

// An attribute that holds packets and bytes (linux/netfilter/nfnetlink_conntrack.h, enum ctattr_counters).
void put_counters(ByteWriter& w, std::uint16_t type, const FlowCounters& c) {
  constexpr std::uint16_t kNumber = NLA_HDRLEN + sizeof(std::uint64_t);
  w.host16(NLA_HDRLEN + 2 * kNumber);
  w.host16(type | NLA_F_NESTED);
  const auto put_number = [&](std::uint16_t number_type, std::uint64_t n) {
    w.host16(kNumber);
    w.host16(number_type);
    w.be64(n);
  };
  put_number(CTA_COUNTERS_PACKETS, c.packets);
  put_number(CTA_COUNTERS_BYTES, c.bytes);
}

// The library has no setters for counters, but takes them from a kernel message. Must come first: it also sets the
// family.
void set_counters(nf_conntrack* ct, Family family, const FlowExtra& extra) {
  std::array<std::uint8_t, 64> message;
  ByteWriter w(message);
  put_counters(w, CTA_COUNTERS_ORIG, extra.counters_orig);
  put_counters(w, CTA_COUNTERS_REPLY, extra.counters_reply);
  nfct_payload_parse(message.data(), w.size(), static_cast<std::uint16_t>(family), ct);
}

// NAT values of wire flows are not shown: the library has no place for them.
void set_flow(nf_conntrack* ct, const Flow& f, const FlowExtra* extra, const RenderOptions& o) {
  if (extra != nullptr && f.knows(has::kCounters)) set_counters(ct, f.orig.family, *extra);
  set_original(ct, f.orig, f.knows(has::kPorts));
  if (f.knows(has::kReply)) set_reply(ct, f.reply(), f.knows(has::kPorts));
  set_state(ct, f);
  set_zone(ct, f, extra);
  if (f.knows(has::kStatus)) nfct_set_attr_u32(ct, ATTR_STATUS, f.status);
  if (o.show_timeout && f.knows(has::kTimeout)) nfct_set_attr_u32(ct, ATTR_TIMEOUT, f.timeout);
  if (f.knows(has::kMark)) nfct_set_attr_u32(ct, ATTR_MARK, f.mark);
  if (f.knows(has::kId)) nfct_set_attr_u32(ct, ATTR_ID, f.id);
  if (extra != nullptr && f.knows(has::kHelper))
    nfct_set_attr(ct, ATTR_HELPER_NAME, printable_name(extra->helper).data());
}

nf_conntrack* make_conntrack() {
  auto* ct = nfct_new();
  if (ct == nullptr) std::abort();  // out of memory
  return ct;
}

}  // namespace

FlowRenderer::FlowRenderer() : empty_(make_conntrack()), ct_(make_conntrack()) {}

FlowRenderer::~FlowRenderer() {
  nfct_destroy(ct_);
  nfct_destroy(empty_);
}

void FlowRenderer::append(std::string& out, const Flow& flow, const FlowExtra* extra, const RenderOptions& options) {
  if (options.xml || !append_plain_flow(out, flow, options.show_timeout)) by_library(out, flow, extra, options);
  append_ages(out, options);
}

void FlowRenderer::by_library(std::string& out, const Flow& flow, const FlowExtra* extra,
                              const RenderOptions& options) {
  // Unsetting attributes one by one would leave old values behind that the library prints without looking at presence.
  nfct_copy(ct_, empty_, NFCT_CP_OVERRIDE);
  set_flow(ct_, flow, extra, options);
  print(out, options.xml ? NFCT_O_XML : NFCT_O_PLAIN);
}

void FlowRenderer::append_message(std::string& out, Family family, std::span<const std::uint8_t> attributes) {
  nfct_copy(ct_, empty_, NFCT_CP_OVERRIDE);
  nfct_payload_parse(attributes.data(), attributes.size(), static_cast<std::uint16_t>(family), ct_);
  print(out, NFCT_O_PLAIN);
}

void FlowRenderer::print(std::string& out, unsigned form) {
  std::array<char, kMaxLine> line;
  line[0] = '\0';
  append_printed(out, line, nfct_snprintf(line.data(), kMaxLine, ct_, NFCT_T_UNKNOWN, form, 0));
}

void append_ages(std::string& out, const RenderOptions& options) {
  if (options.xml) return;
  if (options.expires_in) fmt::format_to(std::back_inserter(out), " [expires in {}s]", *options.expires_in);
  if (options.active_since) fmt::format_to(std::back_inserter(out), " [active since {}s]", *options.active_since);
}

}  // namespace ctsync::text
