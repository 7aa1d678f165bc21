// SPDX-License-Identifier: GPL-2.0-or-later
#include "injection.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace ctsync::node {

using wire::MsgType;

void Injection::take(MsgType type, const FlowRecord& record, const table::Origin&) {
  if (judge) {
    const auto bit = hash_(record.flow.orig) % judged_.size();
    if (judged_[bit]) end_turn();  // the answer depends on it
    const auto wanted = judge(type, record.flow);
    if (wanted == Wanted::no) return;
    judged_.set(bit);
    if (wanted == Wanted::anew) writer_.write(kernel::WriteOp::destroy, record, 0, *this);
  }
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

void Injection::end_turn() {
  if (!std::exchange(pending_, false)) return;
  judged_.reset();
  writer_.finish(*this);
  if (orphans_.empty()) return;
  retrying_ = true;
  for (const auto& o : orphans_) writer_.write(o.op, o.record, 0, *this);
  writer_.finish(*this);
  retrying_ = false;
  orphans_.clear();
}

void Injection::keep_orphan(kernel::WriteOp op, const FlowRecord& record) {
  auto& o = orphans_.emplace_back();
  o.op = op;
  o.record.flow = record.flow;
  copy_extra(o.record.extra, record.extra, record.flow.present);
}

void Injection::on_written(const kernel::WriteResult& r, const FlowRecord& record) {
  const bool no_master = r.error == ENOENT && r.op != kernel::WriteOp::destroy && record.flow.knows(has::kMaster);
  if (no_master && !retrying_) return keep_orphan(r.op, record);
  if (r.op == kernel::WriteOp::destroy && r.error == ENOENT) return;
  if (written && r.error == 0) written(r, record.flow);
  const char* text = count(r);
  if (r.error == 0 || !limit_.allow(clock_.now())) return;
  std::string entry;
  flow_text_.append(entry, record, {.show_timeout = true});
  warn(text, r.error, entry);
}

// Counts the outcome and says how a failure is called (spec cli.md 6.3).
const char* Injection::count(const kernel::WriteResult& r) {
  switch (r.op) {
    case kernel::WriteOp::create:
    case kernel::WriteOp::replace:
    case kernel::WriteOp::create_only:
    case kernel::WriteOp::adopt:
      ++(r.error == 0 ? flows_.created : flows_.create_failed);
      return r.phase == kernel::WritePhase::create ? "could not add new ct entry"
                                                   : "could not add new ct entry, even when deleting it first";
    case kernel::WriteOp::update:
      ++(r.error == 0 ? flows_.updated : flows_.update_failed);
      return r.phase == kernel::WritePhase::create_instead ? "could not update ct entry, even if creating it instead"
             : r.phase == kernel::WritePhase::create ? "could not update ct entry"  // refused before it was asked for
                                                     : "could not update ct entry, even when deleting it first";
    case kernel::WriteOp::destroy:
      ++(r.error == 0 ? flows_.destroyed : flows_.destroy_failed);
      return "could not destroy ct entry";
  }
  return "";
}

void Injection::take(MsgType type, const Expectation& e, const table::Origin&) {
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

void Injection::warn(const char* text, int error, const std::string& entry) {
  log_.warning("{}: {}", text, std::strerror(error));
  log_.write_entry(Level::warning, entry);
  if (limit_.held_back() != 0) log_.warning("{} more entries could not be injected", limit_.held_back());
}

}  // namespace ctsync::node
