// SPDX-License-Identifier: GPL-2.0-or-later
#include "flow_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace ctsync::daemon {
namespace {

// A pipe is opened for reading too: so it can be opened, and keeps what was written, while nobody reads it.
int direction(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISFIFO(info.st_mode) ? O_RDWR : O_WRONLY | O_CREAT;
}

}  // namespace

FlowLog::FlowLog(std::optional<std::string> file, std::optional<int> syslog_priority)
    : path_(std::move(file)), syslog_priority_(syslog_priority) {}

Result<> FlowLog::open() {
  if (syslog_priority_) ::openlog("conntrack-tools", LOG_PID | LOG_NDELAY, *syslog_priority_ & LOG_FACMASK);
  if (!path_) return {};
  UniqueFd fd(::open(path_->c_str(), direction(*path_) | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
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
    if (n <= 0) break;
    written_ += static_cast<std::size_t>(n);
  }
  if (written_ < pending_.size()) {
    // A slow reader must not make the written part grow without end.
    if (written_ > pending_.size() / 2) {
      pending_.erase(0, written_);
      written_ = 0;
    }
    return true;
  }
  pending_.clear();
  written_ = 0;
  return false;
}

}  // namespace ctsync::daemon
