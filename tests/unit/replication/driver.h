// SPDX-License-Identifier: GPL-2.0-or-later
// Drives one engine under virtual time. Messages go in and come out as text: TYPE [FLAG|FLAG] SEQ [FROM..TO], numbers
// in hex as in the captures: "ACK|HELLO 6b02f514 6b02f514..6b02f514", "NEW 1", "UPD|BACK 2", "ALIVE 3", "RESYNC 4
// 0..0".
#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctsync/replication/engine.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"
#include "ctsync/wire/packer.h"

namespace ctsync::replication_test {

using namespace replication;
using Lines = std::vector<std::string>;

inline std::string text_of(const wire::Message& m) {
  static constexpr const char* kTypes[] = {"NEW", "UPD", "DEL", "EXP_NEW", "EXP_UPD", "EXP_DEL"};
  const auto& h = m.header;
  std::string s;
  const auto add = [&s](const char* word) { s += fmt::format("{}{}", s.empty() ? "" : "|", word); };
  if (wire::is_data(h.type)) add(kTypes[static_cast<int>(h.type)]);
  if (h.flags & wire::flag::kAck) add("ACK");
  if (h.flags & wire::flag::kNack) add("NACK");
  if (h.flags & wire::flag::kResync) add("RESYNC");
  if (h.flags & wire::flag::kAlive) add("ALIVE");
  if (h.flags & wire::flag::kHello) add("HELLO");
  if (h.flags & wire::flag::kHelloBack) add("BACK");
  s += fmt::format(" {:x}", h.seq);
  if (h.flags & wire::flag::kRange) s += fmt::format(" {:x}..{:x}", m.from, m.to);
  return s;
}

inline wire::Message message_of(const std::string& text) {
  wire::Message m;
  const auto seq_at = text.find(' ');
  m.header.seq = static_cast<std::uint32_t>(std::stoul(text.substr(seq_at + 1), nullptr, 16));
  const std::string words = fmt::format("|{}|", text.substr(0, seq_at));
  const auto has_word = [&](const char* w) { return words.find(fmt::format("|{}|", w)) != std::string::npos; };
  const auto set = [&](const char* w, std::uint8_t f) {
    if (has_word(w)) m.header.flags = static_cast<std::uint8_t>(m.header.flags | f);
  };
  set("ACK", wire::flag::kAck);
  set("NACK", wire::flag::kNack);
  set("RESYNC", wire::flag::kResync);
  set("ALIVE", wire::flag::kAlive);
  set("HELLO", wire::flag::kHello);
  set("BACK", wire::flag::kHelloBack);
  if (has_word("NEW")) m.header.type = wire::MsgType::flow_new;
  if (has_word("UPD")) m.header.type = wire::MsgType::flow_update;
  if (has_word("DEL")) m.header.type = wire::MsgType::flow_delete;
  const auto range_at = text.find(' ', seq_at + 1);
  if (range_at != std::string::npos) {
    m.from = static_cast<std::uint32_t>(std::stoul(text.substr(range_at + 1), nullptr, 16));
    m.to = static_cast<std::uint32_t>(std::stoul(text.substr(text.find("..") + 2), nullptr, 16));
  }
  return m;
}

inline PeerAddress peer_at(std::uint8_t host, std::uint8_t link = 0) {
  return {link, {Family::ipv4, {192, 168, static_cast<std::uint8_t>(100 + link), host}}};
}

// Flow number n: 10.77.1.2:n -> 10.77.2.2:53 UDP, timeout 30.
inline FlowRecord flow_record(std::uint32_t n) {
  FlowRecord r;
  r.flow.orig.family = Family::ipv4;
  r.flow.orig.l4 = kUdp;
  r.flow.orig.src = {10, 77, static_cast<std::uint8_t>(n >> 16), 2};
  r.flow.orig.dst = {10, 77, 2, 2};
  r.flow.orig.src_port = static_cast<std::uint16_t>(n);
  r.flow.orig.dst_port = 53;
  r.flow.present = has::kPorts | has::kStatus | has::kTimeout;
  r.flow.status = status::kConfirmed;
  r.flow.timeout = 30;
  return r;
}

template <typename EngineType>
class Driver final : public Events, public wire::DatagramSink {
 public:
  explicit Driver(EngineOptions options, bool with_cache = true, std::uint32_t limit = 300000)
      : flows(limit, 0, 7),
        expectations(1000, 7),
        packer_(1472, {}, *this),
        engine({with_cache ? &flows : nullptr, &expectations, *this, stats}, options, now) {}

