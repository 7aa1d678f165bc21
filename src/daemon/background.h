// SPDX-License-Identifier: GPL-2.0-or-later
// Going into the background: the process forks before it starts anything, the parent waits for the outcome. So a
// failing start reaches the terminal and the exit status of the command that was typed, and success means "serving".
// Who stops the command while it waits stops the start: the parent hands the signal on.
#pragma once

#include <sys/types.h>

#include <csignal>

#include <functional>

#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync::daemon {

class Background {
 public:
  // Returns in the child only. The parent exits: 0 after ready(), having called `on_success` with the child's pid, else
  // with the child's exit status, or 1. `signals`, which the caller has blocked, go on to the child.
  static Result<Background> enter(const sigset_t& signals, const std::function<void(pid_t child)>& on_success);

  Background() = default;  // foreground: ready() only leaves the terminal alone

  // Tells the parent that all is well and lets go of the terminal.
  void ready();

 private:
  explicit Background(UniqueFd to_parent) : to_parent_(std::move(to_parent)) {}

  UniqueFd to_parent_;
};

}  // namespace ctsync::daemon
