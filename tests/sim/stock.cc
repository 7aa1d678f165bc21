// SPDX-License-Identifier: GPL-2.0-or-later
#include "stock.h"

#include <utility>

#include "ctsync/replication/sequence.h"
#include "ctsync/wire/flow_codec.h"

namespace ctsync::sim {

using replication::is_after;
using replication::is_before;
using wire::ControlKind;

namespace {

constexpr Duration kAlive = std::chrono::seconds(1);

bool is_within(std::uint32_t n, std::uint32_t from, std::uint32_t to) {
  return !is_before(n, from) && !is_after(n, to);
}

}  // namespace

Stock::Stock(kernel::KernelTable& kernel, wire::DatagramSink& sink, const Clock& clock,
             const node::NodeOptions& options)
    : kernel_(kernel),
      clock_(clock),
      options_(options),
      packer_(options.buffer_size, options.encode, sink),
      next_seq_(static_cast<std::uint32_t>(clock.wall_seconds())),
      window_(options.ack_window) {}

// The events are opened after the dump.
void Stock::start() {
  dump();
  static_cast<void>(kernel_.open_events({}));
  if (options_.resync_at_start != node::AskAtStart::never) control(wire::flag::kResync, 0, 0);
  alive_at_ = clock_.now() + kAlive;
}

// --- The kernel ---

void Stock::dump() {
  auto dump = kernel_.dump(kernel::DumpWhat::flows);
  while ((*dump)->step(*this, TimePoint::max()) == kernel::DumpState::more) {
  }
}

// Of a dump: merged, and told unless it is the first one.
void Stock::on_flow(FlowRecord& record, std::span<const std::uint8_t>) { put(record, loading_); }

void Stock::put(const FlowRecord& record, bool tell) {
  auto it = internal_.find(record.flow.orig);
  if (it != internal_.end() && it->second.dead) {
    leave_queue(it->second);
    internal_.erase(it);
    it = internal_.end();
  }
  if (it == internal_.end()) {
    it = internal_.emplace(record.flow.orig, Object{.record = record}).first;
  } else {
    merge(it->second.record.flow, record.flow);
    copy_extra(it->second.record.extra, record.extra, record.flow.present);
    it->second.updated = true;
  }
  if (tell) queue(it->second);
}

void Stock::on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) {
  const bool tell = origin == kernel::Origin::foreign;
  if (origin == kernel::Origin::inject) return;
  const auto it = internal_.find(record.flow.orig);
  if (type == kernel::EventType::destroy) {
    if (it == internal_.end() || it->second.dead) return;
    it->second.dead = true;
    if (tell) {
      queue(it->second);
    } else if (it->second.in == nullptr) {
      internal_.erase(it);
    }
    return;
  }
  if (type == kernel::EventType::new_ && it != internal_.end()) {
    leave_queue(it->second);
    internal_.erase(it);
  }
  put(record, tell);
}

void Stock::on_overrun(kernel::BufferGrowth, std::uint32_t) {
  if (options_.overrun_resync) resync_at_ = clock_.now() + *options_.overrun_resync;
}

// --- Sending ---

void Stock::queue(Object& o) {
  if (o.in == &transmit_) return;
  if (o.in == &resend_) {
    transmit_.splice(transmit_.end(), resend_, o.at);
  } else {
    o.at = transmit_.insert(transmit_.end(), Element{.object = &o});
  }
  o.in = &transmit_;
}

void Stock::leave_queue(Object& o) {
  if (o.in != nullptr) o.in->erase(o.at);
  o.in = nullptr;
}

void Stock::forget(Queue::iterator in_resend) {
  if (Object* o = in_resend->object; o != nullptr) {
    o->in = nullptr;
    if (o->dead) internal_.erase(internal_.find(o->record.flow.orig));
  }
  resend_.erase(in_resend);
}

void Stock::control(std::uint8_t flags, std::uint32_t from, std::uint32_t to) {
  transmit_.push_back({.object = nullptr, .flags = flags, .from = from, .to = to, .seq = 0});
}

std::uint8_t Stock::hello_flags() {
  std::uint8_t flags = 0;
  if (hello_ == Hello::initial) hello_ = Hello::saying;
  if (hello_ == Hello::saying) flags |= wire::flag::kHello;
  if (std::exchange(owe_hello_back_, false)) flags |= wire::flag::kHelloBack;
  return flags;
}

// A control message that is repeated keeps the flags that it had.
void Stock::send(Queue::iterator e) {
  const auto flags = hello_flags();
  e->seq = next_seq_++;
  if (const Object* o = e->object; o != nullptr) {
    const auto type = o->dead      ? wire::MsgType::flow_delete
                      : o->updated ? wire::MsgType::flow_update
                                   : wire::MsgType::flow_new;
    return packer_.flow(type, flags, e->seq, o->record.flow, &o->record.extra, 0);
  }
  e->flags |= flags;
  if (wire::control_kind(e->flags) == ControlKind::alive) return packer_.alive(e->flags, e->seq);
  packer_.control(e->flags, e->seq, e->from, e->to);
}

