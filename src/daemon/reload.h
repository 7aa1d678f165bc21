// SPDX-License-Identifier: GPL-2.0-or-later
// What another configuration means for a daemon that runs. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ctsync/config/config.h"

namespace ctsync::daemon {

// Keywords, of links the name of their block.
struct Changes {
  std::vector<std::string_view> at_once;
  std::vector<std::string_view> at_restart;  // what the daemon does not follow while it runs

  // One line for people.
  std::string to_string() const;
};

// Whether both have the same sections: a daemon cannot become another one.
bool same_sections(const config::Config& a, const config::Config& b);
// But for where they stand in the file.
bool same(const std::optional<config::MetricsConfig>& a, const std::optional<config::MetricsConfig>& b);
bool same(const std::optional<config::KeepalivedConfig>& a, const std::optional<config::KeepalivedConfig>& b);

// How `next` differs from the configuration that runs. What counts only after a restart is put back in `next`, which then
// says what runs from now on. Both have the same sections.
Changes adopt(config::Config& next, const config::Config& running);

}  // namespace ctsync::daemon
