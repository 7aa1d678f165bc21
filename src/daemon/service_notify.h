// SPDX-License-Identifier: GPL-2.0-or-later
// systemd's notification protocol (sd_notify(3), sd_watchdog_enabled(3)): datagrams to the socket that NOTIFY_SOCKET
// names. Without that variable, or with `Systemd off`, every call does nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ctsync/base/clock.h"

namespace ctsync::daemon {

class ServiceNotify {
 public:
  // In the process that the service manager started, i.e. before it goes into the background.
  explicit ServiceNotify(bool enabled);

  bool wanted() const { return !path_.empty(); }
  void send(std::string_view assignment) const;  // e.g. "READY=1"
  void reloading() const;                        // to be followed by READY=1

  // Half of WATCHDOG_USEC, if systemd watches this process (WATCHDOG_PID).
  std::optional<Duration> watchdog_interval() const { return watchdog_interval_; }

 private:
  std::string path_;  // empty: nobody listens
  std::optional<Duration> watchdog_interval_;
};

}  // namespace ctsync::daemon
