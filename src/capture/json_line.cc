// SPDX-License-Identifier: GPL-2.0-or-later
#include "json_line.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <concepts>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "ctsync/text/json.h"
#include "ctsync/text/json_object.h"

namespace ctsync::capture {
namespace {

using text::JsonObject;

constexpr std::array<std::string_view, kKinds> kKindNames{
    "new", "update", "delete", "expect_new", "expect_update", "expect_delete", "ack", "nack", "resync", "alive"};

std::string_view name_of(Gap gap) {
  switch (gap) {
    case Gap::wrong_version:
      return "wrong_version";
    case Gap::truncated:
      return "truncated";
    case Gap::bad_size:
      return "bad_size";
    case Gap::empty:
      return "empty";
    case Gap::cut_off:
      return "cut_off";
    case Gap::not_captured:
      return "not_captured";
    case Gap::skipped:
      return "skipped";
    case Gap::unfinished:
      return "unfinished";
  }
  return "";
}

std::string_view name_of(Order order) {
  switch (order) {
    case Order::next:
      return "next";
    case Order::gap:
      return "gap";
    case Order::late:
      return "late";
    case Order::repeated:
      return "repeated";
    case Order::restarted:
      return "restarted";
    case Order::elsewhere:
      return "elsewhere";
  }
  return "";
}

// `append(out, value)` appends one value.
template <typename Range, typename Append>
void add_array(JsonObject& in, std::string_view name, const Range& values, Append append) {
  std::string& out = in.key(name);
  out += '[';
  bool first = true;
  for (const auto& v : values) {
    if (!std::exchange(first, false)) out += ',';
    append(out, v);
  }
  out += ']';
}

void append_number(std::string& out, std::unsigned_integral auto n) {
  fmt::format_to(std::back_inserter(out), "{}", n);
}

void add_place(JsonObject& o, const Place& p) {
  fmt::format_to(std::back_inserter(o.key("time")), "{}.{:06}", p.time.seconds, p.time.microseconds);
  o.text("transport", p.ends.tcp ? "tcp" : "udp");
  o.text("source", to_string(p.ends.source));
  o.number("source_port", p.ends.source_port);
  o.text("destination", to_string(p.ends.destination));
  o.number("destination_port", p.ends.destination_port);
}

void add_bytes(JsonObject& o, std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return;
  std::string& out = o.key("bytes");
  out += '"';
  for (const auto b : shown(bytes)) fmt::format_to(std::back_inserter(out), "{:02x}", b);
  out += '"';
}

void add_seq_adjust(JsonObject& in, std::string_view name, const SeqAdjust& s) {
  JsonObject o(in.key(name));
  o.number("position", s.correction_pos);
  fmt::format_to(std::back_inserter(o.key("before")), "{}", static_cast<std::int32_t>(s.offset_before));
  fmt::format_to(std::back_inserter(o.key("after")), "{}", static_cast<std::int32_t>(s.offset_after));
  o.end();
}

// What the object of a flow does not tell.
void add_more(JsonObject& o, const FlowRecord& r) {
  const Flow& f = r.flow;
  if (f.knows(has::kWscaleOrig)) o.number("window_scale", f.wscale_orig);
  if (f.knows(has::kWscaleReply)) o.number("window_scale_reply", f.wscale_reply);
  if (f.knows(has::kSeqAdjOrig)) add_seq_adjust(o, "sequence_adjustment", r.extra.seqadj_orig);
  if (f.knows(has::kSeqAdjReply)) add_seq_adjust(o, "sequence_adjustment_reply", r.extra.seqadj_reply);
  if (f.knows(has::kSctpTags)) {
    o.number("sctp_tag", r.extra.sctp_vtag_orig);
    o.number("sctp_tag_reply", r.extra.sctp_vtag_reply);
  }
  if (f.knows(has::kDccpRole)) o.text("dccp_role", r.extra.dccp_role == 0 ? "client" : "server");
  if (f.knows(has::kSynproxyValues)) {
    JsonObject s(o.key("synproxy"));
    s.number("isn", r.extra.synproxy_isn);
    s.number("its", r.extra.synproxy_its);
    s.number("tsoff", r.extra.synproxy_tsoff);
    s.end();
  }
}

void add_capabilities(JsonObject& in, const wire::Capabilities& c) {
  JsonObject o(in.key("capabilities"));
  o.text("version", c.version.data());
  o.number("node", c.node);
  o.number("started", c.epoch);
  o.number("host", c.host);
  o.number("flags", c.bits);
  std::vector<std::string> addresses;
  for (const auto& a : c.addresses) {
    if (a.is_set()) addresses.push_back(to_string(a));
  }
  add_array(o, "addresses", addresses, text::append_json_string);
  o.end();
}

void add_sums(JsonObject& in, const wire::Sums& s) {
  JsonObject o(in.key("sums"));
  o.text("of", s.of_buckets ? "buckets" : "groups");
  o.number("first", s.first);
  add_array(o, "values", s.all(), append_number<std::uint64_t>);
  o.end();
}

void add_groups(JsonObject& in, std::uint64_t groups) {
  std::string& out = in.key("sums_wanted");
  out += '[';
  for (bool first = true; groups != 0; groups &= groups - 1) {
    if (!std::exchange(first, false)) out += ',';
    fmt::format_to(std::back_inserter(out), "{}", std::countr_zero(groups));
  }
  out += ']';
}

void add_probe(JsonObject& in, const wire::Probe& p) {
  JsonObject o(in.key("probe"));
  o.number("stamp", p.stamp);
  add_array(o, "answers", p.all(), [](std::string& out, const wire::Echo& e) {
    JsonObject answer(out);
    answer.number("node", e.node);
    answer.number("stamp", e.stamp);
    answer.number("held_microseconds", e.held);
    answer.end();
  });
  o.end();
}

void add_tail(JsonObject& in, const wire::Extension& e) {
  JsonObject o(in.key("tail"));
  if (e.addressee) {
    JsonObject a(o.key("addressee"));
    a.number("node", e.addressee->node);
    a.number("heard", e.addressee->heard);
    a.end();
  }
  if (e.missing.count != 0) {
    add_array(o, "missing", e.missing.all(), [](std::string& out, const wire::NumberRange& r) {
      JsonObject range(out);
      range.number("from", r.from);
      range.number("to", r.to);
      range.end();
    });
  }
  if (e.bulk_end) {
    JsonObject b(o.key("bulk_end"));
    b.number("first", e.bulk_end->first);
    b.number("count", e.bulk_end->count);
    b.end();
  }
  if (e.sums.count != 0) add_sums(o, e.sums);
  if (e.sums_wanted) add_groups(o, *e.sums_wanted);
  if (e.repair_request) {
    JsonObject q(o.key("repair_wanted"));
    q.number("number", e.repair_request->number);
    add_array(q, "buckets", e.repair_request->all(), append_number<std::uint16_t>);
    q.end();
  }
  if (e.repair_end) {
    JsonObject r(o.key("repair_end"));
    r.number("number", e.repair_end->number);
    r.number("first", e.repair_end->first);
    r.end();
  }
  if (e.probe) add_probe(o, *e.probe);
  if (e.capabilities) add_capabilities(o, *e.capabilities);
  o.end();
}

void add_flags(JsonObject& o, std::uint8_t flags) {
  std::vector<std::string_view> names;
  if ((flags & wire::flag::kHello) != 0) names.emplace_back("HELLO");
  if ((flags & wire::flag::kHelloBack) != 0) names.emplace_back("HELLO_BACK");
  add_array(o, "flags", names, text::append_json_string);
}

void add_message(JsonObject& o, const Told& t) {
  const wire::Message& m = *t.message;
  const wire::Header& h = m.header;
  const bool good = t.payload == wire::DecodeStatus::ok;
  o.text("kind", good ? "message" : "malformed_payload");
  o.text("type", kKindNames[kind_of(h)]);
  o.number("sequence", h.seq);
  add_flags(o, h.flags);
  if (has_range(m)) {
    o.number("from", m.from);
    o.number("to", m.to);
  }
  o.text("order", name_of(t.seen.order));
  if (t.seen.order == Order::gap) o.number("missing", t.seen.missing);
  if (!good) {
    o.text("reason", t.payload == wire::DecodeStatus::incomplete ? "incomplete" : "bad_attribute");
    add_bytes(o, m.payload);
  }
  constexpr text::RenderOptions kShowTimeout{.show_timeout = true};
  if (t.flow != nullptr) {
    text::append_json(o.key("flow"), t.flow->flow, &t.flow->extra, kShowTimeout);
    add_more(o, *t.flow);
  }
  if (t.expectation != nullptr) text::append_json(o.key("expectation"), *t.expectation, kShowTimeout);
  if (t.tail != nullptr) add_tail(o, *t.tail);
  if (t.foreign_tail != 0) o.number("unknown_bytes", t.foreign_tail);
}

}  // namespace

void append_json_line(std::string& out, const Told& t) {
  JsonObject o(out);
  add_place(o, t.place);
  if (t.message == nullptr) {
    o.text("kind", name_of(t.gap));
    o.number("count", t.count);
    add_bytes(o, t.bytes);
  } else if (!t.good_header) {
    const wire::Header& h = t.message->header;
    o.text("kind", "malformed_header");
    o.number("type_number", static_cast<unsigned>(h.type));
    o.number("flag_bits", h.flags);
    o.number("length", h.length);
    o.number("sequence", h.seq);
  } else {
    add_message(o, t);
  }
  o.end();
  out += '\n';
}

}  // namespace ctsync::capture
