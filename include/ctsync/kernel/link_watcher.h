// SPDX-License-Identifier: GPL-2.0-or-later
// The interfaces of the host as rtnetlink tells them: index, flags and MTU by name, kept up to date. An interface that
// is deleted and made again keeps its name and gets a new index.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctsync/base/result.h"
#include "ctsync/kernel/netlink_socket.h"

namespace ctsync::kernel {

struct LinkInfo {
  std::uint32_t index = 0;
  std::uint32_t flags = 0;  // IFF_*
  std::uint32_t mtu = 0;    // bytes
  bool up() const;
  bool running() const;
  bool operator==(const LinkInfo&) const = default;
};

class LinkWatcher {
 public:
  // The interface changed in flags, MTU or index. nullptr = it is gone (deleted or renamed).
  using OnChange = std::function<void(const std::string& name, const LinkInfo* info)>;

  // Subscribes, then reads all interfaces; find() works from here on.
  Result<> open();

  int fd() const { return socket_.fd(); }
  // Reads what is waiting and calls back once a change. After an overrun of the socket all interfaces are read again;
  // an error says that this has failed, so what find() tells may be old: call again in a while. Call it when fd() is
  // readable.
  Result<> read(const OnChange& on_change);

  // nullptr if there is no such interface. Valid until the next read().
  const LinkInfo* find(std::string_view name) const;

 private:
  Result<> read_all(const OnChange& on_change);
  Result<> read_once(const OnChange& on_change);
  void handle_link(std::uint16_t type, std::span<const std::uint8_t> body, const OnChange& on_change);
  void forget_if(const std::function<bool(const std::string&, std::uint32_t index)>& which, const OnChange& on_change);

  NetlinkSocket socket_;
  bool stale_ = false;  // changes were lost
  std::vector<std::uint8_t> buffer_;
  std::map<std::string, LinkInfo, std::less<>> links_;
};

}  // namespace ctsync::kernel
