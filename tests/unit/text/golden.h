// SPDX-License-Identifier: GPL-2.0-or-later
// The golden files: recorded output of conntrackd (tests/data/outputs).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace golden {

std::vector<std::string> lines_of(const std::string& file);  // name within tests/data/outputs
std::vector<std::string> files_of_daemon_149();              // all 1.4.9-*.txt

std::vector<std::string_view> words_of(std::string_view line);  // separated by blanks

}  // namespace golden
