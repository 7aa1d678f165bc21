// SPDX-License-Identifier: GPL-2.0-or-later
#include "bulk_job.h"

namespace ctsync::node {

Job::State BulkJob::step(TimePoint) {
  if (c_.sink.congested()) return wait(kCongested);
  if (!dump_) {
    auto dump = c_.kernel.dump(what_);
    if (!dump) return failed(dump.error());
    dump_ = std::move(*dump);
  }
  // One read of the kernel is at most 16 KB, about 75 flows.
  const auto state = dump_->step(*this, TimePoint::min());
  if (state == kernel::DumpState::failed) return failed(dump_->error());
  if (state != kernel::DumpState::done) return wait(kPace);
  if (what_ == kernel::DumpWhat::expectations || !c_.send_expectation) return finish(nullptr);
  what_ = kernel::DumpWhat::expectations;
  dump_.reset();
  return wait(kPace);
}

void BulkJob::on_flow(FlowRecord& record, std::span<const std::uint8_t>) {
  if (c_.filter.accepts(record.flow)) c_.send(record);
}

Job::State BulkJob::wait(Duration d) {
  wake_at_ = c_.clock.now() + d;
  return State::waiting;
}

Job::State BulkJob::failed(const Error& error) {
  if (--tries_left_ == 0) return finish(&error);
  dump_.reset();
  return wait(kPauseAfterFailure);
}

Job::State BulkJob::finish(const Error* error) {
  c_.on_done(error);
  return State::done;
}

}  // namespace ctsync::node
