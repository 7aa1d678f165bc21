// SPDX-License-Identifier: GPL-2.0-or-later
// Lines into a file that grows, a pipe with a name, or whatever else has a path.
#pragma once

#include "ctsync/base/line_writer.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync {

class FileWriter final : public LineWriter {
 public:
  FileWriter(std::size_t limit, LossLine loss_line) : LineWriter('\n', limit, std::move(loss_line)) {}

  // Opens for appending, mode 0600 if it is new, and never waits for a reader; also to follow a rotation. A pipe keeps
  // what it is given while nobody reads it. On failure what was open before stays in use, and the error names the file.
  Result<> open(const std::string& path);

 private:
  std::size_t pass_on(std::string_view data) override;

  UniqueFd fd_;
};

}  // namespace ctsync
