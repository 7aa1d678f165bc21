// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/config/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>
#include <utility>

#include "ctsync/config/parse.h"

namespace ctsync::config {
namespace {

bool is_loopback(const IpAddress& a) {
  return a.family == Family::ipv4 ? a.bytes[0] == 127 : a == parse_ip(Family::ipv6, "::1");
}

class StartCheck {
 public:
  StartCheck(const Config& config, const std::string& file_name) : config_(config), file_name_(file_name) {}

  std::vector<Diagnostic> run() {
    if (config_.metrics) check_metrics(*config_.metrics);
    if (config_.has_sync) check_sync();
    if (config_.poll_secs && (config_.has_sync || config_.has_stats)) check_polling();
    return std::move(found_);
  }

 private:
  void check_metrics(const MetricsConfig& m) {
    const bool on_tcp = m.address.is_set();
    if (m.path.empty() && !on_tcp) {
      at(m.line, m.column, Severity::error,
         "`Metrics' needs a `Path', or an `IPv4_address' or `IPv6_address' with a `Port'");
    } else if (on_tcp != (m.port != 0)) {
      at(m.line, m.column, Severity::error,
         on_tcp ? "`Metrics' has an address and no `Port'" : "`Metrics' has a `Port' and no address");
    }
    if (on_tcp && !is_loopback(m.address)) {
      at(m.address_line, m.address_column, Severity::error,
         fmt::format("metrics are served to this machine alone: {} is no loopback address (127.0.0.1, ::1)",
                     to_string(m.address)));
    }
  }

  void check_sync() {
    if (config_.links.empty()) {
      whole(Severity::error, "`Sync' has no dedicated link: add a Multicast, UDP or TCP block");
    }
    for (const LinkConfig& link : config_.links) check_link(link);
    if (config_.keepalived) check_keepalived(*config_.keepalived);
    if (config_.disable_internal_cache) check_keeping_back();
    if (config_.poll_secs && config_.disable_internal_cache) {
      whole(Severity::error,
            "nothing would be replicated with both `PollSecs' and `DisableInternalCache': what is new in the kernel's "
            "table is found by comparing it with the internal cache. Remove one of them");
    }
  }

  void check_keeping_back() {
    if (config_.sync_min_age == 0 && config_.sync_coalesce == 0) return;
    whole(Severity::error,
          "`SyncMinAge' and `SyncCoalesce' need the internal cache: remove them, or `DisableInternalCache'");
  }

  void check_link(const LinkConfig& link) {
    if (link.interface.empty()) about(link, Severity::error, "has no `Interface'");
    if (link.family == Family::none || (link.kind == LinkKind::multicast && !link.address.is_set())) {
      about(link, Severity::error, "has no valid address");
    } else if (link.address.is_set() && link.address.family != link.family) {
      about(link, Severity::error, "mixes IPv4 and IPv6 addresses");
    }
    if (link.destination.is_set() && link.destination == link.address) {
      about(
          link, Severity::warning,
          "leads to this node: its destination is its own address, so that it takes its own flows for those of a peer");
    }
  }

  void check_keepalived(const KeepalivedConfig& k) {
    if (k.fifo.empty()) {
      at(k.line, k.column, Severity::error,
         "`Keepalived' needs a `NotifyFifo', the same that `vrrp_notify_fifo' names for keepalived");
    }
    if (k.groups.empty() && k.instances.empty()) {
      at(k.line, k.column, Severity::error,
         "`Keepalived' needs a `Group' or an `Instance' to follow, by the name that keepalived's configuration gives "
         "it");
    }
  }

  // Whoever sets options of the events hardly means to do without them.
  void check_polling() {
    const Config defaults;
    std::vector<std::string_view> unused;
    if (config_.events_reliable) unused.push_back("`NetlinkEventsReliable'");
    if (config_.netlink_buffer_size != 0) unused.push_back("`NetlinkBufferSize'");
    if (config_.netlink_buffer_size_max != 0) unused.push_back("`NetlinkBufferSizeMaxGrowth'");
    if (config_.overrun_resync != defaults.overrun_resync) unused.push_back("`NetlinkOverrunResync'");
    if (config_.kernel_compare_secs != defaults.kernel_compare_secs) unused.push_back("`KernelCompareSecs'");
    if (config_.sync_min_age != 0) unused.push_back("`SyncMinAge'");
    if (config_.sync_coalesce != 0) unused.push_back("`SyncCoalesce'");
    if (unused.empty()) return;
    whole(Severity::warning,
          fmt::format("with `PollSecs' the kernel's table is read every {} s and its events are not used: flows that "
                      "live shorter are never seen, and these have no effect: {}",
                      *config_.poll_secs, fmt::join(unused, ", ")));
  }

  void whole(Severity severity, std::string text) { at(0, 0, severity, std::move(text)); }

  void about(const LinkConfig& link, Severity severity, std::string_view what) {
    at(link.line, link.column, severity, fmt::format("{} link {}", to_string(link.kind), what));
  }

  void at(int line, int column, Severity severity, std::string text) {
    found_.push_back({severity, file_name_, line, column, std::move(text), {}});
  }

  const Config& config_;
  const std::string& file_name_;
  std::vector<Diagnostic> found_;
};

}  // namespace

std::size_t Config::first_link() const {
  for (std::size_t i = links.size(); i > 0; --i) {
    if (links[i - 1].is_default) return i - 1;
  }
  return 0;
}

std::vector<Diagnostic> check_start(const Config& config, const std::string& file_name) {
  StartCheck check(config, file_name);
  return check.run();
}

}  // namespace ctsync::config
