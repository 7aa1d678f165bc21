// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/command_line.h"

#include <array>
#include <charconv>
#include <optional>
#include <span>
#include <string_view>

namespace ctsync::control {
namespace {

struct Parameter {
  std::string_view name;
  Request request;
};

// A client option. `parameters` in the order in which a prefix is matched.
struct ClientOption {
  std::string_view short_name;
  std::string_view name;
  Request without;
  std::span<const Parameter> parameters;
  bool refuse_unknown;  // else an unknown parameter is left to be read as an option
};

constexpr std::array kCommit{Parameter{"ct", Request::commit_ct}, Parameter{"expect", Request::commit_expect}};
constexpr std::array kFlush{Parameter{"internal", Request::flush_internal},
                            Parameter{"external", Request::flush_external}};
constexpr std::array kFlushKernel{Parameter{"ct", Request::flush_kernel_ct},
                                  Parameter{"expect", Request::flush_kernel_expect}};
constexpr std::array kInternal{Parameter{"ct", Request::dump_internal_ct},
                               Parameter{"expect", Request::dump_internal_expect}};
constexpr std::array kExternal{Parameter{"ct", Request::dump_external_ct},
                               Parameter{"expect", Request::dump_external_expect}};
constexpr std::array kResync{Parameter{"ct", Request::resync_kernel_ct},
                             Parameter{"expect", Request::resync_kernel_expect}};
constexpr std::string_view kDeprecatedLink = "multicast";
constexpr std::array kStats{
    Parameter{"network", Request::stats_network}, Parameter{"cache", Request::stats_cache},
    Parameter{"runtime", Request::stats_runtime}, Parameter{kDeprecatedLink, Request::stats_link},
    Parameter{"link", Request::stats_link},       Parameter{"rsqueue", Request::stats_resend_queue},
    Parameter{"process", Request::stats_process}, Parameter{"queue", Request::stats_queue},
    Parameter{"peers", Request::stats_peers},     Parameter{"ct", Request::stats},
    Parameter{"expect", Request::stats_expect}};

constexpr std::array kClientOptions{
    ClientOption{"-c", "--commit", Request::commit_all, kCommit, false},
    ClientOption{"-f", "--flush", Request::flush_all, kFlush, true},
    ClientOption{"-F", "--flush-kernel", Request::flush_kernel_all, kFlushKernel, false},
    ClientOption{"-i", "--internal", Request::dump_internal_ct, kInternal, false},
    ClientOption{"-e", "--external", Request::dump_external_ct, kExternal, false},
    ClientOption{"-k", "--stop", Request::stop, {}, false},
    ClientOption{"-s", "--statistics", Request::stats, kStats, true},
    ClientOption{"-R", "--resync-kernel", Request::resync_kernel_all, kResync, false},
    ClientOption{"-B", "--bulk-send", Request::bulk_send, {}, false},
    ClientOption{"-n", "--request-resync", Request::request_resync, {}, false},
    ClientOption{"-t", "--purge", Request::schedule_purge, {}, false},
};

// What conntrackd does not have has long names alone.
constexpr std::array kLongOptions{Parameter{"--takeover", Request::take_over},
                                  Parameter{"--standby", Request::stand_by},
                                  Parameter{"--handover", Request::hand_over}, Parameter{"--health", Request::health},
                                  Parameter{"--reload", Request::reload}};
constexpr std::array kMetricsForms{Parameter{"openmetrics", Request::metrics},
                                   Parameter{"prometheus", Request::metrics_prometheus}};
constexpr ClientOption kMetrics{"", "--metrics", Request::metrics, kMetricsForms, true};

std::optional<Request> xml_form(Request request) {
  switch (request) {
    case Request::dump_internal_ct:
      return Request::dump_internal_ct_xml;
    case Request::dump_external_ct:
      return Request::dump_external_ct_xml;
    case Request::dump_internal_expect:
      return Request::dump_internal_expect_xml;
    case Request::dump_external_expect:
      return Request::dump_external_expect_xml;
    default:
      return std::nullopt;
  }
}

std::optional<Request> json_form(Request request) {
  switch (request) {
    case Request::dump_internal_ct:
      return Request::dump_internal_ct_json;
    case Request::dump_external_ct:
      return Request::dump_external_ct_json;
    case Request::dump_internal_expect:
      return Request::dump_internal_expect_json;
    case Request::dump_external_expect:
      return Request::dump_external_expect_json;
    case Request::stats:
      return Request::stats_json;
    case Request::stats_expect:
      return Request::stats_expect_json;
    case Request::stats_network:
      return Request::stats_network_json;
    case Request::stats_cache:
      return Request::stats_cache_json;
    case Request::stats_runtime:
      return Request::stats_runtime_json;
    case Request::stats_link:
      return Request::stats_link_json;
    case Request::stats_resend_queue:
      return Request::stats_resend_queue_json;
    case Request::stats_process:
      return Request::stats_process_json;
    case Request::stats_queue:
      return Request::stats_queue_json;
    case Request::stats_peers:
      return Request::stats_peers_json;
    default:
      return std::nullopt;
  }
}

// What a long name asks for.
Request outcome_form(Request request) {
  switch (request) {
    case Request::commit_all:
      return Request::commit_all_outcome;
    case Request::commit_ct:
      return Request::commit_ct_outcome;
    case Request::commit_expect:
      return Request::commit_expect_outcome;
    case Request::flush_all:
      return Request::flush_all_outcome;
    case Request::flush_internal:
      return Request::flush_internal_outcome;
    case Request::flush_external:
      return Request::flush_external_outcome;
    case Request::bulk_send:
      return Request::bulk_send_outcome;
    case Request::request_resync:
      return Request::request_resync_outcome;
    case Request::schedule_purge:
      return Request::schedule_purge_outcome;
    case Request::flush_kernel_all:
      return Request::flush_kernel_all_outcome;
    case Request::flush_kernel_ct:
      return Request::flush_kernel_ct_outcome;
    case Request::flush_kernel_expect:
      return Request::flush_kernel_expect_outcome;
    case Request::resync_kernel_all:
      return Request::resync_kernel_all_outcome;
    case Request::resync_kernel_ct:
      return Request::resync_kernel_ct_outcome;
    case Request::resync_kernel_expect:
      return Request::resync_kernel_expect_outcome;
    default:
      return request;
  }
}

class Parser {
 public:
  Parser(int argc, const char* const argv[]) : arguments_(argv, argv + argc) {}

