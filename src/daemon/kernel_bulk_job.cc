// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_bulk_job.h"

namespace ctsync::daemon {

KernelBulkJob::KernelBulkJob(EventLoop& loop, kernel::KernelTable& kernel, const FlowFilter& filter,
                             std::function<void(const FlowRecord&)> send,
                             std::function<void(const Expectation&)> send_expectation, std::function<void()> on_done)
    : kernel_(kernel),
      filter_(filter),
      send_(std::move(send)),
      send_expectation_(std::move(send_expectation)),
      on_done_(std::move(on_done)),
      pace_(loop, [this] { wake(); }) {}

Job::State KernelBulkJob::step(TimePoint) {
  if (!dump_) {
    auto dump = kernel_.dump(what_);
    if (!dump) return State::done;
    dump_ = std::move(*dump);
  }
  // One read of the kernel is at most 32 KB, about 150 flows.
  const auto state = dump_->step(*this, TimePoint::min());
  if (state == kernel::DumpState::failed) return State::done;
  if (state == kernel::DumpState::done) {
    if (what_ == kernel::DumpWhat::expectations || !send_expectation_) return State::done;
    what_ = kernel::DumpWhat::expectations;
    dump_.reset();
    return State::more;
  }
  pace_.arm_in(std::chrono::microseconds(300));
  return State::waiting;
}

void KernelBulkJob::on_flow(FlowRecord& record) {
  if (filter_.accepts(record.flow)) send_(record);
}

}  // namespace ctsync::daemon
