// SPDX-License-Identifier: GPL-2.0-or-later
// The one table of everything that may stand in a configuration file. Diagnostics, help and the manual page draw on it;
// a unit test keeps grammar, Config defaults and table in agreement.
#pragma once

#include <span>
#include <string_view>

namespace ctsync::config {

enum class Section {
  top,
  general,
  unix_socket,
  metrics,
  scheduler,
  filter,
  filter_address,
  sync,
  mode_ftfw,
  mode_alarm,
  mode_notrack,
  multicast,
  udp,
  tcp,
  options,
  keepalived,
  stats,
  helper,
  helper_type,
  helper_policy
};

// The words that lead to a section, e.g. "General Filter Address"; empty for the top level.
std::string_view to_string(Section section);

enum class Argument {

  block,
  boolean,
  number,
  seconds,
  milliseconds,
  bytes,
  signed_number,
  path,
  boolean_or_path,
  boolean_or_facility,
  boolean_or_seconds,
  boolean_or_list,
  address,
  identifier,
  scheduler_type,
  mode_block,
  filter_block,
  action_block,
  link_block,
  helper_block,
  policy_block
};

// What a user has to write, e.g. "on|off" or "NUMBER".
std::string_view to_string(Argument argument);

struct Keyword {
  std::string_view name;
  Section section;
  Argument argument;
  std::string_view default_text;  // as it would stand in the file; empty: none
  std::string_view help;          // one line, without a full stop
  std::string_view alias_of;      // the name to prefer; empty if this is it
};

// Sorted by section, then in the order of the manual page.
std::span<const Keyword> keywords();

}  // namespace ctsync::config
