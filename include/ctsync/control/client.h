// SPDX-License-Identifier: GPL-2.0-or-later
// The client side of the control socket (spec cli.md 2): sends one request and copies the answer to the output until
// the daemon closes. Works with ctsyncd and with conntrackd as the daemon.
#pragma once

#include <unistd.h>

#include <chrono>
#include <string>

#include "ctsync/base/log.h"
#include "ctsync/control/request.h"

namespace ctsync::control {

// The exit status after a request that the daemon does not know, because it is older, or conntrackd.
inline constexpr int kUnknownRequest = 3;
// And after Request::health to a daemon that is not there, or has not answered within kHealthTime.
inline constexpr int kNoAnswer = 10;
inline constexpr std::chrono::seconds kHealthTime{2};

// Returns the exit status: 0, or 1 after an error line to `log`, or what the answer to a request says that has a status.
// Blocks until the daemon has closed the connection. The answer is copied byte for byte to `output_fd`.
// `stop` removes the socket of a daemon that has died.
int run_client(const std::string& socket_path, Request request, Log& log, int output_fd = STDOUT_FILENO);

}  // namespace ctsync::control
