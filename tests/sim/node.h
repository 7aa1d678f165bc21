// SPDX-License-Identifier: GPL-2.0-or-later
// A complete node but for the operating system: a fake kernel with a few flows that come, change and go; internal
// table, engine, packer; message reader and external table. Lives under the time it is given.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/replication/alarm.h"
#include "ctsync/replication/expiry.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/wire/packer.h"
#include "network.h"

namespace ctsync::sim {

enum class Mode : std::uint8_t { ftfw, notrack, alarm };

// What a cache knows of a flow, as far as nodes have to agree.
using State = std::map<std::string, std::uint32_t>;  // tuple -> mark, the version of the flow

class Node final : public wire::DatagramSink, public replication::Events {
 public:
  Node(std::size_t index, Mode mode, const replication::EngineOptions& options, Network& network, TimePoint now);

  // --- The kernel ---
  void create(std::uint32_t flow, TimePoint now);
  void change(std::uint32_t flow, TimePoint now);
  void destroy(std::uint32_t flow);
  bool exists(std::uint32_t flow) const { return kernel_.contains(flow); }

  // --- The daemon ---
  // Comes back with an empty external cache; the internal one is loaded from the kernel.
  void restart(std::uint32_t first_sequence, TimePoint now);
  void flush_external();
  void receive(std::size_t from, std::span<const std::uint8_t> datagram, TimePoint now);
  std::optional<TimePoint> next_deadline() const;
  void turn(TimePoint now);  // timers, then drain

  State internal() const { return state_of(*internal_); }
  State external() const { return state_of(*external_); }

  replication::Engine& engine() { return *engine_; }
  const wire::ReceiveStats& stats() const { return stats_; }
  const table::FlowTable& internal_table() const { return *internal_; }
  // FT-FW alone: what waits for an acknowledgement.
  std::uint32_t unacknowledged() const;

 private:
  static constexpr std::uint32_t kTableLimit = 4096;
  static constexpr Duration kCacheTimeout = std::chrono::seconds(20);

  void send(std::span<const std::span<const std::uint8_t>> datagrams) override;
  void boot(TimePoint now);
  void changed(const FlowRecord& r, TimePoint now);
  void apply(wire::MsgType type, const FlowRecord& r, TimePoint now);
  void drop_external(table::FlowId id);
  static State state_of(const table::FlowTable& t);

  std::size_t index_;
  Mode mode_;
  replication::EngineOptions options_;
  Network& network_;
  TimePoint now_;
  std::map<std::uint32_t, FlowRecord> kernel_;
  std::uint32_t version_ = 0;
  wire::ReceiveStats stats_;
  std::unique_ptr<table::FlowTable> internal_;
  std::unique_ptr<table::FlowTable> external_;
  std::unique_ptr<replication::Engine> engine_;
  std::unique_ptr<replication::Expiry> expiry_;
  wire::Packer packer_;
};

}  // namespace ctsync::sim