  // --- Input ---
  Verdict hear(const std::string& text, PeerAddress from = peer_at(2)) {
    return engine.on_message(from, message_of(text), now);
  }
  // As above, then the end of the turn.
  Lines turn(const std::string& text, PeerAddress from = peer_at(2)) {
    hear(text, from);
    return drain();
  }
  table::FlowId event(std::uint32_t n, Announce announce = Announce::yes) {
    const auto r = flow_record(n);
    auto id = flows.find(r.flow.orig);
    if (id == table::kNoFlow) {
      id = flows.insert(r, now);
    } else {
      flows.update(id, r, now);
    }
    engine.flow_changed(id, announce, now);
    return id;
  }
  void destroy(std::uint32_t n, Announce announce = Announce::yes) {
    const auto id = flows.find(flow_record(n).flow.orig);
    flows.mark_dead(id);
    engine.flow_dead(id, announce);
  }

  // --- Time and output ---
  Lines drain(bool congested = false) {
    engine.drain(packer_, now, congested);
    return take();
  }
  Lines take() { return std::exchange(sent_, {}); }
  // Lets time pass as the loop does: sleep until the deadline, on_timer, drain. What was sent.
  Lines wait(Duration d) {
    const TimePoint end = now + d;
    Lines all = drain();
    for (auto next = engine.next_deadline(); next && *next <= end; next = engine.next_deadline()) {
      now = std::max(now, *next);
      engine.on_timer(now);
      ++turns;
      for (auto& line : drain()) all.push_back(std::move(line));
    }
    now = end;
    return all;
  }

  void send(std::span<const std::span<const std::uint8_t>> datagrams) override {
    for (const auto& d : datagrams) {
      ++datagram_count;
      wire::MessageReader reader(d);
      wire::Message m;
      wire::ReceiveStats ignored;
      while (reader.next(m, ignored)) {
        ++message_count;
        if (keep_text) sent_.push_back(text_of(m));
        FlowRecord r;
        if (wire::is_flow(m.header.type) && wire::decode_flow(m.payload, r) == wire::DecodeStatus::ok) {
          last_port = r.flow.orig.src_port;
          last_timeout = r.flow.timeout;
        }
      }
    }
  }

  void resync_requested(PeerId) override { ++resyncs; }
  void bulk_started() override { ++bulks; }
  void kernel_bulk_wanted() override { ++kernel_bulks; }
  void peer_appeared(PeerId) override { ++appeared; }
  void peer_restarted(PeerId) override { ++restarted; }
  void gap_seen(PeerId, std::uint32_t from, std::uint32_t to) override {
    gaps.push_back(fmt::format("{:x}..{:x}", from, to));
  }
  void resend_queue_overflow() override { ++overflows; }
  void cannot_repeat(PeerId, std::uint32_t, std::uint32_t) override { ++unrepeatable; }
  void freed_by_others(PeerId peer, std::uint32_t from, std::uint32_t to) override {
    freed.push_back(fmt::format("{} asks {:x}..{:x}", peer, from, to));
  }
  void freed_by_hello(PeerId by, PeerId other, std::uint32_t from, std::uint32_t to) override {
    freed.push_back(fmt::format("{} hello {} {:x}..{:x}", by, other, from, to));
  }
  void peer_asks_too_much(PeerId) override { ++too_much; }
  void peers_alike(PeerId) override { ++alike; }
  void end_given_up() override { ++ends_given_up; }

  TimePoint now{std::chrono::seconds(1000)};
  wire::ReceiveStats stats;
  table::FlowTable flows;
  table::ExpectationTable expectations;
  int resyncs = 0, bulks = 0, kernel_bulks = 0, appeared = 0, restarted = 0, overflows = 0, unrepeatable = 0;
  int too_much = 0, alike = 0;
  int ends_given_up = 0;
  int turns = 0;
  std::size_t datagram_count = 0, message_count = 0;
  Lines gaps;
  Lines freed;
  std::uint16_t last_port = 0;
  std::uint32_t last_timeout = 0;
  bool keep_text = true;

 private:
  Lines sent_;

 public:
  wire::Packer packer_;
  EngineType engine;
};

inline constexpr Duration kSecond = std::chrono::seconds(1);
inline constexpr Duration ms(int n) { return std::chrono::milliseconds(n); }

}  // namespace ctsync::replication_test
