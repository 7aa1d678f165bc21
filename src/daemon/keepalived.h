// SPDX-License-Identifier: GPL-2.0-or-later
// What keepalived tells of its changes of state, through the pipe that its configuration calls vrrp_notify_fifo: one line
// for each, as `INSTANCE "INSIDE" MASTER 100` and `GROUP "PAIR" BACKUP 0` (keepalived.conf(5)).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/config/config.h"

namespace ctsync::daemon {

enum class Role : std::uint8_t { primary, backup, fault };

// Follows the groups and instances of the configuration. Pure.
class RoleTracker {
 public:
  explicit RoleTracker(const config::KeepalivedConfig& config);

  enum class Line : std::uint8_t { good, strange };
  // `line` without its end. `role`: what this node is to become, if that follows from it: primary whenever one of those
  // that are followed becomes master; else what that one has become, if none of the others is master.
  Line take(std::string_view line, std::optional<Role>& role);

 private:
  // Of each that is followed, by `GROUP "name"` or `INSTANCE "name"`: whether it is master.
  std::map<std::string, bool, std::less<>> masters_;
};

// The pipe: made if it is not there, and looked for again each second when it goes. Nothing waits for it.
class KeepalivedFifo {
 public:
  // All but `config` must outlive it.
  KeepalivedFifo(const config::KeepalivedConfig& config, EventLoop& loop, Log& log, const Clock& clock,
                 std::function<void(Role)> on_role);
  ~KeepalivedFifo();
  KeepalivedFifo(const KeepalivedFifo&) = delete;
  KeepalivedFifo& operator=(const KeepalivedFifo&) = delete;

  // What is written to it from now on is taken.
  void start() { look(); }

 private:
  static constexpr Duration kLookAgain = std::chrono::seconds(1);
  static constexpr std::size_t kLongestLine = 512;
  static constexpr std::size_t kMostBytes = 64 * 1024;  // between two looks; the rest waits

  void look();
  Result<> open();
  void close();
  bool is_in_place() const;
  void read();
  void take(std::string_view line);

  const config::KeepalivedConfig config_;
  EventLoop& loop_;
  Log& log_;
  const Clock& clock_;
  std::function<void(Role)> on_role_;
  RoleTracker tracker_;
  UniqueFd fd_;
  struct stat opened_ {};
  Timer timer_;
  std::string line_;       // begun
  std::size_t taken_ = 0;  // bytes since the last look
  bool too_long_ = false;  // its rest is to be skipped
  std::string told_;       // why it cannot be opened
  RateLimit strange_limit_{std::chrono::seconds(10)};
};

}  // namespace ctsync::daemon
