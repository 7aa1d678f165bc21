// SPDX-License-Identifier: GPL-2.0-or-later
// Whether a daemon in FT-FW mode would take the header of a message, or count it as malformed (doc/wire-format.md, section 5).
#pragma once

#include "ctsync/replication/sequence.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::capture {

inline bool has_good_header(const wire::Message& m) {
  const wire::Header& h = m.header;
  if (wire::is_data(h.type)) return (h.flags & ~(wire::flag::kHello | wire::flag::kHelloBack)) == 0;
  if (h.type != wire::MsgType::control) return false;
  const wire::ControlKind kind = wire::control_kind(h.flags);
  if (kind == wire::ControlKind::ack || kind == wire::ControlKind::nack) return !replication::is_before(m.to, m.from);
  return kind != wire::ControlKind::none;
}

}  // namespace ctsync::capture
