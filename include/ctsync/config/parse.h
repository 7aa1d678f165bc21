// SPDX-License-Identifier: GPL-2.0-or-later
// From a configuration file to a Config. All errors of a file are found in one pass (up to kMaxErrors); every input,
// however hostile, ends in a result. Reentrant: no state outlives a call. The system is asked for the interfaces and
// protocol names that the file mentions, and for nothing else.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctsync/config/config.h"
#include "ctsync/config/diagnostic.h"

namespace ctsync::config {

inline constexpr std::size_t kMaxErrors = 20;
inline constexpr std::size_t kMaxFileSize = 16U << 20;  // bytes; a larger file is refused

struct ParseResult {
  Config config;                        // complete only if ok()
  std::vector<Diagnostic> diagnostics;  // in the order of the file, then what concerns the whole
  int exit_status = 0;  // 0: usable. 1: refused. 2: opened but not readable, e.g. a directory (spec config.md 15)

  bool ok() const { return exit_status == 0; }
};

ParseResult parse_file(const std::string& path);

// `file_name` only appears in the diagnostics.
ParseResult parse_text(std::string_view text, const std::string& file_name);

// What a client does not mind but the start of a daemon does. Errors, with which it cannot or must not start: no link,
// a link without interface or address, addresses of two families in one link (conntrackd fails on these when it opens
// the link, naming only an unrelated system error, spec config.md 9), or statements that together replicate nothing.
// Warnings, which are to be shown: what runs, but hardly as it was meant. Nothing at all if the file is in order.
// `file_name` only appears in the diagnostics.
std::vector<Diagnostic> check_start(const Config& config, const std::string& file_name);

}  // namespace ctsync::config
