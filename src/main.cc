// SPDX-License-Identifier: GPL-2.0-or-later
// Command line -> client, daemon or reader.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "ctsync/capture/decode.h"
#include "ctsync/config/explain.h"
#include "ctsync/config/parse.h"
#include "ctsync/control/client.h"
#include "ctsync/control/command_line.h"
#include "ctsync/control/watch.h"
#include "ctsync/daemon/check.h"
#include "ctsync/daemon/daemon.h"
#include "ctsync/link/interface_info.h"

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

int explain(const std::string& keyword, ctsync::Log& log) {
  using namespace ctsync;  // NOLINT
  const std::string text = keyword.empty() ? config::list_keywords() : config::explain(keyword);
  std::fputs(text.c_str(), stdout);
  if (!text.empty()) return 0;
  log.write(Level::error, config::unknown_keyword(keyword));
  return 1;
}

int decode(const ctsync::control::CommandLine& command, ctsync::Log& log) {
  using namespace ctsync;  // NOLINT
  capture::DecodeOptions options{.path = command.capture_path, .ports = command.ports, .json = command.json};
  if (options.ports.empty()) {
    for (const auto& link : config::parse_file(command.config_path).config.links) {
      if (link.port != 0) options.ports.push_back(link.port);
    }
  }
  if (options.ports.empty()) options.ports.assign(capture::kDefaultPorts.begin(), capture::kDefaultPorts.end());
  return capture::decode(options, log);
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

  if (command.action == control::CommandLine::Action::explain) return explain(command.keyword, log);
  if (command.action == control::CommandLine::Action::decode) return decode(command, log);
  auto parsed = config::parse_file(command.config_path);
  if (command.action == control::CommandLine::Action::check) {
    const auto result =
        daemon::check(std::move(parsed), command.config_path, link::own_addresses(), daemon::this_machine());
    std::fputs(result.text.c_str(), stdout);
    return result.exit_status;
  }
  const bool is_watch = command.action == control::CommandLine::Action::watch;
  const bool is_request = is_watch || command.action == control::CommandLine::Action::request;
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
  if (is_watch) return control::run_watch(parsed.config.unix_path, command.interval, log);
  if (is_request) {
    return control::run_client(parsed.config.unix_path, command.request, log);
  }
  return daemon::run(parsed.config, command.config_path, command.action == control::CommandLine::Action::background,
                     log);
}
