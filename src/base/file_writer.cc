// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/file_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

namespace ctsync {
namespace {

// A pipe is opened for reading too: otherwise it could not be opened, and would fail, while nobody reads it.
int direction(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISFIFO(info.st_mode) ? O_RDWR : O_WRONLY | O_CREAT;
}

}  // namespace

Result<> FileWriter::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), direction(path) | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
  if (!fd) return fail_errno(fmt::format("can't open logfile `{}'", path));
  flush();
  begin_again();
  fd_ = std::move(fd);
  return {};
}

// Whatever the reason that it cannot be written (a full disk, say), it may go away.
std::size_t FileWriter::pass_on(std::string_view data) {
  const auto n = ::write(fd_.get(), data.data(), data.size());
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

}  // namespace ctsync
