// SPDX-License-Identifier: GPL-2.0-or-later
// Reads the files of small configurations with what conntrackd made of them (tests/data/outputs/config-cases.txt,
// tests/netns/config_cases_own.txt).
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <string>
#include <vector>

namespace ctsync::config {

struct Case {
  std::string name;
  std::string text;                       // the file itself
  std::vector<std::string> stderr_lines;  // of the first daemon listed, without date and pid
  int exit_status = 0;
  bool is_described = false;  // the text is a description in brackets, not a configuration
};

inline std::string unescape(std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      out += line[i];
      continue;
    }
    switch (line[++i]) {
      case 'r':
        out += '\r';
        break;
      case 'f':
        out += '\f';
        break;
      case '0':
        out += '\0';
        break;
      case 'x':
        out += static_cast<char>(std::stoi(std::string(line.substr(i + 1, 2)), nullptr, 16));
        i += 2;
        break;
      default:
        out += '\\';
        out += line[i];
    }
  }
  return out;
}

// "<103 times the letter a>" stands for just that.
inline std::string expand_repeats(std::string text) {
  const std::string tail = " times the letter a>";
  const std::size_t end = text.find(tail);
  if (end == std::string::npos) return text;
  const std::size_t begin = text.rfind('<', end);
  const auto count = static_cast<std::size_t>(std::stoi(text.substr(begin + 1, end - begin - 1)));
  return text.substr(0, begin) + std::string(count, 'a') + text.substr(end + tail.size());
}

inline std::vector<Case> read_cases(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::vector<Case> cases;
  int daemons = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("### ")) {
      cases.push_back({.name = line.substr(4), .text = {}, .stderr_lines = {}});
      daemons = 0;
    } else if (cases.empty()) {
      continue;
    } else if (line.starts_with("1.4.")) {
      ++daemons;
    } else if (daemons == 0 && line.starts_with("    ")) {
      std::string text = line.substr(4);
      if (text.starts_with("(")) cases.back().is_described = true;
      const bool without_newline = text.ends_with("\\c");
      if (without_newline) text.resize(text.size() - 2);
      cases.back().text += unescape(expand_repeats(text)) + (without_newline ? "" : "\n");
    } else if (daemons == 1 && line.starts_with("  stderr| ")) {
      std::string text = line.substr(10);
      if (text.starts_with("[DATE] ")) text = text.substr(15);
      if (!text.empty()) cases.back().stderr_lines.push_back(text);
    } else if (daemons == 1 && line.starts_with("  exit=")) {
      cases.back().exit_status = std::stoi(line.substr(7));
    }
  }
  return cases;
}

}  // namespace ctsync::config
