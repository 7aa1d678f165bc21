// SPDX-License-Identifier: GPL-2.0-or-later
#include "virtual_addresses.h"

#include <algorithm>

namespace ctsync::daemon {
namespace {

constexpr std::string_view kBlank = " \t\r";

// Takes the next word from the line; a brace is one by itself. Empty at the end.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
  const bool brace = line.starts_with('{') || line.starts_with('}');
  const auto size = brace ? 1 : std::min(line.find_first_of(" \t\r{}"), line.size());
  const auto word = line.substr(0, size);
  line.remove_prefix(size);
  return word;
}

// Takes the next line, without its comment.
std::string_view take_line(std::string_view& text) {
  const auto line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line.substr(0, line.find_first_of("#!"));
}

}  // namespace

std::vector<IpAddress> virtual_addresses(std::string_view text) {
  std::vector<IpAddress> found;
  bool named = false;   // a brace that comes now opens such a block
  bool inside = false;  // of one
  while (!text.empty()) {
    auto line = take_line(text);
    bool first = true;  // what stands behind an address in its line is about it
    for (auto word = take_word(line); !word.empty(); word = take_word(line)) {
      if (word == "{" || word == "}") {
        inside = word == "{" && named;
        named = false;
        first = true;
        continue;
      }
      named = !inside && (word == "virtual_ipaddress" || word == "virtual_ipaddress_excluded");
      if (inside && first) {
        for (const Family family : {Family::ipv4, Family::ipv6}) {
          if (const auto ip = parse_ip(family, word.substr(0, word.find('/')))) found.push_back(*ip);
        }
      }
      first = false;
    }
  }
  return found;
}

}  // namespace ctsync::daemon
