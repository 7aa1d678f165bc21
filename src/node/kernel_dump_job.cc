// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_dump_job.h"

#include "ctsync/text/json.h"

namespace ctsync::node {

KernelDumpJob::KernelDumpJob(kernel::KernelTable& kernel, const FlowFilter& filter, Log& log, Client client, Form form)
    : ListJob(std::move(client), form), kernel_(kernel), filter_(filter), log_(log) {}

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
      write_remark("the list may not be complete: the kernel's table changed too much while it was listed\n");
      return State::done;
    case kernel::DumpState::done:
      return State::done;
    default:
      return State::more;
  }
}

Job::State KernelDumpJob::fail_with(const Error& error) {
  log_.error("{}: the list is not complete", error.text);
  write_remark(fmt::format("the list is not complete: {}\n", error.text));
  return State::done;
}

void KernelDumpJob::on_flow(FlowRecord& record, std::span<const std::uint8_t> attributes) {
  if (!filter_.accepts(record.flow)) return;
  if (is_json()) {
    begin_element();
    return text::append_json(text_, record.flow, &record.extra, {.show_timeout = true});
  }
  renderer_.append_message(text_, record.flow.orig.family, attributes);
  text_.push_back('\n');
}

}  // namespace ctsync::node
