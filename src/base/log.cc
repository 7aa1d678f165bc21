// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/log.h"

#include <syslog.h>
#include <unistd.h>

#include <array>
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

std::int64_t wall_now() { return SystemClock().wall_seconds(); }

std::string line_of(Level level, std::string_view text) {
  return fmt::format("[{}] (pid={}) [{}] {}", ctime_text(wall_now()), ::getpid(), name_of(level), text);
}

std::string loss_line(std::uint64_t lost) {
  return line_of(Level::warning, fmt::format("{} lines were lost: this log took no more", lost));
}

}  // namespace

std::string ctime_text(std::int64_t wall_seconds) {
  const auto t = static_cast<std::time_t>(wall_seconds);
  std::tm tm{};
  ::localtime_r(&t, &tm);
  char text[64] = "";
  std::strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
  return text;
}

SystemLog::SystemLog() : out_(STDOUT_FILENO, kMostKept, loss_line), err_(STDERR_FILENO, kMostKept, loss_line) {}

SystemLog::~SystemLog() { drain(writers(), kLastTry); }

std::vector<LineWriter*> SystemLog::writers() {
  std::vector<LineWriter*> all{&out_, &err_};
  if (file_) all.push_back(file_.get());
  if (syslog_) all.push_back(syslog_.get());
  return all;
}

Result<> SystemLog::open(const LogTargets& targets) {
  std::unique_ptr<FileWriter> file;
  if (!targets.file.empty()) {
    file = std::make_unique<FileWriter>(kMostKept, loss_line);
    if (auto ok = file->open(targets.file); !ok) return ok;
  }
  targets_ = targets;
  file_ = std::move(file);
  syslog_ = targets_.syslog_facility ? std::make_unique<SyslogWriter>(*targets_.syslog_facility, kMostKept) : nullptr;
  if (!early_) return {};
  for (const auto& [level, text] : *early_) {
    to_file(line_of(level, text));
    to_syslog(level, text);
  }
  early_.reset();
  return {};
}

Result<> SystemLog::reopen() { return file_ ? file_->open(targets_.file) : Result<>(); }

void SystemLog::set_terminal(Terminal t) {
  targets_.terminal = t;
  if (t == Terminal::none) drain(std::array<LineWriter*, 2>{&out_, &err_}, kLastTry);
}

bool SystemLog::pending() const {
  return out_.pending() || err_.pending() || (file_ && file_->pending()) || (syslog_ && syslog_->pending());
}

LineWriter::Left SystemLog::flush() {
  using enum LineWriter::Left;
  auto left = nothing;
  for (auto* w : writers()) {
    const auto here = w->flush();
    if (here != nothing && left != some) left = here;
  }
  return left;
}

void SystemLog::put(LineWriter& writer, std::string_view line) {
  writer.add(line);
  writer.flush();
}

void SystemLog::to_file(std::string_view line) {
  if (file_) put(*file_, line);
}

void SystemLog::to_syslog(Level level, std::string_view text) {
  if (!syslog_) return;
  syslog_->add(priority_of(level), text);
  syslog_->flush();
}

void SystemLog::write(Level level, std::string_view text) {
  if (early_) early_->push_back({level, std::string(text)});
  const auto line = line_of(level, text);
  to_file(line);
  const bool problem = level == Level::warning || level == Level::error;
  if (targets_.terminal == Terminal::all || (problem && targets_.terminal == Terminal::problems)) {
    put(problem && !err_.same_place(out_) ? err_ : out_, line);  // one writer keeps the order
  }
  to_syslog(level, text);
}

void SystemLog::write_entry(Level level, std::string_view text) {
  to_file(fmt::format("{}\t{}", ctime_text(wall_now()), text));
  to_syslog(level, text);
}

}  // namespace ctsync
