// SPDX-License-Identifier: GPL-2.0-or-later
// What a run of one seed tells beside whether it failed: how many faults of each kind there were, how long the nodes
// took to agree again, and what happened in which order.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ctsync/base/clock.h"

namespace ctsync::sim {

enum class Fault : std::uint8_t {
  // Datagrams, one for each receiver.
  loss,
  burst_loss,  // in a row
  cut,         // between nodes, or of a node from all others, or of a link
  duplicate,
  reorder,
  corrupt,
  inbox_full,  // the receiver was too slow
  // Nodes and links.
  one_way_cut,
  link_failure,
  stop,  // for a while, as by a debugger or a starved machine
  slow_peer,
  congestion,
  restart,
  reboot,  // its kernel has lost its flows, too
  clock_jump,
  // Kernels.
  lost_event,
  eexist,
  enoent,
  ebusy,
  enomem,
  // Tables and queues.
  table_full,
  resend_queue_full,
  sequence_wrap,
  // Operators, and the world.
  command,
  take_over,
  expired_copy,
  forged_message,
  count
};

inline constexpr auto kFaultNames = std::to_array<std::string_view>({"loss",          "burst loss",
                                                                     "cut",           "duplicate",
                                                                     "reorder",       "corrupt",
                                                                     "inbox full",    "one-way cut",
                                                                     "link failure",  "stop",
                                                                     "slow peer",     "congestion",
                                                                     "restart",       "reboot",
                                                                     "clock jump",    "lost event",
                                                                     "EEXIST",        "ENOENT",
                                                                     "EBUSY",         "ENOMEM",
                                                                     "table full",    "resend queue full",
                                                                     "sequence wrap", "command",
                                                                     "take-over",     "expired copy",
                                                                     "forged message"});
static_assert(kFaultNames.size() == static_cast<std::size_t>(Fault::count));

class Tally {
 public:
  void add(Fault f, std::uint64_t n = 1) { faults_[static_cast<std::size_t>(f)] += n; }
  const auto& faults() const { return faults_; }

  // From the end of the faults until all agreed, and went on agreeing.
  void agreed_after(Duration d) { slowest_ = std::max(slowest_, d); }
  Duration slowest() const { return slowest_; }
  // How long a node said "in sync" after the end of the faults though it was not.
  void believed_wrongly(Duration d) { wrong_belief_ = std::max(wrong_belief_, d); }
  Duration wrong_belief() const { return wrong_belief_; }

  // The trace: kept, and shown when the seed has failed; with CTSYNC_SIM_TRACE set, with every message.
  void set_verbose(bool on) { verbose_ = on; }
  bool verbose() const { return verbose_; }
  void note(TimePoint at, std::string text);
  const std::vector<std::string>& trace() const { return trace_; }

 private:
  std::array<std::uint64_t, static_cast<std::size_t>(Fault::count)> faults_{};
  Duration slowest_{};
  Duration wrong_belief_{};
  bool verbose_ = false;
  std::vector<std::string> trace_;
};

}  // namespace ctsync::sim
