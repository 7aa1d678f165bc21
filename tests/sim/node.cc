// SPDX-License-Identifier: GPL-2.0-or-later
#include "node.h"

#include <fmt/format.h>

#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::sim {

using replication::Announce;
using replication::Verdict;

namespace {

// Flow number `flow` of node number `node`.
FlowRecord record(std::size_t node, std::uint32_t flow, std::uint32_t version) {
  FlowRecord r;
  auto& f = r.flow;
  f.orig.family = Family::ipv4;
  f.orig.l4 = kTcp;
  f.orig.src = {10, 77, static_cast<std::uint8_t>(node), 2};
  f.orig.dst = {10, 99, 2, 2};
  f.orig.src_port = static_cast<std::uint16_t>(1024 + flow);
  f.orig.dst_port = 80;
  f.present = has::kPorts | has::kStatus | has::kTimeout | has::kMark | has::kProtoState;
  f.status = status::kConfirmed;
  f.timeout = 120;
  f.mark = version;
  f.proto_state = 1;
  return r;
}

}  // namespace

Node::Node(std::size_t index, Mode mode, const replication::EngineOptions& options, Network& network, TimePoint now)
    : index_(index), mode_(mode), options_(options), network_(network), now_(now), packer_(1472, {}, *this) {
  boot(now);
}

void Node::boot(TimePoint now) {
  engine_.reset();
  internal_ = std::make_unique<table::FlowTable>(kTableLimit, 0, index_);
  external_ = std::make_unique<table::FlowTable>(kTableLimit, 0, index_ + 1);
  const replication::EngineContext context{internal_.get(), nullptr, *this, stats_};
  switch (mode_) {
    case Mode::ftfw:
      engine_ = std::make_unique<replication::FtFw>(context, options_, now);
      break;
    case Mode::notrack:
      engine_ = std::make_unique<replication::Notrack>(context, options_, now);
      break;
    case Mode::alarm:
      engine_ = std::make_unique<replication::Alarm>(context, options_, now);
      expiry_ = std::make_unique<replication::Expiry>(kCacheTimeout, now);
      break;
  }
  for (const auto& [number, r] : kernel_) engine_->flow_changed(internal_->insert(r, now), Announce::no, now);
}

void Node::restart(std::uint32_t first_sequence, TimePoint now) {
  options_.first_sequence = first_sequence;
  boot(now);
}

void Node::create(std::uint32_t flow, TimePoint now) {
  const auto [it, fresh] = kernel_.insert_or_assign(flow, record(index_, flow, ++version_));
  const auto& r = it->second;
  const auto old = internal_->find(r.flow.orig);
  if (old != table::kNoFlow) {  // live or dead: a new event replaces it
    engine_->flow_leaving(old);
    internal_->release(old);
  }
  engine_->flow_changed(internal_->insert(r, now), Announce::yes, now);
}

void Node::change(std::uint32_t flow, TimePoint now) {
  const auto& r = kernel_[flow] = record(index_, flow, ++version_);
  const auto id = internal_->find(r.flow.orig);
  internal_->update(id, r, now);
  engine_->flow_changed(id, Announce::yes, now);
}

void Node::destroy(std::uint32_t flow) {
  const auto id = internal_->find(kernel_[flow].flow.orig);
  kernel_.erase(flow);
  internal_->mark_dead(id);
  engine_->flow_dead(id, Announce::yes);
}

void Node::receive(std::size_t from, std::span<const std::uint8_t> datagram, TimePoint now) {
  now_ = now;
  const replication::PeerAddress address{0, {Family::ipv4, {10, 0, 0, static_cast<std::uint8_t>(from + 1)}}};
  wire::MessageReader reader(datagram);
  wire::Message m;
  while (reader.next(m, stats_)) {
    const Verdict v = engine_->on_message(address, m, now);
    if (v == Verdict::bad) stats_.count_malformed_header();
    if (v != Verdict::accept_data) continue;
    FlowRecord r;
    if (!wire::is_flow(m.header.type)) {
      stats_.count_bad_type();
    } else if (wire::decode_flow(m.payload, r) != wire::DecodeStatus::ok) {
      stats_.count_malformed_payload();
    } else {
      apply(m.header.type, r, now);
    }
  }
}

// The external cache, spec replication.md 4.3.
void Node::apply(wire::MsgType type, const FlowRecord& r, TimePoint now) {
  auto id = external_->find(r.flow.orig);
  if (id != table::kNoFlow && type != wire::MsgType::flow_update) {
    drop_external(id);
    id = table::kNoFlow;
  }
  if (type == wire::MsgType::flow_delete) return;
  if (id == table::kNoFlow) {
    id = external_->insert(r, now);
  } else {
    external_->update(id, r, now);
  }
  if (expiry_) expiry_->touched(id, now);
}

void Node::drop_external(table::FlowId id) {
  if (expiry_) expiry_->removed(id);
  external_->release(id);
}

void Node::flush_external() {
  for (table::FlowId id = 0; id < external_->end_id(); ++id) {
    if (external_->slot(id).state != table::FlowState::free) drop_external(id);
  }
}

std::optional<TimePoint> Node::next_deadline() const {
  auto t = engine_->next_deadline();
  const auto e = expiry_ ? expiry_->next_deadline() : std::nullopt;
  if (e && (!t || *e < *t)) t = e;
  return t;
}

void Node::turn(TimePoint now) {
  now_ = now;
  engine_->on_timer(now);
  if (expiry_) expiry_->on_timer(now, [this](table::FlowId id) { external_->release(id); });
  engine_->drain(packer_, now);
}

void Node::send(std::span<const std::span<const std::uint8_t>> datagrams) {
  for (const auto& d : datagrams) network_.send(index_, d, now_);
}

std::uint32_t Node::unacknowledged() const {
  const auto* ftfw = dynamic_cast<const replication::FtFw*>(engine_.get());
  return ftfw != nullptr ? ftfw->resend_length() : 0;
}

State Node::state_of(const table::FlowTable& t) {
  State s;
  for (table::FlowId id = 0; id < t.end_id(); ++id) {
    const auto& slot = t.slot(id);
    if (slot.state != table::FlowState::new_ && slot.state != table::FlowState::alive) continue;
    const auto& o = slot.flow.orig;
    s[fmt::format("{}.{}:{}", o.src[2], o.src[3], o.src_port)] = slot.flow.mark;
  }
  return s;
}

}  // namespace ctsync::sim
