// SPDX-License-Identifier: GPL-2.0-or-later
// Lines to stdout and stderr. Whoever started the process may share these descriptors with it, and what they stand for
// (a terminal, a pipe) with others, so their mode is left alone: a terminal or a pipe is opened anew for each write,
// which also leaves no descriptor behind that would keep a pipe open.
#pragma once

#include "ctsync/base/line_writer.h"

namespace ctsync {

class TerminalWriter final : public LineWriter {
 public:
  // `fd`: STDOUT_FILENO or STDERR_FILENO.
  TerminalWriter(int fd, std::size_t limit, LossLine loss_line)
      : LineWriter('\n', limit, std::move(loss_line)), fd_(fd) {}

  // Whether both are the same file, pipe or terminal.
  bool same_place(const TerminalWriter& other) const;

 private:
  std::size_t pass_on(std::string_view data) override;

  const int fd_;
};

}  // namespace ctsync
