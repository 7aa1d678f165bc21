// SPDX-License-Identifier: GPL-2.0-or-later
// systemd's notification protocol (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names. Without that variable,
// or with `Systemd off`, every call does nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ctsync/base/clock.h"

namespace ctsync::daemon {

class ServiceNotify {
 public:
  explicit ServiceNotify(bool enabled);

  void send(std::string_view assignment) const;  // e.g. "READY=1"

  // Half of WATCHDOG_USEC, if systemd watches this process.
  std::optional<Duration> watchdog_interval() const;

 private:
  std::string path_;  // empty: nobody listens
};

}  // namespace ctsync::daemon
