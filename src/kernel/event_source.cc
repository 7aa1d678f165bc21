// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/event_source.h"

#include <linux/filter.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "event_filter.h"
#include "netlink_message.h"

namespace ctsync::kernel {

bool events_need_a_listener() {
  std::ifstream file("/proc/sys/net/netfilter/nf_conntrack_events");
  int mode = 0;
  return file >> mode && mode == 2;
}

// Room for one system call's worth of events, each a datagram of its own. An event is 200 to 700 bytes; the size is no
// power of two so that the buffers do not fall on the same cache lines.
struct EventSource::Buffers {
  static constexpr std::size_t kCount = 64;
  static constexpr std::size_t kSize = 2112;

  Buffers() {
    for (std::size_t i = 0; i < kCount; ++i) {
      io[i] = {data[i].data(), kSize};
      headers[i].msg_hdr.msg_name = &senders[i];
      headers[i].msg_hdr.msg_iov = &io[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
  }
  // Waiting datagrams, `most` at most; their number or -errno.
  int receive(int fd, std::size_t most) {
    const auto n = std::min(most, kCount);
    for (std::size_t i = 0; i < n; ++i) headers[i].msg_hdr.msg_namelen = sizeof senders[i];
    const int got = ::recvmmsg(fd, headers.data(), static_cast<unsigned>(n), MSG_DONTWAIT, nullptr);
    return got < 0 ? -errno : got;
  }
  std::span<const std::uint8_t> datagram(std::size_t i) const { return {data[i].data(), headers[i].msg_len}; }
  bool whole(std::size_t i) const { return (headers[i].msg_hdr.msg_flags & MSG_TRUNC) == 0; }
  bool from_kernel(std::size_t i) const { return senders[i].nl_pid == 0; }

  std::array<std::array<std::uint8_t, kSize>, kCount> data;
  std::array<iovec, kCount> io{};
  std::array<sockaddr_nl, kCount> senders{};
  std::array<mmsghdr, kCount> headers{};
};

EventSource::EventSource() : buffers_(std::make_unique<Buffers>()) {}
EventSource::~EventSource() = default;

Result<> EventSource::open(const EventOptions& options) {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return std::unexpected(socket.error());
  options_ = options;
  if (options.buffer_size != 0 && options.buffer_size <= options.buffer_size_max) {
    socket->set_receive_buffer(options.buffer_size);
  }
  const int on = 1;
  if (options.reliable && (::setsockopt(socket->fd(), SOL_NETLINK, NETLINK_BROADCAST_ERROR, &on, sizeof on) != 0 ||
                           ::setsockopt(socket->fd(), SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on) != 0)) {
    return fail_errno("can't set reliable event delivery");
  }
  const std::array flows{NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY};
  const std::array expectations{NFNLGRP_CONNTRACK_EXP_NEW, NFNLGRP_CONNTRACK_EXP_UPDATE, NFNLGRP_CONNTRACK_EXP_DESTROY};
  for (const auto group : flows) {
    if (auto ok = socket->join(group); !ok) return ok;
  }
  for (const auto group : expectations) {
    if (!options.expectations) break;
    if (auto ok = socket->join(group); !ok) return ok;
  }
  socket_ = std::move(*socket);
  stats_.buffer_size = socket_.receive_buffer();
  return {};
}

Result<> EventSource::hear_new_flows(bool on) {
  return on ? socket_.join(NFNLGRP_CONNTRACK_NEW) : socket_.leave(NFNLGRP_CONNTRACK_NEW);
}

void EventSource::set_buffer(std::uint32_t size, std::uint32_t maximum) {
  options_.buffer_size_max = maximum;
  if (size > maximum || size <= stats_.buffer_size) return;
  socket_.set_receive_buffer(size);
  stats_.buffer_size = socket_.receive_buffer();
}

Result<> EventSource::set_filter(const FlowFilter& filter, bool hide_own) {
  constexpr std::size_t kSmallest = 64;
  std::vector<std::uint32_t> hidden;
  for (std::size_t i = 0; hide_own && i < port_count_; ++i) hidden.push_back(ports_[i].id);
  for (std::size_t limit = BPF_MAXINSNS;; limit /= 2) {
    auto code = compile_event_filter(filter, limit, hidden);
    const sock_fprog program{static_cast<unsigned short>(std::min<std::size_t>(code.size(), 0xffff)), code.data()};
    if (::setsockopt(socket_.fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0) return {};
    // The memory for a filter is bounded by net.core.optmem_max, on older systems to less than the longest program.
    if (errno != ENOMEM || limit <= kSmallest) return fail_errno("cannot set event filtering");
  }
}

void EventSource::register_port(std::uint32_t port_id, Origin origin) {
  if (port_count_ < ports_.size()) ports_[port_count_++] = {port_id, origin};
}

Origin EventSource::origin_of(std::uint32_t port_id) const {
  if (port_id == 0) return Origin::foreign;  // the kernel itself, i.e. a packet or a timer
  for (std::size_t i = 0; i < port_count_; ++i) {
    if (ports_[i].id == port_id) return ports_[i].origin;
  }
  return Origin::foreign;
}

bool EventSource::read(std::uint32_t limit, EventHandler& handler) {
  std::uint32_t handled = 0;
  do {
    const auto most = std::clamp<std::size_t>(limit - handled, 1, Buffers::kCount);
    const int got = buffers_->receive(socket_.fd(), most);
    if (got < 0) {
      if (got == -EAGAIN) return false;
      if (got == -EINTR) return true;
      ++stats_.catch_failed;
      if (got != -ENOBUFS) return false;  // the next call tells
      handle_overrun(handler);
      continue;  // what is still in the buffer is good
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
      if (!buffers_->from_kernel(i)) continue;
      if (buffers_->whole(i)) {
        handle_datagram(buffers_->datagram(i), handler);
      } else {
        ++stats_.catch_failed;
        handler.on_bad_event(DecodeStatus::malformed);
      }
    }
    handled += static_cast<std::uint32_t>(got);
    // Drained; or an overrun waits for the next call, and the mending that follows it puts everything right. To make
    // sure would cost every wake-up a system call.
    if (static_cast<std::size_t>(got) < most) return false;
  } while (handled < limit);
  return true;
}

void EventSource::handle_overrun(EventHandler& handler) {
  ++stats_.overruns;
  const auto doubled = std::uint64_t{stats_.buffer_size} * 2;
  auto growth = BufferGrowth::refused;
  if (doubled <= options_.buffer_size_max) {
    socket_.set_receive_buffer(static_cast<std::uint32_t>(doubled));
    stats_.buffer_size = socket_.receive_buffer();
    growth = BufferGrowth::doubled;
  }
  handler.on_overrun(growth, stats_.buffer_size);
}

void EventSource::handle_datagram(std::span<const std::uint8_t> data, EventHandler& handler) {
  Messages messages(data);
  Message m;
  while (messages.next(m)) handle_message(m, handler);
  if (messages.malformed()) {
    ++stats_.catch_failed;
    handler.on_bad_event(DecodeStatus::malformed);
  }
}

void EventSource::handle_message(const Message& m, EventHandler& handler) {
  const bool created = (m.flags & (NLM_F_CREATE | NLM_F_EXCL)) != 0;
  const auto changed = created ? EventType::new_ : EventType::update;
  switch (m.type) {
    case kFlowNew:
      return handle_flow(changed, m, handler);
    case kFlowDelete:
      return handle_flow(EventType::destroy, m, handler);
    case kExpectNew:
      return handle_expectation(changed, m, handler);
    case kExpectDelete:
      return handle_expectation(EventType::destroy, m, handler);
    default:
      ++stats_.unknown_type;
  }
}

void EventSource::handle_flow(EventType type, const Message& m, EventHandler& handler) {
  ++stats_.received;
  const auto status = decode_flow(m.body, {.counters = options_.counters}, record_);
  if (status == DecodeStatus::ok) return handler.on_flow(type, record_, origin_of(m.pid));
  if (status == DecodeStatus::malformed) ++stats_.catch_failed;
  handler.on_bad_event(status);
}

void EventSource::handle_expectation(EventType type, const Message& m, EventHandler& handler) {
  ++stats_.received;
  Expectation e;
  const auto status = decode_expectation(m.body, e);
  if (status == DecodeStatus::ok) return handler.on_expectation(type, e, origin_of(m.pid));
  if (status == DecodeStatus::malformed) ++stats_.catch_failed;
  handler.on_bad_event(status);
}

}  // namespace ctsync::kernel
