// SPDX-License-Identifier: GPL-2.0-or-later
// Command line -> client or daemon.
#include <cstdio>

#include "ctsync/config/parse.h"
#include "ctsync/control/client.h"
#include "ctsync/control/command_line.h"
#include "ctsync/daemon/daemon.h"

int main(int argc, char* argv[]) {
  using namespace ctsync;  // NOLINT
  const auto command = control::parse_command_line(argc, argv);
  SystemLog log;
  std::fputs(command.output.c_str(), stdout);
  std::fflush(stdout);
  for (const auto& m : command.messages) log.write(m.level, m.text);
  if (command.action == control::CommandLine::Action::print_and_exit) return command.exit_status;

  const auto parsed = config::parse_file(command.config_path);
  for (const auto& d : parsed.diagnostics) {
    log.write(d.severity == config::Severity::error ? Level::error : Level::warning, d.to_string());
  }
  if (!parsed.ok()) return parsed.exit_status;
  if (command.action == control::CommandLine::Action::request) {
    return control::run_client(parsed.config.unix_path, command.request, log);
  }
  return daemon::run(parsed.config, command.config_path, command.action == control::CommandLine::Action::background);
}
