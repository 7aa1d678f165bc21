// SPDX-License-Identifier: GPL-2.0-or-later
#include "flush_kernel_job.h"

namespace ctsync::node {

FlushKernelJob::FlushKernelJob(kernel::KernelTable& kernel, const FlowFilter& filter,
                               std::function<bool(const Tuple&)> spared, std::function<void(FlowRecord&)> on_deleted,
                               OnDone on_done)
    : kernel_(kernel),
      writer_(kernel.writer(kernel::Origin::flush)),
      filter_(filter),
      spared_(std::move(spared)),
      on_deleted_(std::move(on_deleted)),
      on_done_(std::move(on_done)) {}

Job::State FlushKernelJob::step(TimePoint budget_end) {
  if (!dump_) {
    auto dump = kernel_.dump(kernel::DumpWhat::flows);
    if (!dump) return finish(&dump.error());
    dump_ = std::move(*dump);
  }
  const auto state = dump_->step(*this, budget_end);
  writer_.finish(*this);
  if (state == kernel::DumpState::failed) return finish(&dump_->error());
  return state == kernel::DumpState::done ? finish(nullptr) : State::more;
}

void FlushKernelJob::on_flow(FlowRecord& record, std::span<const std::uint8_t>) {
  if (filter_.accepts(record.flow) && !spared_(record.flow.orig))
    writer_.write(kernel::WriteOp::destroy, record, 0, *this);
}

// One that is gone already has told so itself.
void FlushKernelJob::on_written(const kernel::WriteResult& result, const FlowRecord& record) {
  if (result.error != 0 || !on_deleted_) return;
  deleted_.flow = record.flow;
  deleted_.flow.present &= ~has::kExtra;  // which flow it was is all that matters
  on_deleted_(deleted_);
}

Job::State FlushKernelJob::finish(const Error* error) {
  if (on_done_) on_done_(error);
  return State::done;
}

}  // namespace ctsync::node
