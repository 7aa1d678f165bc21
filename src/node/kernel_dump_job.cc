// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_dump_job.h"

#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netlink.h>

#include <array>

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
    auto dump = kernel_.dump(kernel::DumpWhat::flows, Family::none, true);
    if (!dump) return fail_with(dump.error());
    dump_ = std::move(*dump);
  }
  // One read of the kernel a turn: what it brings is at most 32 KB, its text a few times that.
  const auto state = dump_->step(*this, TimePoint::min());
  client_.write(text_);
  text_.clear();
  if (state == kernel::DumpState::failed) return fail_with(dump_->error());
  return state == kernel::DumpState::done ? State::done : State::more;
}

Job::State KernelDumpJob::fail_with(const Error& error) {
  log_.error("{}: the list is not complete", error.text);
  client_.write(fmt::format("the list is not complete: {}\n", error.text));
  return State::done;
}

void KernelDumpJob::on_message(std::span<const std::uint8_t> message) {
  const auto* header = reinterpret_cast<const nlmsghdr*>(message.data());  // NOLINT: whole and aligned by contract
  const auto body = message.subspan(std::min(message.size(), sizeof(nlmsghdr)));
  if (kernel::decode_flow(body, {}, record_) != kernel::DecodeStatus::ok || !filter_.accepts(record_.flow)) return;
  const std::unique_ptr<nf_conntrack, decltype(&::nfct_destroy)> ct(::nfct_new(), &::nfct_destroy);
  if (!ct || ::nfct_nlmsg_parse(header, ct.get()) < 0) return;
  std::array<char, 2048> line{};
  const int n = ::nfct_snprintf(line.data(), line.size(), ct.get(), NFCT_T_UNKNOWN, NFCT_O_DEFAULT, 0);
  if (n <= 0) return;
  text_.append(line.data(), std::min(static_cast<std::size_t>(n), line.size() - 1));
  text_.push_back('\n');
}

}  // namespace ctsync::node