void Stock::end_turn() {
  if (transmit_.empty()) return;
  while (!transmit_.empty()) {
    const auto e = transmit_.begin();
    send(e);
    if (e->object == nullptr && wire::control_kind(e->flags) == ControlKind::alive) {
      transmit_.erase(e);
      continue;
    }
    if (resend_.size() >= options_.resend_queue_size) forget(resend_.begin());
    resend_.splice(resend_.end(), transmit_, e);
    if (e->object != nullptr) e->object->in = &resend_;
  }
  packer_.flush();
  alive_at_ = clock_.now() + kAlive;
}

void Stock::on_timer() {
  const auto now = clock_.now();
  if (alive_at_ && *alive_at_ <= now) {
    alive_at_ = now + kAlive;
    if (ack_pending_ && received_) {
      control(wire::flag::kAck, ack_start_, last_);
      ack_pending_ = false;
    } else {
      control(wire::flag::kAlive, 0, 0);
    }
  }
  if (!resync_at_ || *resync_at_ > now) return;
  resync_at_.reset();
  loading_ = true;
  dump();
  loading_ = false;
  FlowRecord ignored;
  for (auto& [tuple, o] : internal_) {
    if (o.dead || *kernel_.get(tuple, ignored)) continue;
    o.dead = true;
    queue(o);
  }
}

// --- Receiving ---

bool Stock::on_datagram(const replication::PeerAddress&, std::span<const std::uint8_t> datagram) {
  bool heard = false;
  wire::MessageReader reader(datagram);
  wire::Message m;
  while (true) {
    const auto status = reader.next(m);
    if (status == wire::MessageReader::Status::wrong_version) continue;
    if (status != wire::MessageReader::Status::message) return heard;
    if (!on_message(m)) continue;
    heard = true;
    if (wire::is_flow(m.header.type)) take(m);
  }
}

// True if it is accepted.
bool Stock::on_message(const wire::Message& m) {
  const std::uint32_t seq = m.header.seq;
  const auto in_sequence = [&] {
    if (!digest(m)) return false;
    if (!ack_pending_) {
      ack_start_ = seq;
      ack_pending_ = true;
    }
    if (--window_ == 0) {
      control(wire::flag::kAck, ack_start_, seq);
      window_ = options_.ack_window;
      ack_pending_ = false;
    }
    received_ = true;
    last_ = seq;
    return true;
  };
  const bool hello_back = (m.header.flags & wire::flag::kHelloBack) != 0;
  if ((m.header.flags & wire::flag::kHello) != 0) {
    owe_hello_back_ = true;
    if (hello_back && hello_ == Hello::saying) hello_ = Hello::done;
    if (ack_pending_ && is_before(seq, ack_start_)) {
      window_ = options_.ack_window - 1;
      ack_start_ = seq;
    }
    while (!resend_.empty()) forget(resend_.begin());
    return in_sequence();
  }
  if (hello_back && hello_ == Hello::saying) hello_ = Hello::done;
  if (!received_ || seq == last_ + 1) return in_sequence();
  if (!is_after(seq, last_ + 1)) return false;  // old
  if (!digest(m)) return false;
  if (ack_pending_) control(wire::flag::kAck, ack_start_, last_);
  control(wire::flag::kNack, last_ + 1, seq - 1);
  window_ = options_.ack_window - 1;
  ack_start_ = seq;
  ack_pending_ = true;
  last_ = seq;
  return true;
}

bool Stock::digest(const wire::Message& m) {
  constexpr auto kHellos = wire::flag::kHello | wire::flag::kHelloBack;
  if (wire::is_data(m.header.type)) return (m.header.flags & ~kHellos) == 0;
  if (m.header.type != wire::MsgType::control) return false;
  const auto kind = wire::control_kind(m.header.flags);
  if (kind == ControlKind::none) return false;
  if (kind == ControlKind::alive) return true;
  if (kind == ControlKind::resync) {
    bulk();
    return true;
  }
  if (is_before(m.to, m.from)) return false;
  for (auto e = resend_.begin(); e != resend_.end();) {
    const auto here = e++;
    if (!is_within(here->seq, m.from, m.to)) continue;
    if (kind == ControlKind::ack) {
      forget(here);
    } else {
      transmit_.splice(transmit_.end(), resend_, here);
      if (here->object != nullptr) here->object->in = &transmit_;
    }
  }
  return true;
}

void Stock::bulk() {
  for (auto& [tuple, o] : internal_) queue(o);
}

void Stock::take(const wire::Message& m) {
  FlowRecord r;
  if (wire::decode_flow(m.payload, r) != wire::DecodeStatus::ok) return;
  const auto it = external_.find(r.flow.orig);
  if (m.header.type == wire::MsgType::flow_update && it != external_.end()) {
    merge(it->second.flow, r.flow);
    copy_extra(it->second.extra, r.extra, r.flow.present);
    return;
  }
  if (it != external_.end()) external_.erase(it);
  if (m.header.type != wire::MsgType::flow_delete) external_.emplace(r.flow.orig, r);
}

// --- For the comparison ---

State Stock::internal() const {
  State s;
  for (const auto& [tuple, o] : internal_) {
    if (!o.dead) s.emplace(tuple, state_of(o.record.flow, &o.record.extra));
  }
  return s;
}

State Stock::external() const {
  State s;
  for (const auto& [tuple, r] : external_) s.emplace(tuple, state_of(r.flow, &r.extra));
  return s;
}

}  // namespace ctsync::sim
