// SPDX-License-Identifier: GPL-2.0-or-later
// The daemon: one process that synchronises (sync mode) or logs flows (stats mode), as the configuration says.
#pragma once

#include <string>

#include "ctsync/base/log.h"
#include "ctsync/config/config.h"

namespace ctsync::daemon {

// Runs until -k, SIGTERM or SIGINT. With `background` the calling process exits as soon as the daemon serves requests,
// or with the failure of its start; messages of the start reach the terminal either way. `log` is not open yet: what it
// was told about the configuration belongs to the daemon's log too. Returns the exit status.
int run(const config::Config& config, const std::string& config_path, bool background, SystemLog& log);

}  // namespace ctsync::daemon
