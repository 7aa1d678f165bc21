// SPDX-License-Identifier: GPL-2.0-or-later
// `--watch`: a live view of the daemon that runs, from what it tells in answer to one request each interval.
#pragma once

#include <chrono>
#include <string>

#include "ctsync/base/log.h"

namespace ctsync::control {

// On a terminal full-screen, until q, end of file, SIGINT, SIGQUIT, SIGTERM, SIGHUP or the end of the terminal; space
// pauses. Else a plain text each interval, until the reader is gone. A daemon that does not answer is waited for.
// Returns the exit status: 0; 1 after an error line to `log`; kUnknownRequest if the daemon does not know the request.
int run_watch(const std::string& socket_path, std::chrono::seconds interval, Log& log);

}  // namespace ctsync::control
