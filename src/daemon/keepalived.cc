// SPDX-License-Identifier: GPL-2.0-or-later
#include "keepalived.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace ctsync::daemon {

RoleTracker::RoleTracker(const config::KeepalivedConfig& config) {
  for (const auto& name : config.groups) masters_.emplace("GROUP \"" + name + '"', false);
  for (const auto& name : config.instances) masters_.emplace("INSTANCE \"" + name + '"', false);
}

RoleTracker::Line RoleTracker::take(std::string_view line, std::optional<Role>& role) {
  role.reset();
  // The name is what stands between the first quote and the last: it may hold whatever keepalived takes.
  const auto open = line.find(" \"");
  const auto end = line.rfind("\" ");
  if (open == std::string_view::npos || end == std::string_view::npos || end <= open + 1) return Line::strange;
  const std::string_view kind = line.substr(0, open);
  if (kind != "GROUP" && kind != "INSTANCE") return Line::strange;
  const std::string_view rest = line.substr(end + 2);
  const std::string_view state = rest.substr(0, rest.find(' '));
  const auto followed = masters_.find(line.substr(0, end + 1));
  if (followed == masters_.end()) return Line::good;
  if (state == "MASTER") {
    followed->second = true;
    role = Role::primary;
    return Line::good;
  }
  const bool stops = state == "STOP" || state == "DELETED";
  if (state != "BACKUP" && state != "FAULT" && !stops) {
    // Others, as MASTER_PRIORITY, tell nothing that matters here.
    const bool known = state.starts_with("MASTER_") || state.starts_with("BACKUP_");
    return known ? Line::good : Line::strange;
  }
  followed->second = false;
  const bool any = std::ranges::any_of(masters_, [](const auto& m) { return m.second; });
  if (!any && !stops) role = state == "FAULT" ? Role::fault : Role::backup;
  return Line::good;
}

KeepalivedFifo::KeepalivedFifo(const config::KeepalivedConfig& config, EventLoop& loop, Log& log, const Clock& clock,
                               std::function<void(Role)> on_role)
    : config_(config),
      loop_(loop),
      log_(log),
      clock_(clock),
      on_role_(std::move(on_role)),
      tracker_(config),
      timer_(loop, [this] { look(); }) {}

KeepalivedFifo::~KeepalivedFifo() { close(); }

// Whoever made it may have made it anew.
void KeepalivedFifo::look() {
  timer_.arm_in(kLookAgain);
  if (taken_ >= kMostBytes && fd_) loop_.change(fd_.get(), EPOLLIN);
  taken_ = 0;
  if (fd_ && is_in_place()) return;
  if (fd_) read();  // what was written before it went
  close();
  if (auto ok = open(); ok) {
    if (!std::exchange(told_, {}).empty()) log_.notice("{} is there now", config_.fifo);
  } else if (ok.error().text != told_) {
    told_ = ok.error().text;
    log_.error("{}: keepalived is not heard until that is mended", told_);
  }
}

// For writing as well, as keepalived does: so it never ends, and opening waits for nobody.
Result<> KeepalivedFifo::open() {
  const char* const path = config_.fifo.c_str();
  if (::mkfifo(path, S_IRUSR | S_IWUSR) != 0 && errno != EEXIST) return fail_errno("can't make " + config_.fifo);
  UniqueFd fd(::open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_errno("can't open " + config_.fifo);
  struct stat s {};
  if (::fstat(fd.get(), &s) != 0) return fail_errno("can't look at " + config_.fifo);
  if (!S_ISFIFO(s.st_mode)) return fail(config_.fifo + " is no FIFO");
  if ((s.st_uid != 0 && s.st_uid != ::geteuid()) || (s.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(config_.fifo + " belongs to somebody else, or others may write to it");
  }
  if (auto ok = loop_.watch(fd.get(), EPOLLIN, [this](std::uint32_t) { read(); }); !ok) return ok;
  fd_ = std::move(fd);
  opened_ = s;
  line_.clear();
  too_long_ = false;
  return {};
}

void KeepalivedFifo::close() {
  if (!fd_) return;
  loop_.unwatch(fd_.get());
  fd_ = {};
}

bool KeepalivedFifo::is_in_place() const {
  struct stat s {};
  return ::lstat(config_.fifo.c_str(), &s) == 0 && s.st_ino == opened_.st_ino && s.st_dev == opened_.st_dev;
}

// A part at a time: who writes without end must not stop the loop.
void KeepalivedFifo::read() {
  std::array<char, 4096> part;
  const auto n = ::read(fd_.get(), part.data(), part.size());
  if (n <= 0) return;
  taken_ += static_cast<std::size_t>(n);
  if (taken_ >= kMostBytes) loop_.change(fd_.get(), 0);
  for (const char c : std::string_view(part.data(), static_cast<std::size_t>(n))) {
    if (c == '\n') {
      take(std::exchange(line_, {}));
      too_long_ = false;
    } else if (line_.size() < kLongestLine) {
      line_.push_back(c);
    } else {
      too_long_ = true;
    }
  }
}

void KeepalivedFifo::take(std::string_view line) {
  std::optional<Role> role;
  if (too_long_ || tracker_.take(line, role) == RoleTracker::Line::strange) {
    if (!strange_limit_.allow(clock_.now())) return;
    log_.warning("{}: a line that keepalived does not write is skipped", config_.fifo);
    return;
  }
  if (!role) return;
  log_.notice("keepalived: {}", line);
  on_role_(*role);
}

}  // namespace ctsync::daemon
