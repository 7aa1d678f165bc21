// SPDX-License-Identifier: GPL-2.0-or-later
#include "text_line.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <ctime>
#include <iterator>
#include <string_view>
#include <utility>

namespace ctsync::capture {
namespace {

template <typename... A>
void add(std::string& out, fmt::format_string<A...> f, A&&... a) {
  fmt::format_to(std::back_inserter(out), f, std::forward<A>(a)...);
}

// Local time, as the log of the daemon has it.
void add_time(std::string& out, const Time& t) {
  const std::time_t seconds = t.seconds;
  std::tm parts{};
  std::array<char, 32> text{};
  if (::localtime_r(&seconds, &parts) != nullptr &&
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts) != 0) {
    out += text.data();
  } else {
    add(out, "{}", t.seconds);
  }
  add(out, ".{:06}", t.microseconds);
}

void add_end(std::string& out, const IpAddress& address, std::uint16_t port) {
  if (address.family == Family::ipv6) {
    add(out, "[{}]:{}", to_string(address), port);
  } else {
    add(out, "{}:{}", to_string(address), port);
  }
}

void add_address(std::string& out, Family family, const Address& address) {
  out += to_string(IpAddress{.family = family, .bytes = address});
}

void add_bytes(std::string& out, std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return;
  out += ':';
  for (const auto b : shown(bytes)) add(out, " {:02x}", b);
  if (bytes.size() > kMostBytesShown) out += " ...";
}

// A name that came over the wire.
void add_name(std::string& out, std::string_view name) {
  for (const char c : name) out += c > ' ' && c < '\x7f' ? c : '?';
}

void add_gap(std::string& out, const Told& t) {
  switch (t.gap) {
    case Gap::wrong_version:
      add(out, "wrong protocol version, {} bytes", t.count);
      break;
    case Gap::truncated:
      add(out, "truncated message, {} bytes", t.count);
      break;
    case Gap::bad_size:
      add(out, "bad message size, {} bytes", t.count);
      break;
    case Gap::empty:
      out += "empty datagram";
      break;
    case Gap::cut_off:
      add(out, "cut off: the last {} bytes are not in the capture", t.count);
      break;
    case Gap::not_captured:
      add(out, "{} bytes of the stream are not in the capture", t.count);
      break;
    case Gap::skipped:
      add(out, "{} bytes of the stream are skipped: no message begins there", t.count);
      break;
    case Gap::unfinished:
      add(out, "{} bytes of a message whose end is not in the capture", t.count);
      break;
  }
  add_bytes(out, t.bytes);
}

void add_kind(std::string& out, const wire::Header& h) {
  using namespace wire::flag;  // NOLINT
  constexpr std::array<std::pair<std::uint8_t, std::string_view>, 6> kNames{{{kAck, "ACK"},
                                                                             {kNack, "NACK"},
                                                                             {kResync, "RESYNC"},
                                                                             {kAlive, "ALIVE"},
                                                                             {kHello, "HELLO"},
                                                                             {kHelloBack, "HELLO_BACK"}}};
  const std::string_view kind = kKindWords[kind_of(h)];
  out += kind;
  for (const auto& [bit, name] : kNames) {
    if ((h.flags & bit) != 0 && name != kind) add(out, "|{}", name);
  }
}

// --- Flows ---

// What the source or the destination is changed to: address, port, or both.
void add_change(std::string& out, std::string_view name, const Flow& f, bool address, const Address& a, bool port,
                std::uint16_t p) {
  if (!address && !port) return;
  add(out, " {}=", name);
  const bool ipv6 = f.orig.family == Family::ipv6;
  if (address && port && ipv6) out += '[';
  if (address) add_address(out, f.orig.family, a);
  if (address && port && ipv6) out += ']';
  if (port) add(out, ":{}", p);
}

void add_labels(std::string& out, const FlowExtra& extra) {
  out += " labels=";
  bool none = true;
  for (std::size_t word = 0; word < extra.labels.size(); ++word) {
    for (auto rest = extra.labels[word]; rest != 0; rest &= rest - 1) {
      if (!std::exchange(none, false)) out += ',';
      add(out, "{}", word * 32 + static_cast<std::size_t>(std::countr_zero(rest)));
    }
  }
  if (none) out += "none";
}

void add_seq_adjust(std::string& out, std::string_view name, const SeqAdjust& s) {
  add(out, " {}={}:{:+}:{:+}", name, s.correction_pos, static_cast<std::int32_t>(s.offset_before),
      static_cast<std::int32_t>(s.offset_after));
}

void add_extra(std::string& out, const Flow& f, const FlowExtra& x) {
  if (f.knows(has::kMaster)) {
    add(out, " master={}/", x.master.l4);
    add_address(out, x.master.family, x.master.src);
    if (f.knows(has::kMasterPorts)) add(out, ":{}", x.master.src_port);
    out += '/';
    add_address(out, x.master.family, x.master.dst);
    if (f.knows(has::kMasterPorts)) add(out, ":{}", x.master.dst_port);
  }
  if (f.knows(has::kLabels)) add_labels(out, x);
  if (f.knows(has::kSeqAdjOrig)) add_seq_adjust(out, "seqadj", x.seqadj_orig);
  if (f.knows(has::kSeqAdjReply)) add_seq_adjust(out, "seqadj_reply", x.seqadj_reply);
  if (f.knows(has::kSctpTags)) add(out, " vtag={:08x}/{:08x}", x.sctp_vtag_orig, x.sctp_vtag_reply);
  if (f.knows(has::kDccpRole)) add(out, " role={}", x.dccp_role == 0 ? "client" : "server");
  if (f.knows(has::kSynproxyValues)) {
    add(out, " synproxy={}/{}/{}", x.synproxy_isn, x.synproxy_its, x.synproxy_tsoff);
  }
}

// What the line of the caches does not show.
void add_more(std::string& out, const FlowRecord& r) {
  const Flow& f = r.flow;
  if (f.knows(has::kStatus)) add(out, " status=0x{:x}", f.status);
  add_change(out, "snat", f, f.knows(has::kSnat), f.reply_dst, f.knows(has::kSnatPort), f.reply_dst_port);
  add_change(out, "dnat", f, f.knows(has::kDnat), f.reply_src, f.knows(has::kDnatPort), f.reply_src_port);
  if (f.knows(has::kWscaleOrig)) add(out, " wscale={}", f.wscale_orig);
  if (f.knows(has::kWscaleReply)) add(out, " wscale_reply={}", f.wscale_reply);
  add_extra(out, f, r.extra);
}

void add_more(std::string& out, const Expectation& x) {
  if (x.knows(expect_has::kNat)) {
    out += " nat=";
    add_address(out, x.nat.family, x.nat.src);
    if (x.knows(expect_has::kNatPorts)) add(out, ":{}", x.nat.src_port);
  }
  if (x.knows(expect_has::kNatDir)) add(out, " nat_direction={}", x.nat_dir == 0 ? "original" : "reply");
  if (x.knows(expect_has::kFunction)) {
    out += " function=";
    add_name(out, x.function.data());
  }
}

// --- Tails ---

void add_capabilities(std::string& out, const wire::Capabilities& c) {
  add(out, " [ctsyncd {}, node {:08x}, started {}, host {:016x}, flags {:x}", c.version.data(), c.node, c.epoch, c.host,
      c.bits);
  for (const auto& a : c.addresses) {
    if (a.is_set()) add(out, ", {}", to_string(a));
  }
  out += ']';
}

void add_groups(std::string& out, std::uint64_t groups) {
  out += " [sums wanted of the buckets of groups";
  for (; groups != 0; groups &= groups - 1) add(out, " {}", std::countr_zero(groups));
  out += ']';
}

void add_repair_request(std::string& out, const wire::RepairRequest& q) {
  add(out, " [repair {} wanted of", q.number);
  if (q.count == 0) out += " everything";
  if (q.count != 0) out += " buckets";
  for (const auto b : q.all()) add(out, " {}", b);
  out += ']';
}

void add_tail(std::string& out, const wire::Extension& e) {
  if (e.addressee) add(out, " [for node {:08x}, heard to {}]", e.addressee->node, e.addressee->heard);
  if (e.missing.count != 0) {
    out += " [missing";
    for (const auto& r : e.missing.all()) add(out, " {}..{}", r.from, r.to);
    out += ']';
  }
  if (e.bulk_end) add(out, " [end of bulk, sent from {} on, {} objects]", e.bulk_end->first, e.bulk_end->count);
  if (e.sums.count != 0) {
    add(out, " [sums of {} {} to {}]", e.sums.of_buckets ? "buckets" : "groups", e.sums.first,
        e.sums.first + e.sums.count - 1);
  }
  if (e.sums_wanted) add_groups(out, *e.sums_wanted);
  if (e.repair_request) add_repair_request(out, *e.repair_request);
  if (e.repair_end) add(out, " [end of repair {}, sent from {} on]", e.repair_end->number, e.repair_end->first);
  if (e.probe) {
    add(out, " [probe {}", e.probe->stamp);
    for (const auto& a : e.probe->all()) add(out, ", answer to node {:08x}: {} held {} us", a.node, a.stamp, a.held);
    out += ']';
  }
  if (e.capabilities) add_capabilities(out, *e.capabilities);
}

void add_order(std::string& out, const Seen& seen) {
  switch (seen.order) {
    case Order::next:
      return;
    case Order::gap:
      return add(out, " ({} missing)", seen.missing);
    case Order::late:
      out += " (late)";
      return;
    case Order::repeated:
      out += " (repeated)";
      return;
    case Order::restarted:
      out += " (restarted)";
      return;
    case Order::elsewhere:
      out += " (other numbers)";
      return;
  }
}

}  // namespace

