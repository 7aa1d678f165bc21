// SPDX-License-Identifier: GPL-2.0-or-later
//
// LD_PRELOAD library that lets reads from the kernel go wrong the way they do on a busy firewall. Compiled by the tests
// that need it. The file named by NETLINK_FAULT says what happens to the third part of a dump of flows:
//
//   ERRNO TIMES   the part is lost and the read fails with this number (ENOBUFS, EINVAL ...)
//   0 TIMES       the part is missing and the kernel marks the dump as interrupted (NLM_F_DUMP_INTR)
//
// TIMES counts down; at zero the file goes. If a file of that name and ".overrun" exists it is removed, and the next
// read of many datagrams from a netlink socket fails with ENOBUFS, as after an overrun of the event buffer.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kFlowNew = 1 << 8, kMostFds = 4096, kPartThatFails = 3 };

static int parts[kMostFds];  // of the dump under way, by descriptor

static int is_netlink(int fd) {
  int domain = 0;
  socklen_t size = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_NETLINK;
}

// Takes one of the failures that are left; -1 if there is none.
static int take_fault(void) {
  const char* path = getenv("NETLINK_FAULT");
  int code = -1, times = 0;
  FILE* file = path ? fopen(path, "r+") : NULL;
  if (!file) return -1;
  if (fscanf(file, "%d %d", &code, &times) != 2 || times <= 0) code = -1;
  rewind(file);
  if (code >= 0) fprintf(file, "%d %d\n", code, times - 1);
  fclose(file);
  if (times <= 1) unlink(path);
  return code;
}

static int is_part_of_dump(const void* data, ssize_t size) {
  const struct nlmsghdr* first = data;
  return size >= (ssize_t)sizeof *first && first->nlmsg_type == kFlowNew && (first->nlmsg_flags & NLM_F_MULTI);
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
  static ssize_t (*real)(int, struct msghdr*, int);
  if (!real) real = (ssize_t(*)(int, struct msghdr*, int))dlsym(RTLD_NEXT, "recvmsg");
  ssize_t size = real(fd, message, flags);
  if ((flags & MSG_PEEK) || fd < 0 || fd >= kMostFds || message->msg_iovlen == 0) return size;
  struct nlmsghdr* first = message->msg_iov[0].iov_base;
  if (!is_part_of_dump(first, size) || !is_netlink(fd)) {
    parts[fd] = 0;
    return size;
  }
  if (++parts[fd] != kPartThatFails) return size;
  const int code = take_fault();
  if (code < 0) return size;
  if (code == 0) {
    size = real(fd, message, flags);
    if (size > 0) first->nlmsg_flags |= NLM_F_DUMP_INTR;
    return size;
  }
  parts[fd] = 0;
  errno = code;
  return -1;
}

int recvmmsg(int fd, struct mmsghdr* messages, unsigned int count, int flags, struct timespec* timeout) {
  static int (*real)(int, struct mmsghdr*, unsigned int, int, struct timespec*);
  if (!real) real = (int (*)(int, struct mmsghdr*, unsigned int, int, struct timespec*))dlsym(RTLD_NEXT, "recvmmsg");
  const char* path = getenv("NETLINK_FAULT");
  char overrun[4096];
  if (path && snprintf(overrun, sizeof overrun, "%s.overrun", path) > 0 && is_netlink(fd) && unlink(overrun) == 0) {
    errno = ENOBUFS;
    return -1;
  }
  return real(fd, messages, count, flags, timeout);
}
