// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_dump_job.h"

namespace ctsync::node {

KernelDumpJob::KernelDumpJob(kernel::KernelTable& kernel, const FlowFilter& filter, Log& log, Client client)
    : kernel_(kernel), filter_(filter), log_(log), client_(std::move(client)) {
  client_.set_waiter(this);
}

KernelDumpJob::~KernelDumpJob() {
  client_.set_waiter(nullptr);
  client_.finish();
}

Job::State KernelDumpJob::step(TimePoint) {
  if (!client_.connected()) return State::done;
  if (client_.full()) return State::waiting;
  if (!dump_) {
    auto dump = kernel_.dump(kernel::DumpWhat::flows, {.decode = {.use = true, .counters = true}, .repeatable = false});
    if (!dump) return fail_with(dump.error());
    dump_ = std::move(*dump);
  }
  // One read of the kernel a turn: what it brings is at most 32 KB, its text a few times that.
  const auto state = dump_->step(*this, TimePoint::min());
  client_.write(text_);
  text_.clear();
  switch (state) {
    case kernel::DumpState::failed:
      return fail_with(dump_->error());
    case kernel::DumpState::interrupted:
      log_.warning("the kernel's table changed too much while it was listed: entries may be missing or listed twice");
      return State::done;
    case kernel::DumpState::done:
      return State::done;
    default:
      return State::more;
  }
}

Job::State KernelDumpJob::fail_with(const Error& error) {
  log_.error("{}: the list is not complete", error.text);
  client_.write(fmt::format("the list is not complete: {}\n", error.text));
  return State::done;
}

void KernelDumpJob::on_flow(FlowRecord& record) {
  if (!filter_.accepts(record.flow)) return;
  text::RenderOptions options{.show_timeout = true};
  if (record.flow.knows(has::kUse)) options.use_count = record.extra.use;
  renderer_.append(text_, record, options);
  text_.push_back('\n');
}

}  // namespace ctsync::node
