// SPDX-License-Identifier: GPL-2.0-or-later
#include "flow_log.h"

#include <fcntl.h>
#include <syslog.h>
#include <unistd.h>

namespace ctsync::daemon {

FlowLog::FlowLog(std::optional<std::string> file, std::optional<int> syslog_priority)
    : path_(std::move(file)), syslog_priority_(syslog_priority) {}

Result<> FlowLog::open() {
  if (!path_) return {};
  UniqueFd fd(::open(path_->c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
  if (!fd) return fail_errno(fmt::format("can't open logfile `{}'", *path_));
  fd_ = std::move(fd);
  return {};
}

void FlowLog::add(const FlowRecord& record, std::int64_t wall_seconds) {
  line_.clear();
  renderer_.append(line_, record);
  if (syslog_priority_) ::syslog(*syslog_priority_, "%s", line_.c_str());
  if (!fd_) return;
  if (date_of_ != wall_seconds) {
    date_of_ = wall_seconds;
    date_ = ctime_text(wall_seconds);
  }
  if (pending_.size() - written_ + date_.size() + line_.size() + 2 > kMostPending) {
    ++lost_lines_;
    return;
  }
  pending_ += date_;
  pending_ += '\t';
  pending_ += line_;
  pending_ += '\n';
}

bool FlowLog::write_pending() {
  while (written_ < pending_.size()) {
    const auto n = ::write(fd_.get(), pending_.data() + written_, pending_.size() - written_);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    written_ += static_cast<std::size_t>(n);
  }
  pending_.clear();
  written_ = 0;
  return false;
}

}  // namespace ctsync::daemon
