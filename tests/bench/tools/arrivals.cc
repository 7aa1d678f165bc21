// SPDX-License-Identifier: GPL-2.0-or-later
//
// LD_PRELOAD library that takes down when a daemon with one thread has done with what it received from the dedicated link: at its
// next call that reads or waits, the flows of the datagrams before are in its cache.
//
//   ARRIVALS=FILE ARRIVALS_FIRST=N ARRIVALS_FLOWS=N        see flow_times.h
#include <dlfcn.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "flow_times.h"

namespace {

class Arrivals {
 public:
  Arrivals() {
    const char* path = std::getenv("ARRIVALS");
    on_ = path != nullptr && times_.open(path, bench::number_of(environment("ARRIVALS_FIRST")),
                                         bench::number_of(environment("ARRIVALS_FLOWS")));
    waiting_.reserve(1 << 20);
  }

  void done() {
    if (waiting_.empty()) return;
    const auto now = bench::now();
    for (const auto entry : waiting_) times_.note(entry, now);
    waiting_.clear();
  }

  void received(int socket, const void* data, std::size_t size) {
    if (!on_ || !is_udp(socket)) return;
    times_.read({static_cast<const unsigned char*>(data), size},
                [this](std::size_t entry) { waiting_.push_back(entry); });
  }

 private:
  static std::string_view environment(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  }

  static bool is_udp(int socket) {
    int domain = 0;
    int type = 0;
    socklen_t size = sizeof domain;
    return ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_INET &&
           ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
  }

  bool on_ = false;
  bench::FlowTimes times_;
  std::vector<std::size_t> waiting_;
};

Arrivals& arrivals() {
  static Arrivals instance;
  return instance;
}

template <typename Function>
Function* real(Function* /*same*/, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

void received(int socket, const msghdr& message, std::size_t size) {
  if (message.msg_iovlen == 0) return;
  arrivals().received(socket, message.msg_iov[0].iov_base, std::min(size, message.msg_iov[0].iov_len));
}

}  // namespace

// The arguments are those of the C library.
extern "C" {

ssize_t recv(int socket, void* data, size_t room, int flags) {
  static auto* const next = real(&recv, "recv");
  arrivals().done();
  const auto size = next(socket, data, room, flags);
  if (size > 0) arrivals().received(socket, data, static_cast<std::size_t>(size));
  return size;
}

ssize_t recvfrom(int socket, void* data, size_t room, int flags, sockaddr* from, socklen_t* length) {
  static auto* const next = real(&recvfrom, "recvfrom");
  arrivals().done();
  const auto size = next(socket, data, room, flags, from, length);
  if (size > 0) arrivals().received(socket, data, static_cast<std::size_t>(size));
  return size;
}

ssize_t recvmsg(int socket, msghdr* message, int flags) {
  static auto* const next = real(&recvmsg, "recvmsg");
  arrivals().done();
  const auto size = next(socket, message, flags);
  if (size > 0) received(socket, *message, static_cast<std::size_t>(size));
  return size;
}

int recvmmsg(int socket, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  static auto* const next = real(&recvmmsg, "recvmmsg");
  arrivals().done();
  const int got = next(socket, messages, count, flags, timeout);
  for (int i = 0; i < got; ++i) received(socket, messages[i].msg_hdr, messages[i].msg_len);
  return got;
}

int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  static auto* const next = real(&select, "select");
  arrivals().done();
  return next(count, read, write, except, timeout);
}

int poll(pollfd* fds, nfds_t count, int timeout) {
  static auto* const next = real(&poll, "poll");
  arrivals().done();
  return next(fds, count, timeout);
}

int epoll_wait(int epoll, epoll_event* events, int count, int timeout) {
  static auto* const next = real(&epoll_wait, "epoll_wait");
  arrivals().done();
  return next(epoll, events, count, timeout);
}

int epoll_pwait2(int epoll, epoll_event* events, int count, const timespec* timeout, const sigset_t* signals) {
  static auto* const next = real(&epoll_pwait2, "epoll_pwait2");
  arrivals().done();
  return next(epoll, events, count, timeout, signals);
}
}
