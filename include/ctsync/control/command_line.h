// SPDX-License-Identifier: GPL-2.0-or-later
// What the command line asks for (spec cli.md 1). Pure: reads the arguments, prints nothing, opens nothing. Accepted is
// what conntrackd 1.4.9 accepts, except that an option is exactly "-X" ("-daemon" and "xd" are refused), and in
// addition long names.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "ctsync/base/log.h"
#include "ctsync/control/request.h"

namespace ctsync::control {

inline constexpr const char* kDefaultConfigPath = "/etc/conntrackd/conntrackd.conf";

struct CommandLine {
  enum class Action {
    print_and_exit,  // version, help or an error: print output and messages, then exit with exit_status
    foreground,      // run as daemon on the terminal
    background,      // run as daemon detached (-d)
    check,           // read and check the configuration, then exit
    explain,         // tell what `keyword` means, then exit
    decode,          // tell the messages of a capture, then exit
    request,         // send `request` to the running daemon
    watch,           // show what it does, again each `interval`
  };
  // To be written to the terminal log, in this order.
  struct Message {
    Level level;
    std::string text;
  };

  Action action = Action::foreground;
  Request request = Request::stats;  // with Action::request
  std::string keyword;               // with Action::explain; empty: all of them
  std::string capture_path;          // with Action::decode, as the following ones
  std::vector<std::uint16_t> ports;  // empty: not given
  bool json = false;
  std::chrono::seconds interval{1};  // with Action::watch
  std::string config_path = kDefaultConfigPath;
  std::vector<Message> messages;  // warnings may come with any action
  std::string output;             // for stdout, complete with newlines
  int exit_status = 0;
};

// argv as main() gets it; argv[0] is shown in the usage text.
CommandLine parse_command_line(int argc, const char* const argv[]);

// First line name, version and the conntrackd version it is compatible with; then licence; then what is built in.
std::string version_text();
std::string usage_text(const std::string& program);

}  // namespace ctsync::control
