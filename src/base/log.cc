// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <syslog.h>

#include <ctime>

namespace ctsync {
namespace {

std::string_view name_of(Level level) {
  switch (level) {
    case Level::info:
      return "info";
    case Level::notice:
      return "notice";
    case Level::warning:
      return "warning";
    case Level::error:
      return "ERROR";
  }
  return "";
}

int priority_of(Level level) {
  switch (level) {
    case Level::info:
      return LOG_INFO;
    case Level::notice:
      return LOG_NOTICE;
    case Level::warning:
      return LOG_WARNING;
    case Level::error:
      return LOG_ERR;
  }
  return LOG_ERR;
}

void write_all(int fd, std::string_view s) {
  while (!s.empty()) {
    const auto n = ::write(fd, s.data(), s.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a log that cannot be written must not stop the daemon
    s.remove_prefix(static_cast<std::size_t>(n));
  }
}

Result<UniqueFd> open_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600));
  if (!fd) return fail_errno(fmt::format("can't open logfile `{}'", path));
  return fd;
}

std::int64_t wall_now() { return SystemClock().wall_seconds(); }

}  // namespace

std::string ctime_text(std::int64_t wall_seconds) {
  const auto t = static_cast<std::time_t>(wall_seconds);
  std::tm tm{};
  ::localtime_r(&t, &tm);
  char text[64] = "";
  std::strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
  return text;
}

SystemLog::~SystemLog() {
  if (targets_.syslog_facility) ::closelog();
}

Result<> SystemLog::open(const LogTargets& targets) {
  UniqueFd file;
  if (!targets.file.empty()) {
    auto opened = open_file(targets.file);
    if (!opened) return std::unexpected(opened.error());
    file = std::move(*opened);
  }
  targets_ = targets;
  file_ = std::move(file);
  if (targets_.syslog_facility) ::openlog("conntrack-tools", LOG_PID | LOG_NDELAY, *targets_.syslog_facility);
  return {};
}

Result<> SystemLog::reopen() {
  if (targets_.file.empty()) return {};
  auto opened = open_file(targets_.file);
  if (!opened) return std::unexpected(opened.error());
  file_ = std::move(*opened);
  return {};
}

void SystemLog::to_file(std::string_view line) {
  if (file_) write_all(file_.get(), line);
}

void SystemLog::write(Level level, std::string_view text) {
  const auto line = fmt::format("[{}] (pid={}) [{}] {}\n", ctime_text(wall_now()), ::getpid(), name_of(level), text);
  to_file(line);
  const bool problem = level == Level::warning || level == Level::error;
  if (targets_.terminal == Terminal::all || (problem && targets_.terminal == Terminal::problems)) {
    write_all(problem ? STDERR_FILENO : STDOUT_FILENO, line);
  }
  if (targets_.syslog_facility) {
    ::syslog(priority_of(level), "%.*s", static_cast<int>(text.size()), text.data());
  }
}

void SystemLog::write_entry(Level level, std::string_view text) {
  to_file(fmt::format("{}\t{}\n", ctime_text(wall_now()), text));
  if (targets_.syslog_facility) {
    ::syslog(priority_of(level), "%.*s", static_cast<int>(text.size()), text.data());
  }
}

}  // namespace ctsync
