// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/link_watcher.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <set>

#include "netlink_message.h"
#include "parse_link.h"

namespace ctsync::kernel {
namespace {

constexpr int kAttempts = 5;  // to read all interfaces while they change

std::unexpected<Error> cannot_read(int code) {
  return fail(std::string("can't read the interfaces: ") + std::strerror(code), code);
}

Result<NetlinkSocket> request_links() {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) return socket;
  alignas(nlmsghdr) std::array<std::uint8_t, NLMSG_HDRLEN + sizeof(ifinfomsg)> room;
  auto* header = ::mnl_nlmsg_put_header(room.data());
  header->nlmsg_type = RTM_GETLINK;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  ::mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg));  // zeros: every family, every interface
  if (const int code = socket->send(room); code != 0) return cannot_read(code);
  return socket;
}

}  // namespace

bool LinkInfo::up() const { return (flags & IFF_UP) != 0; }
bool LinkInfo::running() const { return (flags & IFF_RUNNING) != 0; }

Result<> LinkWatcher::open() {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) return std::unexpected(socket.error());
  if (auto ok = socket->join(RTNLGRP_LINK); !ok) return ok;
  socket_ = std::move(*socket);
  buffer_.resize(NetlinkSocket::kReadSize);
  return read_all({});
}

Result<> LinkWatcher::read(const OnChange& on_change) {
  for (;;) {
    const auto n = socket_.receive(buffer_);
    if (n == -EAGAIN) break;
    if (n < 0) {
      stale_ = true;  // changes were lost
      if (n != -ENOBUFS) break;
    }
    Messages messages{std::span(buffer_).first(static_cast<std::size_t>(std::max(n, 0L)))};
    Message m;
    while (messages.next(m)) handle_link(m.type, m.body, on_change);
  }
  return stale_ ? read_all(on_change) : Result<>{};
}

const LinkInfo* LinkWatcher::find(std::string_view name) const {
  const auto it = links_.find(name);
  return it == links_.end() ? nullptr : &it->second;
}

Result<> LinkWatcher::read_all(const OnChange& on_change) {
  stale_ = true;
  for (int i = 0; i < kAttempts && stale_; ++i) {
    if (auto ok = read_once(on_change); !ok) return ok;
  }
  return stale_ ? cannot_read(EINTR) : Result<>{};
}

// A dump over a socket of its own, so that answers and changes do not mix. If it was interrupted it is of use, but not
// all: the interfaces stay stale, and none is forgotten.
Result<> LinkWatcher::read_once(const OnChange& on_change) {
  auto socket = request_links();
  if (!socket) return std::unexpected(socket.error());
  std::vector<std::uint8_t> room(NetlinkSocket::kReadSize);
  std::set<std::uint32_t> seen;
  bool interrupted = false;
  for (;;) {
    const auto n = socket->receive(room);
    if (n < 0) return cannot_read(static_cast<int>(-n));
    Messages messages{std::span(room).first(static_cast<std::size_t>(n))};
    Message m;
    while (messages.next(m)) {
      interrupted |= (m.flags & NLM_F_DUMP_INTR) != 0;
      if (m.type == NLMSG_ERROR || m.type == NLMSG_DONE) {
        if (const int code = error_of(m.body); code != 0) return cannot_read(code);
        if (interrupted) return {};
        forget_if([&](const std::string&, std::uint32_t index) { return !seen.contains(index); }, on_change);
        stale_ = false;
        return {};
      }
      if (const auto link = parse_link(m.body); link && m.type == RTM_NEWLINK) seen.insert(link->info.index);
      handle_link(m.type, m.body, on_change);
    }
    if (messages.malformed()) return cannot_read(EBADMSG);
  }
}

void LinkWatcher::handle_link(std::uint16_t type, std::span<const std::uint8_t> body, const OnChange& on_change) {
  if (type != RTM_NEWLINK && type != RTM_DELLINK) return;
  const auto link = parse_link(body);
  if (!link) return;
  const bool gone = type == RTM_DELLINK;
  // The old name of a renamed interface, or the deleted one.
  forget_if([&](const std::string& name,
                std::uint32_t index) { return index == link->info.index && (gone || name != link->name); },
            on_change);
  if (gone) return;
  auto& known = links_[link->name];
  if (known == link->info) return;
  known = link->info;
  if (on_change) on_change(link->name, &known);
}

void LinkWatcher::forget_if(const std::function<bool(const std::string&, std::uint32_t)>& which,
                            const OnChange& on_change) {
  for (auto it = links_.begin(); it != links_.end();) {
    if (!which(it->first, it->second.index)) {
      ++it;
      continue;
    }
    const auto name = it->first;
    it = links_.erase(it);
    if (on_change) on_change(name, nullptr);
  }
}

}  // namespace ctsync::kernel
