// SPDX-License-Identifier: GPL-2.0-or-later
// A whole node but for the operating system: tables, engine, packer, stores, jobs, commands, statistics. It does no I/O
// itself: the kernel is a KernelTable, the network a DatagramSink, time a Clock, and the jobs are stepped by whoever
// runs the node. So complete nodes run in one process under virtual time.
//
// The owner's part, once a turn: on_kernel_event() and on_datagram() for what has come, on_timer() when next_deadline()
// has passed, jobs.step(), and at last end_turn().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "ctsync/base/clock.h"
#include "ctsync/base/jobs.h"
#include "ctsync/base/log.h"
#include "ctsync/base/result.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/node/client.h"
#include "ctsync/node/command.h"
#include "ctsync/node/options.h"
#include "ctsync/replication/peers.h"
#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/table/told_sums.h"
#include "ctsync/text/snapshot.h"
#include "ctsync/wire/datagram_sink.h"

namespace ctsync::node {

class BulkJob;
class Copies;
class InjectedCopies;
class InternalStore;
class KernelSide;
class Mirror;
class PeerSide;
class RoleSwitch;

class Node {
 public:
  // Everything must outlive the node. `jobs` is this node's alone; its destructor drops them.
  Node(kernel::KernelTable& kernel, wire::DatagramSink& sink, const Clock& clock, Log& log, Jobs& jobs,
       NodeOptions options);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Opens the kernel's events, then fills the internal cache; blocks. An error ends the start.
  Result<> start();
  // Requests are served from now on.
  void started();

  struct Read {
    std::uint64_t events;
    bool more;  // there is probably more to read
  };
  // Kernel events are waiting.
  Read on_kernel_event();
  // True if the datagram held a message that was accepted: the link it came over is the one to use.
  bool on_datagram(const replication::PeerAddress& from, std::span<const std::uint8_t> datagram);
  std::optional<TimePoint> next_deadline() const;
  void on_timer();
  // Answers and finishes the client, now or later. Not for Verb::stop and Verb::reload, and not for Verb::statistics,
  // Verb::metrics and Verb::health, which take snapshot() and what the owner adds to it.
  void on_command(const Command& command, const Client& client);
  // Sends what is due.
  void end_turn();

  // What may change while it runs (limits, times, sizes, filter, addresses) is as `next` says from now on; `filter`: that one
  // too. The rest stays as it is.
  void change(const NodeOptions& next, bool filter);
  // See replication::Engine.
  void move_links(std::span<const std::optional<std::size_t>> before);

  // Most bytes of a datagram on the link that sends now.
  void set_buffer_size(std::size_t bytes);

  // All numbers but those of the process (uptime, control socket) and the links.
  text::Snapshot snapshot() const;
  // What the last command has made of it; unknown in statistics mode.
  text::Role role() const;
  // Whether it may still lack what the peers had when it began (see PeerSide).
  bool is_filling() const;
  // One line for the service manager: what runs, and how much of it.
  std::string status() const;

  // The caches, to look at. `external_flows` is empty with the external cache disabled, `internal_flows` likewise.
  const table::FlowTable& internal_flows() const { return internal_; }
  const table::FlowTable& external_flows() const { return external_; }
  // FT-FW: messages that wait for an acknowledgement; else 0.
  std::uint32_t unacknowledged() const;

 private:
  void make_peer_side();
  void make_mirror();
  void bulk_from_kernel();
  void bulk_done(const Error* error);
  void switch_role(Verb verb, const Client& client);
  void flush_caches(const Command& command, const Client& client);
  bool wants_expectations(const Command& command) const;
  void flush_kernel(const Command& command, const Client& client);
  void resync_kernel(const Command& command, const Client& client);
  void tell_begun(const Command& command, const Client& client, const std::string& text);
  void dump(const Command& command, const Client& client);
  void list(std::unique_ptr<Job> job, const Command& command, const Client& client);

  kernel::KernelTable& kernel_;
  wire::DatagramSink& sink_;
  const Clock& clock_;
  Log& log_;
  Jobs& jobs_;
  NodeOptions options_;
  table::FlowTable internal_;
  table::FlowTable external_;
  table::ExpectationTable internal_expectations_;
  table::ExpectationTable external_expectations_;
  std::optional<table::ToldSums> sums_;  // over internal_, in FT-FW
  std::unique_ptr<PeerSide> peer_side_;  // not in statistics mode
  std::unique_ptr<Copies> copies_;       // with DisableExternalCache or WarmStandby
  InjectedCopies* injected_ = nullptr;   // these, with DisableExternalCache
  Mirror* mirror_ = nullptr;             // these, with WarmStandby
  std::unique_ptr<InternalStore> store_;
  std::unique_ptr<KernelSide> kernel_side_;
  std::unique_ptr<RoleSwitch> roles_;  // not in statistics mode
  BulkJob* bulk_ = nullptr;
};

}  // namespace ctsync::node
