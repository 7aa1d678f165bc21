// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/command_line.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "golden.h"

namespace ctsync::control {
namespace {

using Action = CommandLine::Action;

CommandLine parse(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv{"conntrackd"};
  for (const auto& a : arguments) argv.push_back(a.c_str());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

// Splits at each single blank, so that "-C CFG " ends in an empty argument.
std::vector<std::string> split_arguments(std::string_view text) {
  std::vector<std::string> r;
  while (!text.empty()) {
    const auto blank = text.find(' ');
    r.emplace_back(text.substr(0, blank));
    if (blank == std::string_view::npos) return r;
    text.remove_prefix(blank + 1);
    if (text.empty()) r.emplace_back();
  }
  return r;
}

struct GoldenCase {
  std::string arguments;
  std::string output_first_line;
  std::vector<std::string> messages;  // "[LEVEL] text"
  int status = -1;
};

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> cases;
  for (const std::string_view line : golden::lines_of("1.4.9-cli-options.txt")) {
    constexpr std::string_view kCommand = "$ conntrackd ";
    constexpr std::string_view kOut = "  stdout| ";
    constexpr std::string_view kErr = "  stderr| ";
    constexpr std::string_view kStatus = "  exit status ";
    if (line.starts_with(kCommand)) {
      cases.push_back({std::string(line.substr(kCommand.size())), "", {}, -1});
    } else if (line.starts_with(kOut) && cases.back().output_first_line.empty()) {
      cases.back().output_first_line = line.substr(kOut.size());
    } else if (line.starts_with(kErr)) {
      cases.back().messages.emplace_back(line.substr(line.find(") [") + 2));
    } else if (line.starts_with(kStatus)) {
      cases.back().status = std::stoi(std::string(line.substr(kStatus.size())));
    }
  }
  return cases;
}

std::string message_text(const CommandLine::Message& m) {
  return (m.level == Level::error ? "[ERROR] " : "[warning] ") + m.text;
}

// What conntrackd takes by accident and ctsyncd refuses, or the other way round: long options.
const std::set<std::string> kDifferent = {"-C CFG --help", "-C CFG --version", "-C CFG --daemon",
                                          "-C CFG -help",  "-C CFG -version",  "-C CFG sv",
                                          "-C CFG -sv",    "-C CFG -ix",       "-C CFG -i ct expect"};

TEST(CommandLine, DoesWhatConntrackdDoes) {
  const auto cases = golden_cases();
  ASSERT_GT(cases.size(), 50U);
  for (const auto& c : cases) {
    if (kDifferent.contains(c.arguments)) continue;
    SCOPED_TRACE(c.arguments);
    const auto r = parse(split_arguments(c.arguments));
    std::vector<std::string> messages = c.messages;
    // Messages of what comes after the command line: the connection, the configuration file, the lock.
    const bool tried = !messages.empty() && (messages.back().starts_with("[ERROR] can't connect") ||
                                             messages.back().starts_with("[ERROR] can't open config") ||
                                             messages.back().starts_with("[ERROR] lockfile"));
    if (tried) {
      messages.pop_back();
      std::erase(messages, "[warning] deprecated unix backlog configuration, ignoring.");
      EXPECT_NE(r.action, Action::print_and_exit);
    } else {
      EXPECT_EQ(r.action, Action::print_and_exit);
      EXPECT_EQ(r.exit_status, c.status);
    }
    std::vector<std::string> got;
    for (const auto& m : r.messages) got.push_back(message_text(m));
    EXPECT_EQ(got, messages);
    if (c.output_first_line.find("<the whole -h text>") == 0 || c.arguments == "-h") {
      EXPECT_EQ(r.output, usage_text("conntrackd"));
    } else if (c.output_first_line.find("Licensed") != std::string::npos) {
      EXPECT_EQ(r.output, version_text());
    } else {
      EXPECT_EQ(r.output, "");
    }
  }
}

TEST(CommandLine, UsageHasTheLinesOfConntrackd) {
  std::string expected;
  bool in = false;
  for (const std::string_view line : golden::lines_of("1.4.9-cli-options.txt")) {
    if (line == "$ conntrackd -h") in = true;
    if (in && line.starts_with("  exit")) break;
    if (in && line.starts_with("  stdout| ")) expected += std::string(line.substr(10)) + "\n";
  }
  // The name of the program is ours; all else stays.
  expected.erase(0, expected.find('\n'));
  expected.replace(expected.find("display conntrackd"), 18, "display ctsyncd");
  const auto got = usage_text("conntrackd");
  const auto lines = got.substr(got.find('\n'));
  EXPECT_TRUE(lines.starts_with(expected)) << lines;
  EXPECT_TRUE(lines.substr(expected.size()).starts_with("Not in conntrackd:\n  -s peers,"));
}

TEST(CommandLine, LongNamesOfWhatConntrackdDoesNotHave) {
  EXPECT_EQ(parse({"--takeover"}).request, Request::take_over);
  EXPECT_EQ(parse({"-C", "file", "--standby"}).request, Request::stand_by);
  EXPECT_EQ(parse({"--handover", "-C", "file"}).request, Request::hand_over);
  EXPECT_EQ(parse({"--handover", "-d"}).exit_status, 1);
  EXPECT_EQ(parse({"--take"}).exit_status, 1);
}

TEST(CommandLine, MetricsAndHealth) {
  const std::map<std::string, int> codes = {
      {"--metrics", 1201}, {"--metrics openmetrics", 1201}, {"--metrics prometheus", 1203}, {"--metrics -C file", 1201},
      {"--health", 1202},  {"-C file --health", 1202}};
  for (const auto& [arguments, code] : codes) {
    SCOPED_TRACE(arguments);
    const auto r = parse(split_arguments(arguments));
    EXPECT_EQ(r.action, Action::request);
    EXPECT_EQ(static_cast<int>(r.request), code);
    ASSERT_TRUE(decode_request(code));
    EXPECT_FALSE(is_json(r.request));
    EXPECT_EQ(is_metrics(r.request), code != 1202);
    EXPECT_EQ(has_status(r.request), code == 1202);
  }
  EXPECT_EQ(decode_request(1201)->form, node::Form::openmetrics);
  EXPECT_EQ(decode_request(1203)->form, node::Form::text);
  EXPECT_EQ(parse({"--metrics", "xml"}).messages.at(0).text, "unknown parameter `xml' for option `--metrics'");
  EXPECT_EQ(parse({"--metrics", "--json"}).exit_status, 1);
  EXPECT_EQ(parse({"--metrics", "-d"}).exit_status, 1);
}

TEST(CommandLine, LongNamesOfWhatConntrackdHas) {
  const std::map<std::string, std::string> names = {
      {"-c", "--commit"},    {"-f", "--flush"},          {"-F", "--flush-kernel"}, {"-i", "--internal"},
      {"-e", "--external"},  {"-k", "--stop"},           {"-s", "--statistics"},   {"-R", "--resync-kernel"},
      {"-B", "--bulk-send"}, {"-n", "--request-resync"}, {"-t", "--purge"},
  };
  const std::string usage = usage_text("conntrackd");
  for (const auto& [letter, name] : names) {
    SCOPED_TRACE(name);
    EXPECT_NE(usage.find(letter + " " + name), std::string::npos);
    for (const char* parameter : {"", "ct", "exp", "internal", "network", "nonsense"}) {
      std::vector<std::string> with_letter{letter};
      std::vector<std::string> with_name{name};
      if (*parameter != '\0') with_letter.emplace_back(parameter);
      if (*parameter != '\0') with_name.emplace_back(parameter);
      const auto expected = parse(with_letter);
      const auto got = parse(with_name);
      EXPECT_EQ(got.action, expected.action) << parameter;
      EXPECT_EQ(got.exit_status, expected.exit_status) << parameter;
      EXPECT_EQ(got.messages.size(), expected.messages.size()) << parameter;
      if (got.action != Action::request) continue;
      if (std::string_view("-c-f-F-R-B-n-t").find(letter) == std::string_view::npos) {
        EXPECT_EQ(got.request, expected.request) << parameter;
      } else {
        auto command = decode_request(static_cast<int>(expected.request));
        const auto told = decode_request(static_cast<int>(got.request));
        ASSERT_TRUE(command && told && has_status(got.request));
        command->outcome = true;
        EXPECT_EQ(*told, *command) << parameter;
      }
    }
  }
  EXPECT_EQ(parse({"--daemon"}).action, Action::background);
  EXPECT_EQ(parse({"--config", "a"}).config_path, "a");
  EXPECT_EQ(parse({"--internal", "--xml"}).request, Request::dump_internal_ct_xml);
  EXPECT_EQ(parse({"--flush", "x"}).messages.at(0).text, "unknown parameter `x' for option `--flush'");
}

TEST(CommandLine, RequestCodes) {
  const std::map<std::string, int> codes = {
      {"-c", 46},
      {"-c ct", 18},
      {"-c expect", 42},
      {"-f", 45},
      {"-f internal", 33},
      {"-f external", 34},
      {"-F", 43},
      {"-F ct", 0},
      {"-F expect", 38},
      {"-i", 16},
      {"-i ct", 16},
      {"-i expect", 40},
      {"-e", 17},
      {"-e ct", 17},
      {"-e expect", 41},
      {"-i -x", 24},
      {"-i ct -x", 24},
      {"-e -x", 25},
      {"-i expect -x", 47},
      {"-e expect -x", 48},
      {"-k", 20},
      {"-s", 21},
      {"-s ct", 21},
      {"-s network", 28},
      {"-s cache", 29},
      {"-s runtime", 30},
      {"-s link", 31},
      {"-s multicast", 31},
      {"-s rsqueue", 32},
      {"-s process", 35},
      {"-s queue", 36},
      {"-s expect", 37},
      {"-R", 44},
      {"-R ct", 1},
      {"-R expect", 39},
      {"-B", 22},
      {"-n", 23},
      {"-t", 26},
      // prefixes: the first match counts
      {"-s n", 28},
      {"-s c", 29},
      {"-s r", 30},
      {"-s m", 31},
      {"-s l", 31},
      {"-s rs", 32},
      {"-s p", 35},
      {"-s q", 36},
      {"-s ct", 21},
      {"-s e", 37},
      {"-i exp", 40},
      {"-i e", 40},
      {"-f ext", 34},
      {"-f i", 33},
      {"-c c", 18},
      // the last of several counts
      {"-i -s", 21},
      {"-s -i", 16},
      {"-i -x -e", 17},
      {"-k -k", 20},
      {"-s -C file", 21},
      {"-i -e -x", 25},
  };
  for (const auto& [arguments, code] : codes) {
    SCOPED_TRACE(arguments);
    const auto r = parse(split_arguments(arguments));
    EXPECT_EQ(r.action, Action::request);
    EXPECT_EQ(static_cast<int>(r.request), code);
    EXPECT_TRUE(decode_request(code));
  }
  EXPECT_EQ(static_cast<int>(parse({"-s", ""}).request), 28) << "an empty parameter matches the first";
}

TEST(CommandLine, JsonFormOfWhateverReads) {
  const std::map<std::string, int> codes = {
      {"-i --json", 1101},         {"-e --json", 1102},        {"-i expect --json", 1103},  {"-e expect --json", 1104},
      {"-s --json", 1105},         {"-s expect --json", 1106}, {"-s network --json", 1107}, {"-s cache --json", 1108},
      {"-s runtime --json", 1109}, {"-s link --json", 1110},   {"-s rsqueue --json", 1111}, {"-s process --json", 1112},
      {"-s queue --json", 1113},   {"--json -s peers", 1114},  {"--json -C file -i", 1101}, {"-i --json -s", 1105},
      {"--internal --json", 1101},
  };
  for (const auto& [arguments, code] : codes) {
    SCOPED_TRACE(arguments);
    const auto r = parse(split_arguments(arguments));
    EXPECT_EQ(r.action, Action::request);
    EXPECT_EQ(static_cast<int>(r.request), code);
    EXPECT_TRUE(is_json(r.request) && !has_status(r.request));
    const auto command = decode_request(code);
    ASSERT_TRUE(command);
    EXPECT_EQ(command->form, node::Form::json);
  }
  for (const char* arguments : {"--json", "-d --json", "-c --json", "-i -x --json", "--json -k", "--takeover --json"}) {
    SCOPED_TRACE(arguments);
    const auto r = parse(split_arguments(arguments));
    EXPECT_EQ(r.action, Action::print_and_exit);
    EXPECT_EQ(r.exit_status, 1);
  }
  EXPECT_EQ(parse({"--json", "-h"}).exit_status, 0);
}

TEST(CommandLine, NumbersThatAreNoRequest) {
  for (const int code : {-1, 2, 15, 27, 49, 9999}) EXPECT_FALSE(decode_request(code)) << code;
  const auto both = decode_request(19);
  ASSERT_TRUE(both);
  EXPECT_EQ(both->verb, node::Verb::flush_caches);
  EXPECT_EQ(both->what, node::What::flows);
  EXPECT_EQ(both->side, node::Side::both);
}

TEST(CommandLine, DaemonAndConfigPath) {
  EXPECT_EQ(parse({}).action, Action::foreground);
  EXPECT_EQ(parse({}).config_path, "/etc/conntrackd/conntrackd.conf");
  EXPECT_EQ(parse({"-d"}).action, Action::background);
  EXPECT_EQ(parse({"-d", "-d"}).action, Action::background);
  EXPECT_EQ(parse({"--check", "-C", "f"}).action, Action::check);
  EXPECT_EQ(parse({"--check", "-C", "f"}).config_path, "f");
  EXPECT_EQ(parse({"--check", "-k"}).exit_status, 1) << "checks or stops, not both";
  EXPECT_EQ(parse({"--explain"}).keyword, "");
  EXPECT_EQ(parse({"--explain", "HashSize"}).keyword, "HashSize");
  EXPECT_EQ(parse({"--explain", "HashSize"}).action, Action::explain);
  EXPECT_EQ(parse({"-C", "a", "-d", "-C", "b"}).config_path, "b");
  EXPECT_EQ(parse({"-C", "-d"}).action, Action::foreground) << "-d is the file name here";
}

TEST(CommandLine, Decode) {
  const auto r = parse({"--decode", "-", "--port", "1", "--json", "--port", "65535", "-C", "f"});
  EXPECT_EQ(r.action, Action::decode);
  EXPECT_EQ(r.capture_path, "-");
  EXPECT_EQ(r.ports, (std::vector<std::uint16_t>{1, 65535}));
  EXPECT_TRUE(r.json);
  EXPECT_EQ(r.config_path, "f");
  EXPECT_FALSE(parse({"--decode", "file"}).json);
  EXPECT_EQ(parse({"--decode"}).messages.at(0).text, "Missing capture filename");
  for (const char* port : {"0", "65536", "-1", "1x", ""}) {
    EXPECT_EQ(parse({"--decode", "f", "--port", port}).messages.at(0).text, fmt::format("`{}' is no port", port));
  }
  EXPECT_EQ(parse({"--decode", "f", "--port"}).exit_status, 1);
  for (const char* arguments : {"--port 5", "-s --port 5", "-d --port 5", "--decode f -s", "-d --decode f"}) {
    SCOPED_TRACE(arguments);
    EXPECT_EQ(parse(split_arguments(arguments)).exit_status, 1);
  }
}

TEST(CommandLine, WatchTakesAnInterval) {
  EXPECT_EQ(parse({"--watch"}).action, Action::watch);
  EXPECT_EQ(parse({"--watch"}).interval, std::chrono::seconds(1));
  EXPECT_EQ(parse({"--watch", "10"}).interval, std::chrono::seconds(10));
  EXPECT_EQ(parse({"--watch", "3600", "-C", "a"}).config_path, "a");
  EXPECT_EQ(parse({"--watch", "-C", "a"}).config_path, "a");
  for (const char* wrong : {"0", "3601", "1.5", "5s", "x", "", "99999999999999999999"}) {
    const auto r = parse({"--watch", wrong});
    EXPECT_EQ(r.action, Action::print_and_exit) << wrong;
    EXPECT_EQ(r.exit_status, 1) << wrong;
    EXPECT_EQ(r.messages.at(0).text, std::string("`--watch' takes whole seconds, from 1 to 3600, not `") + wrong + "'");
  }
  EXPECT_EQ(parse({"--watch", "-s"}).exit_status, 1) << "looks once or again and again, not both";
  EXPECT_EQ(parse({"--watch", "--json"}).exit_status, 1);
}

TEST(CommandLine, RefusesWhatOnlyLooksLikeAnOption) {
  for (const char* a : {"-daemon", "xd", "sv", "-ix", "-help", "--daemo", "-", "--", "d"}) {
    SCOPED_TRACE(a);
    const auto r = parse({a});
    EXPECT_EQ(r.action, Action::print_and_exit);
    EXPECT_EQ(r.exit_status, 1);
    ASSERT_EQ(r.messages.size(), 1U);
    EXPECT_EQ(r.messages[0].text, std::string("Unknown option: ") + a);
  }
}

TEST(CommandLine, LongHelpAndVersion) {
  EXPECT_EQ(parse({"--help"}).output, usage_text("conntrackd"));
  EXPECT_EQ(parse({"--help"}).exit_status, 0);
  EXPECT_EQ(parse({"--version"}).output, version_text());
  EXPECT_EQ(parse({"-d", "-s", "-v"}).exit_status, 1) << "the first error ends the parsing";
}

TEST(CommandLine, VersionNamesTheCompatibleConntrackd) {
  const auto text = version_text();
  EXPECT_TRUE(text.starts_with("ctsyncd "));
  EXPECT_NE(text.substr(0, text.find('\n')).find("(compatible with conntrackd 1.4.9)"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

}  // namespace
}  // namespace ctsync::control
