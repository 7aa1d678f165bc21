// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/flow_query.h"

#include <array>
#include <cerrno>

#include "encode.h"
#include "netlink_message.h"

namespace ctsync::kernel {

Result<> FlowQuery::open() {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return std::unexpected(socket.error());
  socket_ = std::move(*socket);
  return {};
}

Result<bool> FlowQuery::get(const Tuple& orig, FlowRecord& out) {
  if (!encodable(orig)) return false;
  const auto fail_with = [](int code) {
    errno = code;
    return fail_errno("can't look up a kernel conntrack entry");
  };
  alignas(nlmsghdr) std::array<std::uint8_t, 4096> room;
  const auto size = encode_get(room, ++seq_, orig);
  if (const int code = socket_.send(std::span(room).first(size)); code != 0) return fail_with(code);
  for (;;) {
    const auto n = socket_.receive(room);
    if (n < 0) return fail_with(static_cast<int>(-n));
    Messages messages{std::span(room).first(static_cast<std::size_t>(n))};
    Message m;
    while (messages.next(m)) {
      if (m.seq != seq_) continue;  // an answer that an earlier, failed call left behind
      if (m.type == kFlowNew) {
        const bool ok = decode_flow(m.body, {}, out) == DecodeStatus::ok;
        return ok ? Result<bool>(true) : fail_with(EBADMSG);
      }
      if (m.type != NLMSG_ERROR) continue;
      const int code = error_of(m.body);
      return code == ENOENT ? Result<bool>(false) : fail_with(code);
    }
  }
}

}  // namespace ctsync::kernel
