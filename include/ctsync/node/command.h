// SPDX-License-Identifier: GPL-2.0-or-later
// What a node can be asked to do: a request of the control socket once it has been decoded.
#pragma once

#include <cstdint>

#include "ctsync/text/snapshot.h"

namespace ctsync::node {

enum class Verb : std::uint8_t {
  commit,         // external cache into the kernel
  flush_caches,   // `side`
  flush_kernel,   // delete the kernel's entries
  resync_kernel,  // internal cache from the kernel
  dump,           // list the cache of `side`
  bulk_send,
  request_resync,
  schedule_purge,
  take_over,   // commit, then flush_caches, resync_kernel and bulk_send behind the answer
  stand_by,    // schedule_purge and request_resync
  hand_over,   // wait until the peers have everything
  statistics,  // `topic`
  list_resend_queue,
  metrics,
  health,  // whether this node could take over now
  stop,    // the whole process
  reload,  // its configuration
};

enum class What : std::uint8_t { flows, expectations, all };
enum class Side : std::uint8_t { internal, external, both };
enum class Form : std::uint8_t { text, xml, json, openmetrics };

struct Command {
  Verb verb = Verb::statistics;
  What what = What::flows;
  Side side = Side::both;
  Form form = Form::text;  // of the answer; xml is for `dump` alone, openmetrics for `metrics`
  text::Topic topic = text::Topic::summary;
  // To be answered with a status and a line: commit, flush_caches, flush_kernel, resync_kernel, bulk_send, request_resync,
  // schedule_purge.
  bool outcome = false;

  bool flows() const { return what != What::expectations; }
  bool expectations() const { return what != What::flows; }
  bool operator==(const Command&) const = default;
};

}  // namespace ctsync::node
