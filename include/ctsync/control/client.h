// SPDX-License-Identifier: GPL-2.0-or-later
// The client side of the control socket (spec cli.md 2): sends one request and copies the answer to the output until
// the daemon closes. Works with ctsyncd and with conntrackd as the daemon.
#pragma once

#include <unistd.h>

#include <string>

#include "ctsync/base/log.h"
#include "ctsync/control/request.h"

namespace ctsync::control {

// Returns the exit status: 0, or 1 after an error line to `log`. Blocks until the daemon has closed the connection. The
// answer is copied byte for byte to `output_fd`.
int run_client(const std::string& socket_path, Request request, Log& log, int output_fd = STDOUT_FILENO);

}  // namespace ctsync::control
