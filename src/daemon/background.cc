// SPDX-License-Identifier: GPL-2.0-or-later
#include "background.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

namespace ctsync::daemon {
namespace {

// Whether the child says that it serves; false: it has ended. Signals are handed on meanwhile.
bool served(int from_child, int signals, pid_t child) {
  std::array<pollfd, 2> fds{
      {{.fd = from_child, .events = POLLIN, .revents = 0}, {.fd = signals, .events = POLLIN, .revents = 0}}};
  for (;;) {
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return false;
    signalfd_siginfo info{};
    if (fds[1].revents != 0 && ::read(signals, &info, sizeof info) == sizeof info) {
      ::kill(child, static_cast<int>(info.ssi_signo));
    }
    char byte = 0;
    if (fds[0].revents != 0) return ::read(from_child, &byte, 1) == 1;
  }
}

[[noreturn]] void wait_for_child(int from_child, const sigset_t& signals, pid_t child,
                                 const std::function<void(pid_t)>& on_success) {
  const UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (served(from_child, signal_fd.get(), child)) {
    on_success(child);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

}  // namespace

Result<Background> Background::enter(const sigset_t& signals, const std::function<void(pid_t child)>& on_success) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_errno("pipe");
  UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child > 0) {
    to_parent.reset();
    wait_for_child(from_child.get(), signals, child, on_success);
  }
  ::setsid();
  return Background(std::move(to_parent));
}

void Background::ready() {
  if (!to_parent_) return;
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null) {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
  }
  const char byte = 1;
  [[maybe_unused]] const auto n = ::write(to_parent_.get(), &byte, 1);  // the parent may be gone: no matter
  // The parent has told the service manager our pid when it is gone; only then may we speak for the service.
  pollfd gone{.fd = to_parent_.get(), .events = 0, .revents = 0};
  ::poll(&gone, 1, 1000);
  to_parent_.reset();
}

}  // namespace ctsync::daemon
