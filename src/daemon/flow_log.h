// SPDX-License-Identifier: GPL-2.0-or-later
// The flow log of statistics mode: one line a finished flow, "date<TAB>flow" in the file, the flow alone in syslog
// (spec replication.md 6, config.md 11). Lines are collected and written once a turn of the loop, and a file that takes
// no more at the moment (a pipe, say) is tried again later: kernel events go first. What does not fit kMostPending is
// lost and counted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ctsync/base/clock.h"
#include "ctsync/base/log.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/text/render_flow.h"

namespace ctsync::daemon {

class FlowLog {
 public:
  static constexpr std::size_t kMostPending = 64U << 20;  // bytes

  // `file`: path; `syslog_priority`: priority and facility for syslog(3). Both optional.
  FlowLog(std::optional<std::string> file, std::optional<int> syslog_priority);

  Result<> open();  // also to open the file anew after rotation
  void add(const FlowRecord& record, std::int64_t wall_seconds);
  // Writes what is pending. True if something is left.
  bool write_pending();
  std::uint64_t lost_lines() const { return lost_lines_; }

 private:
  std::optional<std::string> path_;
  std::optional<int> syslog_priority_;
  UniqueFd fd_;
  std::string pending_;
  std::size_t written_ = 0;  // of pending_
  std::int64_t date_of_ = -1;
  std::string date_;
  std::string line_;
  std::uint64_t lost_lines_ = 0;
  text::FlowRenderer renderer_;
};

}  // namespace ctsync::daemon
