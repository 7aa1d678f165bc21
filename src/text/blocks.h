// SPDX-License-Identifier: GPL-2.0-or-later
// The blocks that the answers to `-s` are made of. Each function appends one, with the empty line that ends it. The
// numbers are the sections of spec cli.md.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "ctsync/text/snapshot.h"

namespace ctsync::text {

// `name`: "internal", "external" or "stats".
void append_cache(std::string& out, std::string_view name, const CacheNumbers& n);           // 7.1
void append_cache_extended(std::string& out, std::string_view name, const CacheNumbers& n);  // 7.2
void append_internal_bypass(std::string& out, const BypassNumbers& n);                       // 7.1
void append_external_inject(std::string& out, const InjectNumbers& n);                       // 7.1
void append_traffic(std::string& out, const TrafficNumbers& n);                              // 7.3
void append_active_link(std::string& out, const LinkNumbers& n);                             // 7.4
void append_message_tracking(std::string& out, const NetworkNumbers& n);                     // 7.5
void append_network(std::string& out, const NetworkNumbers& n);                              // 7.6
void append_link(std::string& out, const LinkNumbers& n);                                    // 7.7
void append_runtime(std::string& out, const RuntimeNumbers& n);                              // 7.8
// 7.11. All queues in the order given.
void append_queues(std::string& out, std::uint64_t allocated_nodes, std::span<const QueueNumbers> queues);

}  // namespace ctsync::text
