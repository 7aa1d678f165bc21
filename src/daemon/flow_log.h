// SPDX-License-Identifier: GPL-2.0-or-later
// The flow log of statistics mode: one line a finished flow, "date<TAB>flow" in the file, the flow alone in syslog
// (spec replication.md 6, config.md 11). Lines are collected and passed on once a turn of the loop; a file (a pipe,
// say) or a syslog daemon that takes no more at the moment is tried again later: kernel events go first. What does not
// fit kMostKept is lost and counted. The flow log holds flows only: what is lost is told in the daemon's own log.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ctsync/base/clock.h"
#include "ctsync/base/file_writer.h"
#include "ctsync/base/log.h"
#include "ctsync/base/syslog_writer.h"
#include "ctsync/text/render_flow.h"

namespace ctsync::daemon {

class FlowLog {
 public:
  static constexpr std::size_t kMostKept = 32U << 20;  // bytes, for each of the two places

  // `file`: path; `syslog_facility`: LOG_DAEMON ... Both optional. `most_kept` is less in tests only.
  FlowLog(std::optional<std::string> file, std::optional<int> syslog_facility, std::size_t most_kept = kMostKept);
  ~FlowLog();  // one last try, of SystemLog::kLastTry
  FlowLog(const FlowLog&) = delete;
  FlowLog& operator=(const FlowLog&) = delete;

  Result<> open();  // also to open the file anew after rotation
  // Other places from now on. On failure nothing changes. What is kept for syslog is lost if that is not wanted any more.
  Result<> change(std::optional<std::string> file, std::optional<int> syslog_facility);
  void add(const FlowRecord& record, std::int64_t wall_seconds);
  LineWriter::Left flush();
  std::uint64_t lost_lines() const;
  // Tells when lines begin to be lost, and how many were lost when they are taken again; both at most once a minute.
  void tell_losses(Log& log, TimePoint now);

 private:
  const std::size_t most_kept_;
  std::optional<std::string> path_;
  std::optional<int> facility_;
  FileWriter file_;
  std::unique_ptr<SyslogWriter> syslog_;  // none: not wanted
  std::int64_t date_of_ = -1;
  std::string date_;  // with the tab
  std::string line_;
  text::FlowRenderer renderer_;
  std::uint64_t lost_seen_ = 0;  // by tell_losses()
  std::uint64_t lost_told_ = 0;
  bool losing_ = false;  // told
  RateLimit loss_limit_{std::chrono::minutes(1)};
};

}  // namespace ctsync::daemon
