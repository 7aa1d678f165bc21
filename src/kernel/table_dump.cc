// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/table_dump.h"

#include <array>
#include <cerrno>

#include "netlink_message.h"
#include "netlink_socket.h"

namespace ctsync::kernel {
namespace {

// The kernel fills at most 32 KB a read, and only if the reader offers that much.
constexpr std::size_t kReadSize = 65536;

const char* what_text(DumpWhat what) {
  return what == DumpWhat::flows ? "can't get kernel conntrack table" : "can't get kernel expect table";
}

}  // namespace

TableDump::TableDump(const Clock& clock, DumpWhat what, Family family, bool raw)
    : clock_(clock), what_(what), family_(family), raw_(raw), buffer_(kReadSize) {}

Result<> TableDump::start() {
  // A new socket each time: closing the old one is how a dump under way is ended.
  auto fd = open_netlink(NETLINK_NETFILTER);
  if (!fd) return std::unexpected(fd.error());
  std::array<std::uint8_t, 64> request;
  ByteWriter w(request);
  const auto type = what_ == DumpWhat::flows ? kFlowGet : kExpectGet;
  end_message(w, begin_message(w, type, NLM_F_REQUEST | NLM_F_DUMP, 1, static_cast<std::uint8_t>(family_)));
  if (const int code = send_to_kernel(fd->get(), w.written()); code != 0) {
    errno = code;
    return fail_errno(what_text(what_));
  }
  fd_ = std::move(*fd);
  interrupted_ = false;
  return {};
}

DumpState TableDump::step(DumpHandler& handler, TimePoint budget_end) {
  auto state = DumpState::more;
  do {
    state = read_once(handler);
  } while (state == DumpState::more && clock_.now() < budget_end);
  return state;
}

DumpState TableDump::read_once(DumpHandler& handler) {
  const auto n = receive_from_kernel(fd_.get(), buffer_);
  if (n == -EAGAIN) return DumpState::waiting;
  if (n < 0) return handle_error(static_cast<int>(-n));
  return handle_datagram(std::span(buffer_).first(static_cast<std::size_t>(n)), handler);
}

DumpState TableDump::handle_datagram(std::span<const std::uint8_t> data, DumpHandler& handler) {
  Messages messages(data);
  Message m;
  while (messages.next(m)) {
    if (m.flags & NLM_F_DUMP_INTR) interrupted_ = true;
    if (m.type == NLMSG_ERROR || m.type == NLMSG_DONE) {
      // Both carry the error as a negative number; a DONE of 0 is the good end.
      ByteReader r(m.body);
      const auto code = -static_cast<std::int32_t>(r.host32());
      if (code != 0) return handle_error(code);
      if (m.type == NLMSG_ERROR) continue;  // an acknowledgement
      return interrupted_ && !raw_ && restarts_left_ > 0 ? handle_error(EINTR) : DumpState::done;
    }
    handle_entry(m, handler);
  }
  return messages.malformed() ? handle_error(EBADMSG) : DumpState::more;
}

void TableDump::handle_entry(const Message& m, DumpHandler& handler) {
  handed_over_ = true;
  if (raw_) return handler.on_message(m.whole);
  auto status = DecodeStatus::malformed;
  if (m.type == kFlowNew && what_ == DumpWhat::flows) {
    status = decode_flow(m.body, {}, record_);
    if (status == DecodeStatus::ok) return handler.on_flow(record_);
  } else if (m.type == kExpectNew && what_ == DumpWhat::expectations) {
    Expectation e;
    status = decode_expectation(m.body, e);
    if (status == DecodeStatus::ok) return handler.on_expectation(e);
  }
  handler.on_bad_entry(status);
}

DumpState TableDump::handle_error(int code) {
  const bool passing = code == EINTR || code == EBUSY || code == ENOBUFS;
  const bool may_repeat = !raw_ || !handed_over_;
  if (passing && may_repeat && restarts_left_ > 0) {
    --restarts_left_;
    if (auto ok = start(); ok) return DumpState::more;
  }
  errno = code;
  error_ = fail_errno(what_text(what_)).error();
  return DumpState::failed;
}

}  // namespace ctsync::kernel
