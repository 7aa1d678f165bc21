// SPDX-License-Identifier: GPL-2.0-or-later
// A log that remembers.
#pragma once

#include <string>
#include <vector>

#include "ctsync/base/log.h"

namespace ctsync::node::test {

class RecordingLog final : public Log {
 public:
  void write(Level level, std::string_view text) override {
    static constexpr const char* kNames[] = {"info", "notice", "warning", "ERROR"};
    lines.push_back(fmt::format("[{}] {}", kNames[static_cast<int>(level)], text));
  }
  void write_entry(Level, std::string_view text) override { lines.emplace_back(text); }

  std::vector<std::string> lines;
};

}  // namespace ctsync::node::test
