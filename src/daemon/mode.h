// SPDX-License-Identifier: GPL-2.0-or-later
// What the daemon does: synchronise (SyncMode) or log finished flows (StatsMode). The process around it (lock, log,
// control socket, signals) is the same for both and lives in daemon.cc.
#pragma once

#include <string>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/result.h"
#include "ctsync/config/config.h"
#include "ctsync/control/client_handle.h"
#include "ctsync/control/request.h"
#include "ctsync/control/stats_text.h"

namespace ctsync::daemon {

// What a mode is given; everything outlives it.
struct ModeContext {
  const config::Config& config;
  EventLoop& loop;
  SystemLog& log;
  const Clock& clock;
};

class Mode {
 public:
  virtual ~Mode() = default;

  // Opens everything and loads the internal cache. Blocks; an error ends the start.
  virtual Result<> start() = 0;
  // Requests are served from now on.
  virtual void started() {}
  // Answers and finishes the client, now or later. False: not a request of this mode (the caller finishes the client).
  virtual bool on_request(control::Request request, const control::Client& client) = 0;
  // One line for the service manager: what runs, and how much of it.
  virtual std::string status() const = 0;
  virtual void fill_runtime(control::RuntimeNumbers&) const {}
  // SIGHUP: log files of the mode are opened anew.
  virtual void reopen_logs() {}
};

}  // namespace ctsync::daemon
