// SPDX-License-Identifier: GPL-2.0-or-later
#include "decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "ctsync/base/bytes.h"
#include "ctsync/wire/expectation_codec.h"
#include "header_check.h"
#include "json_line.h"

namespace ctsync::capture {

using wire::MessageReader;

void Decoder::frame(int link_type, const Frame& frame) {
  ++frames_;
  const auto p = read_ip(link_type, frame);
  if (!p) return;
  if (!p->is_fragment) return packet(*p);
  if (const auto whole = fragments_.add(*p)) packet(*whole);
}

void Decoder::finish() {
  while (const auto p = fragments_.take()) packet(*p);
  for (auto& s : streams_) s.end(*this);
  streams_.clear();
}

// --- Packets ---

void Decoder::packet(const IpPacket& packet) {
  IpPacket p = packet;
  // The fragments of IPv6 may have held more of them.
  if (p.source.family == Family::ipv6 && (!skip_extensions(p) || p.is_fragment)) return;
  ByteReader r(p.payload);
  const std::uint16_t source_port = r.be16();
  const std::uint16_t destination_port = r.be16();
  const bool tcp = p.protocol == kTcp;
  if (r.failed() || (p.protocol != kUdp && !tcp)) return;
  // Messages go to the port, and nothing comes back from there.
  if (std::ranges::find(ports_, destination_port) == ports_.end()) return;
  ++packets_;
  const Ends ends{p.source, source_port, p.destination, destination_port, tcp};
  tcp ? segment(p, ends) : datagram(p, ends);
}

void Decoder::datagram(const IpPacket& p, const Ends& ends) {
  constexpr std::size_t kHeader = 8;
  const Place place{p.time, ends};
  ByteReader r(p.payload);
  r.skip(4);
  const std::size_t length = r.be16();
  r.skip(2);
  if (r.failed()) return gap(place, Gap::cut_off, {}, p.missing);
  if (length < kHeader) return gap(place, Gap::bad_size, p.payload, p.payload.size());
  const auto bytes = r.bytes(std::min(r.left(), length - kHeader));
  const std::size_t missing = length - kHeader - bytes.size();
  if (length == kHeader) return gap(place, Gap::empty, {}, 0);

  // What is missing because it was not captured is no mistake of the sender.
  MessageReader reader(bytes, missing == 0 ? MessageReader::Source::datagram : MessageReader::Source::stream);
  const auto status = tell_all(reader, bytes, place, *this);
  const auto rest = bytes.subspan(reader.consumed());
  if (status == MessageReader::Status::truncated) gap(place, Gap::truncated, rest, rest.size());
  if (status == MessageReader::Status::bad_size) gap(place, Gap::bad_size, rest, rest.size());
  if (missing != 0) gap(place, Gap::cut_off, {}, missing);
}

void Decoder::segment(const IpPacket& p, const Ends& ends) {
  constexpr std::size_t kShortest = 20;
  enum Flag : std::uint8_t { kSyn = 2, kReset = 4 };
  ByteReader r(p.payload);
  r.skip(4);
  TcpStream::Segment s{.seq = r.be32(), .missing = p.missing};
  r.skip(4);
  const std::size_t header = static_cast<std::size_t>(r.u8() >> 4) * 4;
  const std::uint8_t flags = r.u8();
  if (r.failed() || header < kShortest || header > p.payload.size()) return;
  s.syn = (flags & kSyn) != 0;
  s.payload = p.payload.subspan(header);
  if ((flags & kReset) != 0) return stream(ends).end(*this);
  stream(ends).take(s, p.time, *this);
}

TcpStream& Decoder::stream(const Ends& ends) {
  const auto at = std::ranges::find(streams_, ends, &TcpStream::ends);
  if (at != streams_.end()) {
    streams_.splice(streams_.begin(), streams_, at);
    return streams_.front();
  }
  if (streams_.size() == kMostStreams) {
    streams_.back().end(*this);
    streams_.pop_back();
  }
  return streams_.emplace_front(ends);
}

// --- Messages ---

void Decoder::message(const Place& place, const wire::Message& m) {
  Told told{.place = place, .message = &m};
  if (!has_good_header(m)) {
    stats_.count_malformed_header();
    told.good_header = false;
    return tell(told);
  }
  if (Sender* sender = senders_.find(place.ends.source)) {
    ++sender->messages[kind_of(m.header)];
    told.seen = sender->track.see(m.header.seq, (m.header.flags & wire::flag::kHello) != 0);
  } else {
    senders_.count_other();
  }
  take(m, told);
  if (told.payload != wire::DecodeStatus::ok) stats_.count_malformed_payload();
  tell(told);
}

void Decoder::take(const wire::Message& m, Told& told) {
  if (wire::is_flow(m.header.type)) {
    told.payload = wire::decode_flow(m.payload, flow_);
    if (told.payload == wire::DecodeStatus::ok) told.flow = &flow_;
  } else if (wire::is_expectation(m.header.type)) {
    told.payload = wire::decode_expectation(m.payload, expectation_);
    if (told.payload == wire::DecodeStatus::ok) told.expectation = &expectation_;
  } else if (const auto tail = wire::tail_of(m); !tail.empty()) {
    tail_ = wire::read_extension(tail);
    if (tail_.empty()) {
      told.foreign_tail = tail.size();
    } else {
      told.tail = &tail_;
    }
  }
}

void Decoder::gap(const Place& place, Gap what, std::span<const std::uint8_t> bytes, std::size_t count) {
  if (what == Gap::wrong_version) stats_.count_wrong_version();
  if (what == Gap::truncated) stats_.count_truncated();
  if (what == Gap::bad_size) stats_.count_bad_size();
  tell({.place = place, .gap = what, .bytes = bytes, .count = count});
}

void Decoder::tell(const Told& told) { json_ ? append_json_line(out_, told) : text_.append(out_, told); }

std::string Decoder::summary() const {
  std::string out = fmt::format("{} frames, {} packets to port {}, {} messages\n", frames_, packets_,
                                fmt::join(ports_, ", "), senders_.messages());
  senders_.append(out);
  const auto to = std::back_inserter(out);
  if (stats_.malformed != 0) {
    fmt::format_to(to, "malformed: {} wrong version, {} header, {} payload, {} truncated, {} bad size\n",
                   stats_.wrong_version, stats_.malformed_header, stats_.malformed_payload, stats_.truncated,
                   stats_.bad_size);
  }
  if (const auto n = fragments_.without_beginning(); n != 0) {
    fmt::format_to(to, "{} fragments without the beginning of their packet\n", n);
  }
  return out;
}

}  // namespace ctsync::capture