  // Left to right; the first argument that settles the matter (version, help, error) ends it.
  CommandLine parse() {
    for (next_ = 1; next_ < arguments_.size();) {
      const std::string_view argument = arguments_[next_++];
      if (!take(argument)) return std::move(result_);
    }
    if (json_) take_json_form();
    if (!result_.ports.empty() && result_.action != Action::decode) fail_with_usage("Invalid parameters");
    return std::move(result_);
  }

 private:
  using Action = CommandLine::Action;

  bool take(std::string_view argument) {
    if (argument == "-h" || argument == "--help") return print(usage_text(program()));
    if (argument == "-v" || argument == "--version") return print(version_text());
    if (argument == "-d" || argument == "--daemon") return set_action(Action::background);
    if (argument == "-C" || argument == "--config") return take_config_path();
    if (argument == "-x" || argument == "--xml") return take_xml();
    if (argument == "--json") return json_ = true;
    if (argument == "--check") return set_action(Action::check);
    if (argument == "--explain") return take_keyword();
    if (argument == "--decode") return take_capture();
    if (argument == "--port") return take_port();
    if (argument == kMetrics.name) return take_client_option(kMetrics, argument);
    if (argument == "--watch") return take_interval();
    for (const auto& option : kLongOptions) {
      if (option.name != argument) continue;
      result_.request = option.request;
      return set_action(Action::request);
    }
    for (const auto& option : kClientOptions) {
      if (argument == option.short_name) return take_client_option(option, argument);
      if (argument != option.name) continue;
      const bool taken = take_client_option(option, argument);
      result_.request = outcome_form(result_.request);
      return taken;
    }
    return unknown(argument);
  }

  bool take_client_option(const ClientOption& option, std::string_view argument) {
    if (!set_action(Action::request)) return false;
    result_.request = option.without;
    if (option.parameters.empty() || next_ == arguments_.size() || arguments_[next_].starts_with('-')) return true;
    const std::string_view given = arguments_[next_];
    for (const auto& parameter : option.parameters) {
      if (!parameter.name.starts_with(given)) continue;
      ++next_;
      result_.request = parameter.request;
      if (parameter.name == kDeprecatedLink) {
        result_.messages.push_back({Level::warning, "use `link' instead of `multicast' as parameter."});
      }
      return true;
    }
    if (!option.refuse_unknown) return true;
    return fail_with(fmt::format("unknown parameter `{}' for option `{}'", given, argument));
  }

  bool take_config_path() {
    if (next_ == arguments_.size()) return fail_with_usage("Missing config filename");
    result_.config_path = arguments_[next_++];
    return true;
  }

  bool take_keyword() {
    if (next_ < arguments_.size()) result_.keyword = arguments_[next_++];
    return set_action(Action::explain);
  }

  bool take_capture() {
    if (next_ == arguments_.size()) return fail_with_usage("Missing capture filename");
    result_.capture_path = arguments_[next_++];
    return set_action(Action::decode);
  }

  bool take_port() {
    const std::string_view given = next_ < arguments_.size() ? arguments_[next_++] : "";
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), port);
    if (error != std::errc() || end != given.data() + given.size() || port == 0) {
      return fail_with_usage(fmt::format("`{}' is no port", given));
    }
    result_.ports.push_back(port);
    return true;
  }

