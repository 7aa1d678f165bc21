// SPDX-License-Identifier: GPL-2.0-or-later
#include "bypass.h"

#include "kernel_dump_job.h"

namespace ctsync::node {
namespace {

using kernel::EventType;
using kernel::Origin;

wire::MsgType type_of(EventType type, wire::MsgType base) {
  return static_cast<wire::MsgType>(static_cast<unsigned>(base) + static_cast<unsigned>(type));
}
static_assert(static_cast<unsigned>(EventType::update) == 1 && static_cast<unsigned>(EventType::destroy) == 2);

void count(text::BypassNumbers& n, EventType type) {
  ++(type == EventType::new_ ? n.created : type == EventType::destroy ? n.destroyed : n.updated);
}

}  // namespace

Bypass::Bypass(kernel::KernelTable& kernel, const FlowFilter& filter, replication::Notrack& engine,
               wire::Packer& packer, Log& log, bool expectations, Copies* copies)
    : kernel_(kernel),
      filter_(filter),
      engine_(engine),
      packer_(packer),
      log_(log),
      with_expectations_(expectations),
      copies_(copies) {}

void Bypass::on_flow(EventType type, FlowRecord& record, Origin origin) {
  if (origin != Origin::foreign) return;
  if (copies_ != nullptr) {
    if (type == EventType::destroy && copies_->ended(record.flow.orig)) return;
    if (type != EventType::destroy)
      copies_->forget(record.flow.orig);  // by a packet of it, or an operator: it lives here now
  }
  count(flows_, type);
  engine_.send_event(packer_, type_of(type, wire::MsgType::flow_new), record);
}

void Bypass::on_expectation(EventType type, const Expectation& e, Origin origin) {
  if (origin != Origin::foreign || !with_expectations_) return;
  count(expectations_, type);
  engine_.send_event(packer_, type_of(type, wire::MsgType::expect_new), e);
}

void Bypass::refresh(FlowRecord& record) {
  ++flows_.updated;
  engine_.send_event(packer_, wire::MsgType::flow_update, record);
}

bool Bypass::has_flow(const Tuple& orig) {
  const auto found = kernel_.get(orig, scratch_);
  return found && *found && filter_.accepts(scratch_.flow);
}

std::unique_ptr<Job> Bypass::dump(const Command& command, const Client& client) {
  if (!command.flows()) return nullptr;
  return std::make_unique<KernelDumpJob>(kernel_, filter_, log_, client, command.form);
}

}  // namespace ctsync::node
