// SPDX-License-Identifier: GPL-2.0-or-later
#include "table_dump.h"

#include <array>
#include <cerrno>

#include "netlink_message.h"
#include "request.h"

namespace ctsync::kernel {
namespace {

constexpr unsigned kMaxInterruptions = 5;
// What the kernel puts into a read takes it half a millisecond at 32 KB; it puts no less than 8 KB into one.
constexpr std::size_t kReadSize = 16384;
constexpr unsigned kBetweenLooks = 8;  // entries handed over between two looks at the clock

const char* what_text(DumpWhat what) {
  return what == DumpWhat::flows ? "can't get kernel conntrack table" : "can't get kernel expect table";
}

}  // namespace

TableDump::TableDump(const Clock& clock, DumpWhat what, const DumpOptions& options)
    : clock_(clock), what_(what), options_(options), buffer_(kReadSize) {}

Result<> TableDump::start() {
  // A new socket each time: closing the old one is how a dump under way is ended.
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return std::unexpected(socket.error());
  alignas(nlmsghdr) std::array<std::uint8_t, 64> room;
  const auto type = what_ == DumpWhat::flows ? kFlowGet : kExpectGet;
  const auto size = Request(room, type, NLM_F_REQUEST | NLM_F_DUMP, 1, options_.family).size();
  if (const int code = socket->send(std::span(room).first(size)); code != 0) {
    return fail(std::string(what_text(what_)) + ": " + std::strerror(code), code);
  }
  socket_ = std::move(*socket);
  unread_ = Messages({});
  interrupted_ = false;
  return {};
}

DumpState TableDump::step(DumpHandler& handler, TimePoint budget_end) {
  auto state = DumpState::more;
  do {
    if (unread_.at_end()) state = read_once();
    if (state == DumpState::more) state = hand_over(handler, budget_end);
  } while (state == DumpState::more && clock_.now() < budget_end);
  return state;
}

DumpState TableDump::read_once() {
  const auto n = socket_.receive(buffer_);
  if (n == -EAGAIN) return DumpState::waiting;
  if (n < 0) return handle_interruption(static_cast<int>(-n));
  unread_ = Messages(std::span(buffer_).first(static_cast<std::size_t>(n)));
  return DumpState::more;
}

DumpState TableDump::hand_over(DumpHandler& handler, TimePoint budget_end) {
  const bool whole = budget_end == TimePoint::min();
  Message m;
  for (unsigned handed = 1; unread_.next(m); ++handed) {
    if (m.flags & NLM_F_DUMP_INTR) interrupted_ = true;
    switch (m.type) {
      case NLMSG_NOOP:
        break;
      case NLMSG_OVERRUN:
        return handle_interruption(ENOBUFS);
      case NLMSG_DONE:
      case NLMSG_ERROR:
        return handle_end(m);
      default:
        handle_entry(m, handler);
    }
    if (!whole && handed % kBetweenLooks == 0 && clock_.now() >= budget_end) return DumpState::more;
  }
  return unread_.malformed() ? fail_with(EBADMSG) : DumpState::more;
}

// DONE and ERROR both carry an errno as a negative number. No acknowledgement was asked for, so only a DONE of 0 is a
// good end.
DumpState TableDump::handle_end(const Message& m) {
  if (const int code = error_of(m.body); code != 0) return handle_interruption(code);
  if (m.type == NLMSG_ERROR) return DumpState::more;
  if (!interrupted_) return DumpState::done;
  return options_.repeatable ? handle_interruption(EINTR) : DumpState::interrupted;
}

void TableDump::handle_entry(const Message& m, DumpHandler& handler) {
  handed_over_ = true;
  auto status = DecodeStatus::malformed;
  if (m.type == kFlowNew && what_ == DumpWhat::flows) {
    status = decode_flow(m.body, {}, record_);
    if (status == DecodeStatus::ok) return handler.on_flow(record_, m.body.subspan(sizeof(nfgenmsg)));
  } else if (m.type == kExpectNew && what_ == DumpWhat::expectations) {
    Expectation e;
    status = decode_expectation(m.body, e);
    if (status == DecodeStatus::ok) return handler.on_expectation(e);
  }
  handler.on_bad_entry(status);
}

// Starts again if that may help and does no harm.
DumpState TableDump::handle_interruption(int code) {
  const bool passing = code == EINTR || code == EBUSY || code == ENOBUFS;
  if (!passing || (handed_over_ && !options_.repeatable)) return fail_with(code);
  if (++interruptions_ == kMaxInterruptions) {
    error_ = {std::string(what_text(what_)) + ": interrupted " + std::to_string(interruptions_) + " times", code};
    return DumpState::failed;
  }
  if (auto ok = start(); !ok) {
    error_ = ok.error();
    return DumpState::failed;
  }
  return DumpState::more;
}

DumpState TableDump::fail_with(int code) {
  error_ = {std::string(what_text(what_)) + ": " + std::strerror(code), code};
  return DumpState::failed;
}

}  // namespace ctsync::kernel
