// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_dump_job.h"

namespace ctsync::node {

KernelDumpJob::KernelDumpJob(kernel::KernelTable& kernel, const FlowFilter& filter, Log& log, Client client)
    : ListJob(std::move(client)), kernel_(kernel), filter_(filter), log_(log) {}

Job::State KernelDumpJob::list(TimePoint) {
  if (const auto state = held_up()) return *state;
  if (!dump_) {
    auto dump = kernel_.dump(kernel::DumpWhat::flows, {.repeatable = false});
    if (!dump) return fail_with(dump.error());
    dump_ = std::move(*dump);
  }
  // One read of the kernel a turn: what it brings is at most 16 KB, its text a few times that.
  const auto state = dump_->step(*this, TimePoint::min());
  write_text();
  switch (state) {
    case kernel::DumpState::failed:
      return fail_with(dump_->error());
    case kernel::DumpState::interrupted:
      log_.warning("the kernel's table changed too much while it was listed: entries may be missing or listed twice");
      text_ = "the list may not be complete: the kernel's table changed too much while it was listed\n";
      write_text();
      return State::done;
    case kernel::DumpState::done:
      return State::done;
    default:
      return State::more;
  }
}

Job::State KernelDumpJob::fail_with(const Error& error) {
  log_.error("{}: the list is not complete", error.text);
  text_ = fmt::format("the list is not complete: {}\n", error.text);
  write_text();
  return State::done;
}

void KernelDumpJob::on_flow(FlowRecord& record, std::span<const std::uint8_t> attributes) {
  if (!filter_.accepts(record.flow)) return;
  renderer_.append_message(text_, record.flow.orig.family, attributes);
  text_.push_back('\n');
}

}  // namespace ctsync::node
