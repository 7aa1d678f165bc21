// SPDX-License-Identifier: GPL-2.0-or-later
#include "unix_listener.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "socket_address.h"

namespace ctsync::control {
namespace {

// Is a socket at this path one that nobody serves any more?
bool is_stale(const SocketAddress& address) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && ::connect(probe.get(), address.data(), SocketAddress::size()) < 0 && errno == ECONNREFUSED;
}

// Removes what a daemon that died has left, and nothing else.
Result<> make_way(std::string_view name, const std::string& path, const SocketAddress& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) < 0) {
    if (errno == ENOENT) return {};
    return fail_errno(fmt::format("can't create {} `{}'", name, path));
  }
  if (!S_ISSOCK(st.st_mode)) {
    return fail(fmt::format("can't create {} `{}': something else is there, not a socket", name, path), EEXIST);
  }
  if (!is_stale(address)) {
    return fail(fmt::format("{} `{}' is in use, perhaps conntrackd already running?", name, path), EADDRINUSE);
  }
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) {
    return fail_errno(fmt::format("can't remove old {} `{}'", name, path));
  }
  return {};
}

}  // namespace

Result<> UnixListener::open(const std::string& path, mode_t mode, std::size_t backlog) {
  if (auto bound = bind_and_listen(path, mode, backlog); !bound) {
    fd_.reset();
    return bound;
  }
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0) {
    path_ = path;
    device_ = st.st_dev;
    inode_ = st.st_ino;
  }
  return {};
}

Result<> UnixListener::bind_and_listen(const std::string& path, mode_t mode, std::size_t backlog) {
  const auto address = SocketAddress::of(path);
  if (!address) return std::unexpected(address.error());
  if (auto r = make_way(name_, path, *address); !r) return r;
  fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd_) return fail_errno(fmt::format("can't create {}", name_));
  // The mode must be right from the first moment, so it cannot be changed afterwards.
  const auto old_mask = ::umask(~mode & 0777U);
  const int bound = ::bind(fd_.get(), address->data(), SocketAddress::size());
  const int code = errno;
  ::umask(old_mask);
  if (bound < 0 || ::listen(fd_.get(), static_cast<int>(backlog)) < 0) {
    if (bound < 0) errno = code;
    return fail_errno(fmt::format("can't create {} `{}'", name_, path));
  }
  return {};
}

void UnixListener::close() {
  if (!fd_) return;
  fd_.reset();
  struct stat st {};
  if (!path_.empty() && ::lstat(path_.c_str(), &st) == 0 && st.st_dev == device_ && st.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace ctsync::control
