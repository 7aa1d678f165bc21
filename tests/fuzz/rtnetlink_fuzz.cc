// SPDX-License-Identifier: GPL-2.0-or-later
// Bytes as a datagram of rtnetlink: what is taken for an interface has a name, and one that can be printed as a whole.
#include <string_view>

#include "input.h"
#include "netlink_message.h"
#include "parse_link.h"

using namespace ctsync;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kernel::Messages messages({data, size});
  kernel::Message m;
  while (messages.next(m)) {
    const auto link = kernel::parse_link(m.body);
    require(!link || (!link->name.empty() && link->name.find('\0') == std::string::npos));
  }
  return 0;
}
