// SPDX-License-Identifier: GPL-2.0-or-later
#include "external_cache.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace ctsync::daemon {

using table::FlowState;
using wire::MsgType;

ExternalCache::ExternalCache(table::FlowTable& flows, table::ExpectationTable* expectations,
                             std::optional<Duration> cache_timeout, const Clock& clock)
    : flows_(flows), expectations_(expectations), clock_(clock) {
  if (!cache_timeout) return;
  flow_expiry_.emplace(*cache_timeout, clock.now());
  if (expectations_ != nullptr) expect_expiry_.emplace(*cache_timeout, clock.now());
}

void ExternalCache::take(MsgType type, const FlowRecord& record) {
  const auto id = flows_.find(record.flow.orig);
  if (type == MsgType::flow_delete) {
    if (id != table::kNoFlow) release(id);
  } else {
    put(type, record, id);
  }
}

void ExternalCache::put(MsgType type, const FlowRecord& record, table::FlowId id) {
  const auto now = clock_.now();
  if (id != table::kNoFlow && type == MsgType::flow_new) {
    release(id);
    id = table::kNoFlow;
  }
  if (id == table::kNoFlow) {
    id = flows_.insert(record, now);
    if (id == table::kNoFlow) return;
  } else {
    flows_.update(id, record, now);
  }
  if (flow_expiry_) flow_expiry_->touched(id, now);
}

void ExternalCache::take(MsgType type, const Expectation& e) {
  if (expectations_ == nullptr) return;
  const auto now = clock_.now();
  auto id = expectations_->find(e);
  if (id != table::kNoExpect && type != MsgType::expect_update) {
    release_expectation(id);
    id = table::kNoExpect;
  }
  if (type == MsgType::expect_delete) return;
  if (id == table::kNoExpect) {
    id = expectations_->insert(e, now);
    if (id == table::kNoExpect) return;
  } else {
    expectations_->update(id, e, now);
  }
  if (expect_expiry_) expect_expiry_->touched(id, now);
}

void ExternalCache::release(table::FlowId id) {
  if (flow_expiry_) flow_expiry_->removed(id);
  flows_.release(id);
}

void ExternalCache::release_expectation(table::ExpectId id) {
  if (expect_expiry_) expect_expiry_->removed(id);
  expectations_->release(id);
}

void ExternalCache::flush_flows() {
  for (table::FlowId id = 0; id < flows_.end_id(); ++id) {
    if (flows_.slot(id).state != FlowState::free) release(id);
  }
}

void ExternalCache::flush_expectations() {
  if (expectations_ == nullptr) return;
  for (table::ExpectId id = 0; id < expectations_->end_id(); ++id) {
    if (expectations_->slot(id).state != FlowState::free) release_expectation(id);
  }
}

std::optional<TimePoint> ExternalCache::next_deadline() const {
  auto first = flow_expiry_ ? flow_expiry_->next_deadline() : std::nullopt;
  const auto second = expect_expiry_ ? expect_expiry_->next_deadline() : std::nullopt;
  return !first || (second && *second < *first) ? second : first;
}

void ExternalCache::on_timer() {
  const auto now = clock_.now();
  if (flow_expiry_) flow_expiry_->on_timer(now, [this](std::uint32_t id) { flows_.release(id); });
  if (expect_expiry_) expect_expiry_->on_timer(now, [this](std::uint32_t id) { expectations_->release(id); });
}

std::optional<std::uint32_t> ExternalCache::expires_in(table::FlowId id) const {
  if (!flow_expiry_) return std::nullopt;
  return flow_expiry_->seconds_left(flows_.slot(id).updated, clock_.now());
}

void KernelInjection::take(MsgType type, const FlowRecord& record) {
  pending_ = true;
  switch (type) {
    case MsgType::flow_new:
      return writer_.write(kernel::WriteOp::create, record, 0, *this);
    case MsgType::flow_update:
      return writer_.write(kernel::WriteOp::update, record, 0, *this);
    default:
      writer_.write(kernel::WriteOp::destroy, record, 0, *this);
      std::erase_if(orphans_, [&](const Orphan& o) { return o.record.flow.orig == record.flow.orig; });
  }
}

void KernelInjection::end_turn() {
  if (!std::exchange(pending_, false)) return;
  writer_.finish(*this);
  if (orphans_.empty()) return;
  retrying_ = true;
  for (const auto& o : orphans_) writer_.write(o.op, o.record, 0, *this);
  writer_.finish(*this);
  retrying_ = false;
  orphans_.clear();
}

void KernelInjection::keep_orphan(kernel::WriteOp op, const FlowRecord& record) {
  auto& o = orphans_.emplace_back();
  o.op = op;
  o.record.flow = record.flow;
  copy_extra(o.record.extra, record.extra, record.flow.present);
}

// Texts of spec cli.md 6.3.
void KernelInjection::on_written(const kernel::WriteResult& r, const FlowRecord& record) {
  const bool no_master = r.error == ENOENT && r.op != kernel::WriteOp::destroy && record.flow.knows(has::kMaster);
  if (no_master && !retrying_) return keep_orphan(r.op, record);
  const char* text = nullptr;
  switch (r.op) {
    case kernel::WriteOp::create:
    case kernel::WriteOp::replace:
      ++(r.error == 0 ? flows_.created : flows_.create_failed);
      text = r.phase == kernel::WritePhase::create ? "could not add new ct entry"
                                                   : "could not add new ct entry, even when deleting it first";
      break;
    case kernel::WriteOp::update:
      ++(r.error == 0 ? flows_.updated : flows_.update_failed);
      text = r.phase == kernel::WritePhase::create_instead ? "could not update ct entry, even if creating it instead"
             : r.phase == kernel::WritePhase::create ? "could not update ct entry"  // refused before it was asked for
                                                     : "could not update ct entry, even when deleting it first";
      break;
    case kernel::WriteOp::destroy:
      if (r.error == ENOENT) return;
      ++(r.error == 0 ? flows_.destroyed : flows_.destroy_failed);
      text = "could not destroy ct entry";
      break;
  }
  if (r.error == 0 || !limit_.allow(clock_.now())) return;
  std::string entry;
  flow_text_.append(entry, record, {.show_timeout = true});
  warn(text, r.error, entry);
}

void KernelInjection::take(MsgType type, const Expectation& e) {
  if (pending_) end_turn();  // the master may be among the flows that wait
  const bool destroy = type == MsgType::expect_delete;
  const auto r = writer_.write_expectation(destroy ? kernel::WriteOp::destroy : kernel::WriteOp::create, e);
  if (destroy) {
    if (r.error == ENOENT) return;
    ++(r.error == 0 ? expectations_.destroyed : expectations_.destroy_failed);
  } else {
    ++(r.error == 0 ? expectations_.created : expectations_.create_failed);
  }
  if (r.error == 0 || !limit_.allow(clock_.now())) return;
  std::string entry;
  expectation_text_.append(entry, e, {.show_timeout = true});
  warn(destroy                                 ? "could not delete exp entry"
       : r.phase == kernel::WritePhase::create ? "could not add new exp entry"
                                               : "could not add new exp entry, even when deleting it first",
       r.error, entry);
}

void KernelInjection::warn(const char* text, int error, const std::string& entry) {
  log_.warning("{}: {}", text, std::strerror(error));
  log_.write_entry(Level::warning, entry);
  if (limit_.held_back() != 0) log_.warning("{} more entries could not be injected", limit_.held_back());
}

}  // namespace ctsync::daemon
