// SPDX-License-Identifier: GPL-2.0-or-later
// Lines to the syslog daemon, in the bytes of syslog(3) (RFC 3164: "<PRI>Mmm dd hh:mm:ss conntrack-tools[PID]: text").
// Not by means of it, because it waits while the daemon does not read.
#pragma once

#include "ctsync/base/line_writer.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync {

class SyslogWriter final : public LineWriter {
 public:
  // `facility`: LOG_DAEMON, LOG_LOCAL0 ... `path` is another one in tests only.
  SyslogWriter(int facility, std::size_t limit, std::string path = "/dev/log");

  // `priority`: LOG_INFO ...
  void add(int priority, std::string_view text);

 private:
  std::size_t pass_on(std::string_view data) override;
  bool connect();
  bool connect_as(int type);

  const int facility_;
  const std::string path_;
  UniqueFd socket_;
  bool stream_ = false;
};

}  // namespace ctsync
