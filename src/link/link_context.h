// SPDX-License-Identifier: GPL-2.0-or-later
// What LinkSet lends to each of its links.
#pragma once

#include <cstddef>
#include <functional>

#include "ctsync/base/event_loop.h"
#include "ctsync/link/link.h"
#include "error_queue.h"

namespace ctsync::link {

struct LinkContext {  // everything referred to must outlive the link
  EventLoop& loop;
  ErrorQueue& queue;  // shared by all links; only the current one takes from it
  const LinkHandlers& handlers;
  std::function<void()> on_outage;   // an outage has begun; may be called from send()
  const std::size_t& receive_limit;  // datagrams (TCP: reads) a turn; may change
};

}  // namespace ctsync::link
