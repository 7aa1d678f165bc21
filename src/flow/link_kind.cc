// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/link_kind.h"

namespace ctsync {

std::string_view to_string(LinkKind kind) {
  switch (kind) {
    case LinkKind::multicast:
      return "Multicast";
    case LinkKind::udp:
      return "UDP";
    case LinkKind::tcp:
      return "TCP";
  }
  return "";
}

std::string_view to_string(LinkState state) {
  switch (state) {
    case LinkState::running:
      return "RUNNING";
    case LinkState::no_carrier:
      return "NO-CARRIER";
    case LinkState::down:
      return "DOWN";
  }
  return "";
}

}  // namespace ctsync
