// SPDX-License-Identifier: GPL-2.0-or-later
// From the configuration to what the parts of the daemon are told. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "ctsync/config/config.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/injector.h"
#include "ctsync/link/link_set.h"
#include "ctsync/node/options.h"

namespace ctsync::daemon {

// Those of the addresses of a filter.
NetworkSet networks_of(const config::FilterConfig& filter);
// All but `seed`, `buffer_size` and `on_finished`. For a configuration with `Sync` or `Stats`.
node::NodeOptions node_options(const config::Config& config);
// All but `find_interface`.
link::LinkSetOptions link_options(const config::Config& config);
// Fills in `host`, which follows from the addresses of the links, of which no two nodes of a group have the same, and
// `addresses`. Nothing if the configuration names none.
void name_host(wire::Capabilities& self, const config::Config& config);
kernel::InjectorOptions injector_options(const config::Config& config);
// Facility of the flow log's lines in syslog; nothing: they do not go there (spec config.md 11).
std::optional<int> flow_log_facility(const config::Config& config);

}  // namespace ctsync::daemon
