// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/daemon/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <string_view>

#include "node_config.h"
#include "virtual_addresses.h"

namespace ctsync::daemon {
namespace {

using config::Config;
using config::Diagnostic;
using config::Severity;

// What the sandbox of conf/ctsyncd.service hides (ProtectHome) or makes read-only (ProtectSystem=full).
constexpr std::array<std::string_view, 3> kHidden{"/home/", "/root/", "/run/user/"};
constexpr std::array<std::string_view, 4> kReadOnly{"/usr/", "/boot/", "/efi/", "/etc/"};

class MachineCheck {
 public:
  MachineCheck(const Config& config, const std::string& path, const std::vector<IpAddress>& own, const Machine& machine,
               std::vector<Diagnostic>& found)
      : config_(config), path_(path), own_(own), machine_(machine), found_(found) {}

  void run() {
    for (const config::LinkConfig& link : config_.links) check_link(link);
    check_filter(config_.filter);
    if (config_.netlink_buffer_size > config_.netlink_buffer_size_max) {
      whole(fmt::format("`NetlinkBufferSize' {} is above `NetlinkBufferSizeMaxGrowth' {} and has no effect",
                        config_.netlink_buffer_size, config_.netlink_buffer_size_max));
    }
    check_path("LogFile", config_.log_file.value_or(""));
    check_path("LogFile", config_.stats_log_file.value_or(""));
    check_path("LockFile", config_.lock_file);
    check_path("Path", config_.unix_path);
    if (config_.metrics) check_path("Path", config_.metrics->path);
  }

 private:
  bool is_own(const IpAddress& address) const { return std::ranges::find(own_, address) != own_.end(); }

  void check_link(const config::LinkConfig& link) {
    const IpAddress& local = link.kind == LinkKind::multicast ? link.ipv4_interface : link.address;
    if (local.is_set() && local.bytes != Address{} && !is_own(local)) {
      about(link, fmt::format("has the local address {}, which this machine does not have", to_string(local)));
    }
    if (is_own(link.destination) && link.destination != link.address) {
      about(link, fmt::format("leads to this node: its destination {} is an address of this machine",
                              to_string(link.destination)));
    }
    check_buffer(link, "RcvSocketBuffer", link.receive_buffer, machine_.buffers.receive);
    check_buffer(link, "SndSocketBuffer", link.send_buffer, machine_.buffers.send);
  }

  void check_buffer(const config::LinkConfig& link, std::string_view keyword,
                    const std::optional<std::uint32_t>& wanted, const std::optional<std::uint32_t>& most) {
    if (!wanted || !most || *wanted <= *most) return;
    about(link, fmt::format("gets {} of the {} bytes of `{}': without CAP_NET_ADMIN the system gives no more "
                            "(net.core.{}mem_max)",
                            *most, *wanted, keyword, keyword.starts_with('R') ? 'r' : 'w'));
  }

  void check_filter(const config::FilterConfig& filter) {
    if (filter.address_action != FilterAction::ignore) return;
    const NetworkSet ignored = networks_of(filter);
    for (const IpAddress& a : machine_.virtual_addresses) {
      if (!ignored.contains(a.family, a.bytes)) continue;
      whole(
          fmt::format("`Address Ignore' has {}, a virtual address in {}: connections of which it is an end, not only "
                      "translated, are left out, and missing after a take-over",
                      to_string(a), kKeepalivedConfiguration));
    }
  }

  void check_path(std::string_view keyword, std::string_view path) {
    const auto is_above = [&](std::string_view directory) { return path.starts_with(directory); };
    if (std::ranges::any_of(kHidden, is_above)) {
      whole(fmt::format("`{}' {}: the unit ctsyncd.service does not let the daemon see this directory", keyword, path));
    } else if (std::ranges::any_of(kReadOnly, is_above)) {
      whole(fmt::format("`{}' {}: the unit ctsyncd.service does not let the daemon write there", keyword, path));
    }
  }

  void whole(std::string text) { found_.push_back({Severity::warning, path_, 0, 0, std::move(text), {}}); }

  void about(const config::LinkConfig& link, std::string_view what) {
    found_.push_back(
        {Severity::warning, path_, link.line, link.column, fmt::format("{} link {}", to_string(link.kind), what), {}});
  }

  const Config& config_;
  const std::string& path_;
  const std::vector<IpAddress>& own_;
  const Machine& machine_;
  std::vector<Diagnostic>& found_;
};

}  // namespace

Machine this_machine() {
  std::ifstream file(kKeepalivedConfiguration);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return {.virtual_addresses = virtual_addresses(text), .buffers = link::buffer_limits()};
}

CheckResult check(config::ParseResult parsed, const std::string& path, const std::vector<IpAddress>& own,
                  const Machine& machine) {
  auto& found = parsed.diagnostics;
  if (parsed.ok()) {
    std::ranges::move(config::check_start(parsed.config, path), std::back_inserter(found));
    MachineCheck(parsed.config, path, own, machine, found).run();
  }
  CheckResult result;
  std::size_t errors = 0;
  for (const Diagnostic& d : found) {
    const bool is_error = d.severity == Severity::error;
    if (is_error) ++errors;
    // The place first, as compilers do.
    const std::string place = d.line == 0 ? d.file : fmt::format("{}:{}:{}", d.file, d.line, d.column);
    result.text += fmt::format("{}: {}: {}\n", place, is_error ? "error" : "warning", d.text);
    if (!d.hint.empty()) result.text += fmt::format("{}: hint: {}\n", place, d.hint);
  }
  if (errors != 0) {
    result.exit_status = 2;
    result.text += fmt::format("{}: errors, the daemon would not start\n", path);
  } else if (!found.empty()) {
    result.exit_status = 1;
    result.text += fmt::format("{}: warnings only\n", path);
  } else {
    result.text += fmt::format("{}: in order\n", path);
  }
  return result;
}

}  // namespace ctsync::daemon
