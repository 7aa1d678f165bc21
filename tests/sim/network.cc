// SPDX-License-Identifier: GPL-2.0-or-later
#include "network.h"

#include <fmt/format.h>

#include <algorithm>

#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"
#include "state.h"

namespace ctsync::sim {

namespace {

std::string text_of(const wire::Message& m) {
  static constexpr std::string_view kTypes[] = {"NEW", "UPD", "DEL"};
  const auto& h = m.header;
  std::string s = fmt::format(" {}", h.seq);
  if ((h.flags & wire::flag::kHello) != 0) s += " HELLO";
  if ((h.flags & wire::flag::kHelloBack) != 0) s += " HELLO_BACK";
  if (FlowRecord r; wire::is_flow(h.type) && wire::decode_flow(m.payload, r) == wire::DecodeStatus::ok) {
    const auto type = kTypes[static_cast<std::size_t>(h.type)];
    return s + fmt::format(" {} {} mark {} status {:x};", type, name_of(r.flow.orig), r.flow.mark, r.flow.status);
  }
  switch (wire::control_kind(h.flags)) {
    case wire::ControlKind::ack:
      return s + fmt::format(" ACK {}..{} +{};", m.from, m.to, h.length - 16);
    case wire::ControlKind::nack:
      return s + fmt::format(" NACK {}..{} +{};", m.from, m.to, h.length - 16);
    case wire::ControlKind::resync:
      return s + fmt::format(" RESYNC +{};", h.length - 16);
    case wire::ControlKind::alive:
      return s + fmt::format(" ALIVE +{};", h.length - 8);
    case wire::ControlKind::none:
      break;
  }
  return s + " ?;";
}

}  // namespace

std::string text_of(std::span<const std::uint8_t> datagram) {
  std::string s;
  wire::MessageReader reader(datagram);
  wire::Message m;
  while (reader.next(m) == wire::MessageReader::Status::message) s += text_of(m);
  if (reader.last() != wire::MessageReader::Status::end) s += " damaged";
  return s;
}

void Network::mend_all() {
  faults_ = {};
  cut_.assign(nodes_, false);
  for (auto& l : link_cut_) l.assign(nodes_, false);
  ways_.assign(nodes_ * nodes_, {});
}

bool Network::is_lost(std::size_t from, std::size_t to, std::uint8_t link, TimePoint now) {
  Way& w = way(from, to);
  if (cut_[from] || cut_[to] || w.cut || link_cut_[link][from] || link_cut_[link][to]) {
    tally_.add(Fault::cut);
    return true;
  }
  if (now < w.burst_until || (faults_.burst != 0 && random_.chance(faults_.burst))) {
    if (now >= w.burst_until) w.burst_until = now + random_.time_up_to(faults_.longest_burst);
    tally_.add(Fault::burst_loss);
    return true;
  }
  return false;
}

void Network::send(std::size_t from, std::uint8_t link, std::span<const std::uint8_t> bytes, TimePoint now) {
  last_[from].assign(bytes.begin(), bytes.end());
  if (tally_.verbose()) tally_.note(now, fmt::format("{} ->{}", from, text_of(bytes)));
  for (std::size_t to = 0; to < nodes_; ++to) {
    if (to == from || is_lost(from, to, link, now)) continue;
    const int copies = random_.chance(faults_.duplicate) ? 2 : 1;
    if (copies == 2) tally_.add(Fault::duplicate);
    for (int i = 0; i < copies; ++i) {
      if (random_.chance(faults_.loss)) {
        tally_.add(Fault::loss);
        if (tally_.verbose()) tally_.note(now, fmt::format("{} lost on its way to {}", from, to));
        continue;
      }
      Delivery d{now + kDelay + faults_.delay, order_++, from, to, link, {bytes.begin(), bytes.end()}};
      if (random_.chance(faults_.reorder)) {
        d.at += random_.time_up_to(faults_.max_delay);
        tally_.add(Fault::reorder);
      }
      if (random_.chance(faults_.corrupt)) {
        damage(d.bytes);
        tally_.add(Fault::corrupt);
      }
      queue_.push(std::move(d));
    }
  }
}

void Network::damage(std::vector<std::uint8_t>& bytes) {
  switch (random_.below(3)) {
    case 0:
      bytes.resize(random_.below(static_cast<std::uint32_t>(bytes.size())));
      break;
    case 1: {
      const std::uint32_t bit = random_.below(32);
      bytes[4 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      break;
    }
    default:
      for (auto& b : bytes) b = static_cast<std::uint8_t>(random_.next());
  }
}

}  // namespace ctsync::sim
