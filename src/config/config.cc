// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/config/config.h"

#include <fmt/format.h>

#include "ctsync/config/parse.h"

namespace ctsync::config {

std::size_t Config::first_link() const {
  for (std::size_t i = links.size(); i > 0; --i) {
    if (links[i - 1].is_default) return i - 1;
  }
  return 0;
}

std::vector<Diagnostic> check_start(const Config& config, const std::string& file_name) {
  std::vector<Diagnostic> problems;
  if (config.has_sync && config.links.empty()) {
    problems.push_back({.file = file_name, .text = "`Sync' has no dedicated link: add a Multicast, UDP or TCP block"});
  }
  for (const LinkConfig& link : config.links) {
    const auto complain = [&](std::string_view what) {
      problems.push_back({.file = file_name,
                          .line = link.line,
                          .column = link.column,
                          .text = fmt::format("{} link {}", to_string(link.kind), what)});
    };
    if (link.interface.empty()) complain("has no `Interface'");
    if (link.family == Family::none || (link.kind == LinkKind::multicast && !link.address.is_set())) {
      complain("has no valid address");
    } else if (link.address.is_set() && link.address.family != link.family) {
      complain("mixes IPv4 and IPv6 addresses");
    }
  }
  return problems;
}

}  // namespace ctsync::config
