// SPDX-License-Identifier: GPL-2.0-or-later
#include "parse_link.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cstring>

namespace ctsync::kernel {

std::optional<ParsedLink> parse_link(std::span<const std::uint8_t> body) {
  ifinfomsg head;
  if (body.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, body.data(), sizeof head);
  ParsedLink link;
  link.info.index = static_cast<std::uint32_t>(head.ifi_index);
  link.info.flags = head.ifi_flags;
  const auto* const end = body.data() + body.size();
  const auto* a = reinterpret_cast<const nlattr*>(body.data() + sizeof head);  // NOLINT: libmnl's form
  for (; mnl_attr_ok(a, static_cast<int>(end - reinterpret_cast<const std::uint8_t*>(a))); a = mnl_attr_next(a)) {
    const auto type = mnl_attr_get_type(a);
    if (type == IFLA_IFNAME) {
      if (mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0) return std::nullopt;
      link.name = mnl_attr_get_str(a);
    } else if (type == IFLA_MTU) {
      if (mnl_attr_validate(a, MNL_TYPE_U32) < 0) return std::nullopt;
      link.info.mtu = mnl_attr_get_u32(a);
    }
  }
  if (head.ifi_family != AF_UNSPEC || link.name.empty()) return std::nullopt;
  return link;
}

}  // namespace ctsync::kernel
