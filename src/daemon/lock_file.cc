// SPDX-License-Identifier: GPL-2.0-or-later
#include "lock_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>

namespace ctsync::daemon {
namespace {

// Whether `path` still names the file that `fd` is: its last owner may have unlinked it while we waited for the lock.
bool still_named(int fd, const std::string& path) {
  struct stat a {
  }, b{};
  return ::fstat(fd, &a) == 0 && ::stat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string owner_of(int fd) {
  std::array<char, 24> text{};
  const auto n = ::pread(fd, text.data(), text.size() - 1, 0);
  const std::string pid(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  const auto digits = pid.find_first_not_of("0123456789");
  return pid.empty() || digits == 0 ? std::string("unknown pid") : "pid " + pid.substr(0, digits);
}

}  // namespace

LockFile::~LockFile() {
  if (fd_ && still_named(fd_.get(), path_)) ::unlink(path_.c_str());
}

Result<LockFile> LockFile::acquire(const std::string& path) {
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600));
    if (!fd) return fail_errno(fmt::format("can't open lockfile `{}'", path));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno != EWOULDBLOCK) return fail_errno(fmt::format("can't lock lockfile `{}'", path));
      return fail(
          fmt::format("lockfile `{}' exists, perhaps conntrackd already running? ({})", path, owner_of(fd.get())));
    }
    if (!still_named(fd.get(), path)) continue;
    LockFile lock(path, std::move(fd));  // from here on it is removed when we give up
    const auto pid = fmt::format("{}\n", ::getpid());
    if (::ftruncate(lock.fd_.get(), 0) < 0 || ::pwrite(lock.fd_.get(), pid.data(), pid.size(), 0) < 0) {
      return fail_errno(fmt::format("can't write lockfile `{}'", path));
    }
    return lock;
  }
}

}  // namespace ctsync::daemon
