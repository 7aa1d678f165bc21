// SPDX-License-Identifier: GPL-2.0-or-later
// The lock file: one daemon a file. The lock is the kernel's (flock), so it dies with the process and a file left
// behind by a crash blocks nothing. The file holds the pid of its owner for people to read.
#pragma once

#include <string>

#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync::daemon {

class LockFile {
 public:
  LockFile() = default;
  ~LockFile();
  LockFile(LockFile&&) = default;
  LockFile& operator=(LockFile&&) = default;

  // Error: another process holds it (the text names its pid), or the file cannot be opened (the text says why).
  static Result<LockFile> acquire(const std::string& path);

 private:
  LockFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  UniqueFd fd_;
};

}  // namespace ctsync::daemon
