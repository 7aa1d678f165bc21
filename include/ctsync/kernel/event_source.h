// SPDX-License-Identifier: GPL-2.0-or-later
// Conntrack events from the kernel: a ctnetlink socket that reads many events a system call, decodes them and tells who
// caused them (spec replication.md 4.4, 4.5). Open it before the first dump and nothing is missed: events wait in the
// socket buffer until read() is called.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "ctsync/base/result.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/decode.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/kernel/netlink_socket.h"

namespace ctsync::kernel {

struct Message;

// Whether a flow that begins while nobody listens sends no event for as long as it lives: net.netfilter.nf_conntrack_events
// is 2, the default since Linux 5.19.
bool events_need_a_listener();

class EventSource {
 public:
  EventSource();
  ~EventSource();
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;

  // Joins the groups. After this stats().buffer_size is the effective receive buffer.
  Result<> open(const EventOptions& options);

  // Lets the kernel drop what `filter` refuses, as far as compile_event_filter() can say it (what comes has still to be
  // filtered), and with `hide_own` the events that the registered ports cause. Dropped events are not received at all,
  // i.e. not counted. An error changes nothing.
  Result<> set_filter(const FlowFilter& filter, bool hide_own);
  // See KernelTable.
  Result<> hear_new_flows(bool on);
  // As in EventOptions. A buffer that has grown beyond `size` stays as it is.
  void set_buffer(std::uint32_t size, std::uint32_t maximum);

  // To watch for EPOLLIN; errors on it (overrun) are also served by read().
  int fd() const { return socket_.fd(); }

  // Events caused by the socket with this netlink port id are reported with `origin`. Eight ports at most.
  void register_port(std::uint32_t port_id, Origin origin);

  // Hands waiting events to `handler`: about `limit` of them, at least one system call's worth; never blocks.
  // True if more may wait.
  bool read(std::uint32_t limit, EventHandler& handler);

  const EventStats& stats() const { return stats_; }

 private:
  struct Buffers;
  struct Port {
    std::uint32_t id;
    Origin origin;
  };

  void handle_datagram(std::span<const std::uint8_t> data, EventHandler& handler);
  void handle_message(const Message& m, EventHandler& handler);
  void handle_flow(EventType type, const Message& m, EventHandler& handler);
  void handle_expectation(EventType type, const Message& m, EventHandler& handler);
  void handle_overrun(EventHandler& handler);
  Origin origin_of(std::uint32_t port_id) const;

  NetlinkSocket socket_;
  std::unique_ptr<Buffers> buffers_;
  EventOptions options_;
  EventStats stats_;
  FlowRecord record_;
  std::array<Port, 8> ports_{};
  std::size_t port_count_ = 0;
};

}  // namespace ctsync::kernel
