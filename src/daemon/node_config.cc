// SPDX-License-Identifier: GPL-2.0-or-later
#include "node_config.h"

#include <syslog.h>

#include "ctsync/base/random.h"

namespace ctsync::daemon {
namespace {

// Asked for if the configuration says nothing. The system's own, about 200 kB, holds 170 events: a burst overruns it.
constexpr std::uint32_t kDefaultEventBuffer = 4U << 20;

FlowFilter make_filter(const config::FilterConfig& config) {
  FlowFilter filter;
  if (config.protocol_action) filter.set_protocols(*config.protocol_action, config.protocols);
  if (config.address_action) {
    filter.set_addresses(*config.address_action, networks_of(config));
  }
  if (config.state_action) filter.set_tcp_states(*config.state_action, config.tcp_states);
  if (config.port_action) filter.set_ports(*config.port_action, config.ports);
  return filter;
}

kernel::EventOptions event_options(const config::Config& config, bool expectations) {
  kernel::EventOptions o;
  o.buffer_size = config.netlink_buffer_size;
  o.buffer_size_max = config.netlink_buffer_size_max;
  if (o.buffer_size == 0 && o.buffer_size_max == 0) o.buffer_size = o.buffer_size_max = kDefaultEventBuffer;
  o.reliable = config.events_reliable;
  o.expectations = expectations;
  o.counters = true;
  return o;
}

node::Mode mode_of(const config::Config& config) {
  if (config.has_stats) return node::Mode::statistics;
  switch (config.mode) {
    case config::SyncMode::alarm:
      return node::Mode::alarm;
    case config::SyncMode::notrack:
      return node::Mode::notrack;
    case config::SyncMode::ftfw:
      break;
  }
  return node::Mode::ftfw;
}

node::AskAtStart ask_at_start(const config::Config& config) {
  if (!config.startup_resync || config.mode == config::SyncMode::alarm) return node::AskAtStart::never;
  const bool tcp = config.links.front().kind == LinkKind::tcp;
  return tcp ? node::AskAtStart::when_heard : node::AskAtStart::at_once;
}

template <typename Number>
std::optional<Duration> seconds_of(const std::optional<Number>& n) {
  if (!n) return std::nullopt;
  return std::chrono::seconds(*n);
}

}  // namespace

NetworkSet networks_of(const config::FilterConfig& filter) {
  NetworkSet networks;
  for (const auto& a : filter.addresses) {
    networks.add(a.address.family, a.address.bytes, static_cast<std::uint8_t>(a.prefix));
  }
  return networks;
}

node::NodeOptions node_options(const config::Config& config) {
  node::NodeOptions o;
  o.mode = mode_of(config);
  const bool sync = o.mode != node::Mode::statistics;
  o.expectations = sync && config.expectation_sync.enabled;
  o.helpers = config.expectation_sync.helpers;
  o.filter = make_filter(config.filter);
  o.filter_in_kernel = config.filter.from_kernelspace;
  o.table_limit = config.hash_limit;
  o.table_buckets = config.hash_size;
  o.events = event_options(config, o.expectations);
  o.event_limit = config.event_iteration_limit;
  o.poll = seconds_of(config.poll_secs);
  o.overrun_resync = seconds_of(config.overrun_resync);
  // Without external cache the kernel has the peers' connections as well, and nothing tells which these are.
  if (config.kernel_compare_secs != 0 && !config.disable_external_cache) {
    o.kernel_compare = std::chrono::seconds(config.kernel_compare_secs);
  }
  if (!sync) return o;
  o.internal_cache = !config.disable_internal_cache;
  o.external_cache = !config.disable_external_cache;
  if (config.warm_standby) o.mirror_timeout = config.mirror_timeout;
  o.resend_queue_size = config.resend_queue_size;
  o.ack_window = config.ack_window_size;
  o.refresh_time = config.refresh_time;
  o.cache_timeout = std::chrono::seconds(config.cache_timeout);
  o.commit_timeout = config.commit_timeout;
  o.purge_timeout = std::chrono::seconds(config.purge_timeout);
  o.resync_at_start = ask_at_start(config);
  o.min_age = std::chrono::seconds(config.sync_min_age);
  o.established_at_once = config.sync_min_age_established;
  o.coalesce = std::chrono::milliseconds(config.sync_coalesce);
  o.encode = {.send_timeout = config.commit_timeout == 0,
              .window_scale = config.tcp_window_tracking,
              .left_out = (config.sync_mark ? 0 : has::kMark) | (config.sync_labels ? 0 : has::kLabels),
              .swap_nat = config.swap_nat_addresses};
  return o;
}

link::LinkSetOptions link_options(const config::Config& config) {
  link::LinkSetOptions set;
  set.error_queue_length = config.error_queue_length;
  set.receive_limit = config.event_iteration_limit;
  for (std::size_t i = 0; i < config.links.size(); ++i) {
    const auto& from = config.links[i];
    link::LinkOptions o;
    o.kind = from.kind;
    o.interface = from.interface;
    o.address = from.address;
    o.destination = from.destination;
    o.ipv4_interface = from.ipv4_interface;
    o.port = from.port;
    o.send_buffer = from.send_buffer;
    o.receive_buffer = from.receive_buffer;
    o.checksum = from.checksum;
    o.is_default = i == config.first_link();
    set.links.push_back(std::move(o));
  }
  return set;
}

void name_host(wire::Capabilities& self, const config::Config& config) {
  std::size_t known = 0;
  for (const auto& link : config.links) {
    const auto& own = link.kind == LinkKind::multicast ? link.ipv4_interface : link.address;
    if (own.bytes == Address{}) continue;
    for (const auto byte : own.bytes) self.host = Random(self.host ^ byte).next();
    if (known < self.addresses.size()) self.addresses[known++] = own;
  }
}

kernel::InjectorOptions injector_options(const config::Config& config) {
  kernel::InjectorOptions o;
  o.be_liberal = !config.tcp_window_tracking;
  return o;
}

// Flow lines go to syslog if Stats has a Syslog, as the manual page of conntrackd promises, and with General's facility
// if that has one. General's Syslog also serves if there is no log file at all.
std::optional<int> flow_log_facility(const config::Config& config) {
  const bool only_place = config.syslog_facility && !config.stats_log_file && !config.log_file;
  if (!config.stats_syslog_facility && !only_place) return std::nullopt;
  return config.syslog_facility.value_or(config.stats_syslog_facility.value_or(LOG_DAEMON));
}

}  // namespace ctsync::daemon