  bool take_interval() {
    if (!set_action(Action::watch)) return false;
    if (next_ == arguments_.size() || arguments_[next_].starts_with('-')) return true;
    const std::string_view given = arguments_[next_++];
    constexpr int kMost = 3600;
    int seconds = 0;
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), seconds);
    if (error != std::errc() || end != given.data() + given.size() || seconds < 1 || seconds > kMost) {
      return fail_with(fmt::format("`--watch' takes whole seconds, from 1 to {}, not `{}'", kMost, given));
    }
    result_.interval = std::chrono::seconds(seconds);
    return true;
  }

  bool take_xml() {
    const auto form = result_.action == Action::request ? xml_form(result_.request) : std::nullopt;
    if (!form) return fail_with_usage("Invalid parameters");
    result_.request = *form;
    return true;
  }

  // Of whatever command counts in the end.
  void take_json_form() {
    if (result_.action == Action::decode) {
      result_.json = true;
    } else if (const auto form = result_.action == Action::request ? json_form(result_.request) : std::nullopt) {
      result_.request = *form;
    } else {
      fail_with_usage("Invalid parameters");
    }
  }

  // Daemon and client exclude each other.
  bool set_action(Action action) {
    if (result_.action != Action::foreground && result_.action != action) return fail_with_usage("Invalid parameters");
    result_.action = action;
    return true;
  }

  bool print(std::string text) {
    result_.action = Action::print_and_exit;
    result_.output = std::move(text);
    return false;
  }

  bool fail_with(std::string message) {
    result_.action = Action::print_and_exit;
    result_.exit_status = 1;
    result_.messages.push_back({Level::error, std::move(message)});
    return false;
  }

  bool fail_with_usage(std::string message) {
    result_.output = usage_text(program());
    return fail_with(std::move(message));
  }

  bool unknown(std::string_view argument) { return fail_with_usage(fmt::format("Unknown option: {}", argument)); }

  std::string program() const { return arguments_.empty() ? "ctsyncd" : std::string(arguments_[0]); }

  std::vector<std::string_view> arguments_;
  std::size_t next_ = 1;
  bool json_ = false;
  CommandLine result_;
};

constexpr std::string_view kNameAndVersion = "ctsyncd " CTSYNC_VERSION " (compatible with conntrackd 1.4.9)\n";

}  // namespace

CommandLine parse_command_line(int argc, const char* const argv[]) { return Parser(argc, argv).parse(); }

std::string version_text() {
  return fmt::format(
      "{}Licensed under GPLv2 or later. There is no warranty, to the extent permitted by law.\n"
      "Built with libmnl {}, libnetfilter_conntrack {}, fmt {}.{}.{}, " CTSYNC_PCAP_VERSION "\n",
      kNameAndVersion, CTSYNC_MNL_VERSION, CTSYNC_NFCT_VERSION, FMT_VERSION / 10000, FMT_VERSION / 100 % 100,
      FMT_VERSION % 100);
}

std::string usage_text(const std::string& program) {
  return fmt::format(
      "{}Usage: {} [commands] [options]\n"
      "\n"
      "General commands:\n"
      "  -d, run in daemon mode\n"
      "  -C [configfile], configuration file path\n"
      "  -v, display ctsyncd version\n"
      "  -h, display this help information\n"
      "\n"
      "Client mode commands:\n"
      "  -c [ct|expect], commit external cache to conntrack table\n"
      "  -f [internal|external], flush internal and external cache\n"
      "  -F [ct|expect], flush kernel conntrack table\n"
      "  -i [ct|expect], display content of the internal cache\n"
      "  -e [ct|expect], display the content of the external cache\n"
      "  -k, kill conntrack daemon\n"
      "  -s  [network|cache|runtime|link|rsqueue|queue|ct|expect], dump statistics\n"
      "  -R [ct|expect], resync with kernel conntrack table\n"
      "  -n, request resync with other node (only FT-FW and NOTRACK modes)\n"
      "  -B, force a bulk send to other replica firewalls\n"
      "  -x, dump cache in XML format (requires -i or -e)\n"
      "  -t, reset the kernel timeout (see PurgeTimeout clause)\n"
      "\n"
      "Not in conntrackd:\n"
      "  -s peers, show what is known of the other nodes\n"
      "  --takeover, commit the external cache, then do as -f, -R and -B in the background\n"
      "  --standby, do as -t and -n\n"
      "  --handover, wait until the other nodes have acknowledged all connections\n"
      "  --reload, let the daemon read its configuration file again\n"
      "  --check, check the configuration file and exit\n"
      "  --explain [keyword], tell what a keyword of the configuration means\n"
      "  --json, with -i, -e, -s or --decode: answer in JSON\n"
      "  --decode file|-, tell the messages on the link that tcpdump captured; with --port number: of this port\n"
      "  --metrics [openmetrics|prometheus], print all counters for a monitoring system\n"
      "  --health, tell whether this node could take over now\n"
      "  --watch [seconds], show live what the daemon does\n"
      "\n"
      "Long names, with the same parameters; -c -f -F -R -B -n -t then tell their outcome:\n"
      "  -d --daemon          -C --config          -v --version         -h --help\n"
      "  -c --commit          -f --flush           -F --flush-kernel    -i --internal\n"
      "  -e --external        -k --stop            -s --statistics      -R --resync-kernel\n"
      "  -n --request-resync  -B --bulk-send       -x --xml             -t --purge\n"
      "\n",
      kNameAndVersion, program);
}

}  // namespace ctsync::control
