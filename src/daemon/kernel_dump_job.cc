// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_dump_job.h"

namespace ctsync::daemon {
namespace {

constexpr std::size_t kLeastRoom = 64 * 1024;  // of the client's buffer, before more is read from the kernel

}  // namespace

KernelDumpJob::KernelDumpJob(kernel::KernelTable& kernel, const FlowFilter& filter, control::Client client)
    : kernel_(kernel), filter_(filter), client_(std::move(client)) {
  client_.set_waiter(this);
}

KernelDumpJob::~KernelDumpJob() {
  client_.set_waiter(nullptr);
  client_.finish();
}

Job::State KernelDumpJob::step(TimePoint) {
  if (!client_.connected()) return State::done;
  if (client_.writable_room() < kLeastRoom) return State::waiting;
  if (!dump_) {
    auto dump = kernel_.dump(kernel::DumpWhat::flows, {.decode = {.use = true, .counters = true}, .repeatable = false});
    if (!dump) return State::done;
    dump_ = std::move(*dump);
  }
  // One read of the kernel a turn: what it brings is at most 32 KB, its text a few times that.
  const auto state = dump_->step(*this, TimePoint::min());
  client_.write(text_);
  text_.clear();
  return state == kernel::DumpState::more || state == kernel::DumpState::waiting ? State::more : State::done;
}

void KernelDumpJob::on_flow(FlowRecord& record) {
  if (!filter_.accepts(record.flow)) return;
  control::RenderOptions options{.show_timeout = true};
  if (record.flow.knows(has::kUse)) options.use_count = record.extra.use;
  renderer_.append(text_, record, options);
  text_.push_back('\n');
}

}  // namespace ctsync::daemon
