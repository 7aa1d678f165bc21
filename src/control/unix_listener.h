// SPDX-License-Identifier: GPL-2.0-or-later
// A UNIX stream socket that clients connect to, with its file. A file that a daemon that died has left is replaced; anything
// else at the path is an error. Does not block.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync::control {

class UnixListener {
 public:
  // `name`: what messages call it; must outlive it.
  explicit UnixListener(std::string_view name) : name_(name) {}
  ~UnixListener() { close(); }
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

  // `path`: absolute, for the daemon changes its directory. The file has `mode` from its first moment on, whatever the mask.
  Result<> open(const std::string& path, mode_t mode, std::size_t backlog);
  // Removes the file if the one at the path is still ours.
  void close();

  int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  Result<> bind_and_listen(const std::string& path, mode_t mode, std::size_t backlog);

  const std::string_view name_;
  UniqueFd fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace ctsync::control
