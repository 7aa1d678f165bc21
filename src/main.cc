// SPDX-License-Identifier: GPL-2.0-or-later
// Command line -> client or daemon.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "ctsync/config/parse.h"
#include "ctsync/control/client.h"
#include "ctsync/control/command_line.h"
#include "ctsync/daemon/daemon.h"

namespace {

// If the caller left one of the standard descriptors closed, the next file opened would get its number, and the log's
// lines.
void occupy_standard_descriptors() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace

int main(int argc, char* argv[]) {
  using namespace ctsync;  // NOLINT
  occupy_standard_descriptors();
  const auto command = control::parse_command_line(argc, argv);
  SystemLog log;
  std::fputs(command.output.c_str(), stdout);
  std::fflush(stdout);
  for (const auto& m : command.messages) log.write(m.level, m.text);
  if (command.action == control::CommandLine::Action::print_and_exit) return command.exit_status;

  const auto parsed = config::parse_file(command.config_path);
  const bool is_request = command.action == control::CommandLine::Action::request;
  for (const auto& d : parsed.diagnostics) {
    if (d.severity == config::Severity::error) {
      log.write(Level::error, d.to_string());
    } else if (!is_request) {  // that one was told when the daemon started
      log.write(Level::warning, d.to_string());
    }
  }
  // A client needs no more than the socket: a file that is just being edited must not stop a take-over.
  const bool suffices = is_request && !parsed.config.unix_path.empty();
  if (!parsed.ok() && !suffices) return parsed.exit_status;
  if (is_request) {
    return control::run_client(parsed.config.unix_path, command.request, log);
  }
  return daemon::run(parsed.config, command.config_path, command.action == control::CommandLine::Action::background,
                     log);
}