void TextLine::append(std::string& out, const Told& t) {
  add_time(out, t.place.time);
  out += ' ';
  add_end(out, t.place.ends.source, t.place.ends.source_port);
  out += " > ";
  add_end(out, t.place.ends.destination, t.place.ends.destination_port);
  out += ' ';
  if (t.message == nullptr) {
    add_gap(out, t);
  } else if (!t.good_header) {
    const wire::Header& h = t.message->header;
    add(out, "malformed header: type {}, flags 0x{:02x}, {} bytes, seq {}", static_cast<unsigned>(h.type), h.flags,
        h.length, h.seq);
  } else {
    append_message(out, t);
  }
  out += '\n';
}

void TextLine::append_message(std::string& out, const Told& t) {
  const wire::Message& m = *t.message;
  add_kind(out, m.header);
  add(out, " seq {}", m.header.seq);
  if (has_range(m)) add(out, " {}..{}", m.from, m.to);
  if (t.payload != wire::DecodeStatus::ok) {
    add(out, " malformed payload, {}",
        t.payload == wire::DecodeStatus::incomplete ? "no addresses, protocol or ports" : "a bad attribute");
    add_bytes(out, m.payload);
  }
  if (t.flow != nullptr) {
    out += ' ';
    flow_.append(out, *t.flow, {.show_timeout = true});
    add_more(out, *t.flow);
  }
  if (t.expectation != nullptr) {
    out += ' ';
    expectation_.append(out, *t.expectation, {.show_timeout = true});
    add_more(out, *t.expectation);
  }
  if (t.tail != nullptr) add_tail(out, *t.tail);
  if (t.foreign_tail != 0) add(out, " [{} bytes that nobody knows]", t.foreign_tail);
  add_order(out, t.seen);
}

}  // namespace ctsync::capture
