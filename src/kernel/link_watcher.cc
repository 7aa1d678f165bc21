// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/link_watcher.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <set>

#include "netlink_message.h"
#include "netlink_socket.h"

namespace ctsync::kernel {
namespace {

constexpr std::size_t kReadSize = 65536;

struct ParsedLink {
  std::string name;
  LinkInfo info;
};

// False for what is not a whole interface: port messages of a bridge, and nonsense.
bool parse_link(std::span<const std::uint8_t> body, ParsedLink& link) {
  if (body.size() < sizeof(ifinfomsg)) return false;
  ByteReader r(body);
  const auto family = r.u8();
  r.skip(offsetof(ifinfomsg, ifi_index) - 1);
  link.info.index = r.host32();
  link.info.flags = r.host32();
  const bool ok = for_each_attribute(body.subspan(sizeof(ifinfomsg)), [&](const Attribute& a) {
    if (a.type == IFLA_IFNAME) link.name = a.text();
    return a.type == IFLA_MTU ? a.host32(link.info.mtu) : true;
  });
  return ok && family == AF_UNSPEC && !link.name.empty();
}

Result<UniqueFd> request_links() {
  auto fd = open_netlink(NETLINK_ROUTE);
  if (!fd) return fd;
  std::array<std::uint8_t, NLMSG_HDRLEN + sizeof(ifinfomsg)> room;
  ByteWriter w(room);
  w.host32(static_cast<std::uint32_t>(room.size()));
  w.host16(RTM_GETLINK);
  w.host16(NLM_F_REQUEST | NLM_F_DUMP);
  w.zeros(w.left());  // sequence, port, every family, every interface
  if (const int code = send_to_kernel(fd->get(), w.written()); code != 0) {
    return fail(std::string("can't read the interfaces: ") + std::strerror(code), code);
  }
  return fd;
}

}  // namespace

std::string_view to_string(LinkStatus status) {
  switch (status) {
    case LinkStatus::running:
      return "RUNNING";
    case LinkStatus::no_carrier:
      return "NO-CARRIER";
    default:
      return "DOWN";
  }
}

bool LinkInfo::up() const { return (flags & IFF_UP) != 0; }
bool LinkInfo::running() const { return (flags & IFF_RUNNING) != 0; }

Result<> LinkWatcher::open() {
  auto fd = open_netlink(NETLINK_ROUTE);
  if (!fd) return std::unexpected(fd.error());
  if (auto ok = join_group(fd->get(), RTNLGRP_LINK); !ok) return ok;
  fd_ = std::move(*fd);
  buffer_.resize(kReadSize);
  return read_all({});
}

void LinkWatcher::read(const OnChange& on_change) {
  for (;;) {
    const auto n = receive_from_kernel(fd_.get(), buffer_);
    if (n == -EAGAIN) return;
    if (n < 0) {
      // Changes were lost. Should reading fail as well, the next change tells the present state of its interface.
      (void)read_all(on_change);
      if (n != -ENOBUFS) return;
    }
    Messages messages{std::span(buffer_).first(static_cast<std::size_t>(std::max(n, 0L)))};
    Message m;
    while (messages.next(m)) handle_link(m.type, m.body, on_change);
  }
}

const LinkInfo* LinkWatcher::find(std::string_view name) const {
  const auto it = links_.find(name);
  return it == links_.end() ? nullptr : &it->second;
}

LinkStatus LinkWatcher::status(std::string_view name) const {
  const auto* info = find(name);
  if (!info || !info->up()) return LinkStatus::down;
  return info->running() ? LinkStatus::running : LinkStatus::no_carrier;
}

// A dump over a socket of its own, so that answers and changes do not mix.
Result<> LinkWatcher::read_all(const OnChange& on_change) {
  const auto fd = request_links();
  if (!fd) return std::unexpected(fd.error());
  std::vector<std::uint8_t> room(kReadSize);
  std::set<std::uint32_t> seen;
  for (;;) {
    const auto n = receive_from_kernel(fd->get(), room);
    if (n < 0) return fail(std::string("can't read the interfaces: ") + std::strerror(static_cast<int>(-n)));
    Messages messages{std::span(room).first(static_cast<std::size_t>(n))};
    Message m;
    while (messages.next(m)) {
      if (m.type == NLMSG_ERROR) return fail("can't read the interfaces");
      if (m.type == NLMSG_DONE) {
        forget_if([&](const std::string&, std::uint32_t index) { return !seen.contains(index); }, on_change);
        return {};
      }
      ParsedLink link;
      if (m.type == RTM_NEWLINK && parse_link(m.body, link)) seen.insert(link.info.index);
      handle_link(m.type, m.body, on_change);
    }
  }
}

void LinkWatcher::handle_link(std::uint16_t type, std::span<const std::uint8_t> body, const OnChange& on_change) {
  ParsedLink link;
  if ((type != RTM_NEWLINK && type != RTM_DELLINK) || !parse_link(body, link)) return;
  const bool gone = type == RTM_DELLINK;
  // The old name of a renamed interface, or the deleted one.
  forget_if([&](const std::string& name,
                std::uint32_t index) { return index == link.info.index && (gone || name != link.name); },
            on_change);
  if (gone) return;
  auto& known = links_[link.name];
  if (known == link.info) return;
  known = link.info;
  if (on_change) on_change(link.name, &known);
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
