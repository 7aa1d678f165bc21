// SPDX-License-Identifier: GPL-2.0-or-later
#include "golden.h"

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace golden {
namespace {

const std::filesystem::path kDirectory = std::filesystem::path(CTSYNC_TEST_DATA) / "outputs";

}  // namespace

std::vector<std::string> lines_of(const std::string& file) {
  std::ifstream in(kDirectory / file);
  if (!in) throw std::runtime_error("no golden file " + file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> files_of_daemon_149() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kDirectory)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("1.4.9-") && name.ends_with(".txt")) names.push_back(name);
  }
  return names;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at < line.size();) {
    const auto begin = line.find_first_not_of(' ', at);
    if (begin == std::string_view::npos) break;
    at = std::min(line.find(' ', begin), line.size());
    words.push_back(line.substr(begin, at - begin));
  }
  return words;
}

}  // namespace golden
