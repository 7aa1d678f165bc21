// SPDX-License-Identifier: GPL-2.0-or-later
// Every small configuration that was tried on conntrackd must meet the same fate here, as far as parsing decides it:
// accepted or refused, with the same words in the messages. Where we differ on purpose, kDifferences says so and why.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "case_file.h"
#include "ctsync/config/parse.h"

namespace ctsync::config {
namespace {

enum class Verdict { accept, refuse };

struct Difference {
  Verdict ours;
  const char* reason;
};

const std::map<std::string, Difference> kDifferences = {
    {"huge-number-hashsize", {Verdict::refuse, "conntrackd aborts"}},
    {"hashsize-2^31", {Verdict::refuse, "conntrackd crashes"}},
    {"general-hashsize-2^32", {Verdict::refuse, "conntrackd wraps to 0, i.e. the default"}},
    {"general-pollsecs-2^32", {Verdict::accept, "conntrackd wraps to 0 and refuses; any large number is taken"}},
    {"general-scheduler-priority-2^32", {Verdict::refuse, "conntrackd wraps to 0; out of range is out of range"}},
    {"value-pipe-chars", {Verdict::refuse, "slip of conntrackd's scanner, need not be copied"}},
    {"value-o-pipe", {Verdict::refuse, "slip of conntrackd's scanner, need not be copied"}},
    {"text-comment-at-end-without-newline", {Verdict::accept, "a comment may end with the file"}},
    {"text-nul-at-top-level", {Verdict::refuse, "conntrackd silently ignores the rest of the file"}},
    {"text-latin1-at-top-level", {Verdict::refuse, "conntrackd silently ignores the rest of the file"}},
    {"text-bom-in-the-middle", {Verdict::refuse, "conntrackd silently ignores the rest of the file"}},
    {"filter-unknown-statement", {Verdict::accept, "a filter by port, which conntrackd does not know"}},
    {"text-path-with-nul", {Verdict::refuse, "no file can have this name; conntrackd cuts it"}},
};

// Warnings of conntrackd that we have no reason to give.
const std::map<std::string, const char*> kOmittedWarnings = {
    {"mcast-ipv6-iface-then-addr", "the order of Interface and IPv6_address makes no difference here"},
    {"filter-address-network-huge", "the text names the number as written, not its low 32 bits"},
    {"sync-link-interface-nack", "the old mode name is only warned about where a mode is named"},
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Messages of a daemon that has accepted the file and fails, or warns, later.
bool comes_after_parsing(const std::string& message) {
  static const char* const kLater[] = {"can't open channel socket",
                                       "initialization failed",
                                       "conntrackd cannot start",
                                       "can't open unix socket",
                                       "] lockfile `",
                                       "can't open logfile",
                                       "can't allocate memory",
                                       "trying to configure cthelper",
                                       "scheduler configuration",
                                       "Assertion `ssh' failed",
                                       "malloc(): invalid size"};
  return std::ranges::any_of(kLater, [&](const char* part) { return contains(message, part); });
}

// The words of a message, without its level and without what we say more precisely: the line of a syntax error that
// conntrackd counts one too far, and characters that it prints raw.
std::string essence(const std::string& message) {
  std::string text = message.substr(message.find("] ") + 2);
  if (contains(text, "parsing config file in line")) return "syntax error";
  return text;
}

bool has_diagnostic(const ParseResult& result, Severity severity, const std::string& part) {
  return std::ranges::any_of(result.diagnostics, [&](const Diagnostic& diagnostic) {
    return diagnostic.severity == severity && contains(diagnostic.text, part);
  });
}

std::string all_diagnostics(const ParseResult& result) {
  std::string all;
  for (const Diagnostic& diagnostic : result.diagnostics) all += diagnostic.to_string() + "\n";
  return all;
}

bool may_start(const Config& config) {
  return std::ranges::none_of(check_start(config, "test.conf"),
                              [](const Diagnostic& d) { return d.severity == Severity::error; });
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* file : {"/outputs/config-cases.txt", "/../netns/config_cases_own.txt"}) {
    for (Case& one : read_cases(std::string(CTSYNC_TEST_DATA) + file)) {
      if (!one.is_described) cases.push_back(std::move(one));
    }
  }
  return cases;
}

TEST(ConfigCases, MeetTheFateTheyMeetInConntrackd) {
  const std::vector<Case> cases = all_cases();
  ASSERT_GT(cases.size(), 580U);
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name + "\n" + one.text);
    const ParseResult result = parse_text(one.text, "test.conf");
    SCOPED_TRACE(all_diagnostics(result));

    bool refused_by_conntrackd = false;
    for (const std::string& line : one.stderr_lines) {
      refused_by_conntrackd |= line.starts_with("[ERROR]") && !comes_after_parsing(line);
    }
    const auto difference = kDifferences.find(one.name);
    if (difference != kDifferences.end()) {
      EXPECT_EQ(result.ok(), difference->second.ours == Verdict::accept) << difference->second.reason;
      continue;
    }
    EXPECT_EQ(result.exit_status, refused_by_conntrackd ? 1 : 0);
    for (const std::string& line : one.stderr_lines) {
      if (comes_after_parsing(line) || kOmittedWarnings.contains(one.name)) continue;
      // After an error conntrackd stops; before one it may have warned about a statement that we leave out as a whole.
      if (refused_by_conntrackd && line.starts_with("[warning]")) continue;
      EXPECT_TRUE(
          has_diagnostic(result, line.starts_with("[warning]") ? Severity::warning : Severity::error, essence(line)))
          << line;
    }
  }
}

TEST(ConfigCases, SyntaxErrorsNameTheWordAndTheLineThatConntrackdNames) {
  // It reads on to the end of some words differently; the position then is that of the first piece.
  const std::map<std::string, const char*> other_words = {
      {"formfeed", "\\x0c"},
      {"nul-byte", "\\x00"},
      {"quoted-path", "\"/W/x.log\""},
      {"sync-options-expectation-quoted", "\"ftp\""},
      {"filter-address-v6-two-gaps", "::3"},
  };
  int compared = 0;
  for (const Case& one : all_cases()) {
    if (!one.stderr_lines.empty() && !kDifferences.contains(one.name)) {
      const std::string& line = one.stderr_lines.back();
      if (!contains(line, "parsing config file in line") || contains(one.name, "text-")) continue;
      SCOPED_TRACE(one.name + "\n" + one.text + line);
      std::string words = line.substr(line.find("parsing"));
      if (const auto other = other_words.find(one.name); other != other_words.end()) {
        words = words.substr(0, words.find('\'') + 1) + other->second + words.substr(words.rfind('\''));
      }
      const ParseResult result = parse_text(one.text, "test.conf");
      SCOPED_TRACE(all_diagnostics(result));
      EXPECT_TRUE(has_diagnostic(result, Severity::error, words)) << words;
      ++compared;
    }
  }
  EXPECT_GT(compared, 150);
}

TEST(ConfigCases, LinksThatConntrackdCannotOpenForWantOfStatementsAreFoundBeforeTheStart) {
  for (const Case& one : all_cases()) {
    static const char* const kIncomplete[] = {"no-transport",
                                              "empty-channel",
                                              "missing-interface-udp",
                                              "udp-no-addr",
                                              "udp-mixed-family",
                                              "missing-interface-mcast",
                                              "sync-empty",
                                              "mcast-v6addr-then-v4addr",
                                              "mcast-v4iface-then-v6addr",
                                              "sync-link-tcp-no-address"};
    if (std::ranges::find(kIncomplete, one.name) == std::end(kIncomplete)) continue;
    SCOPED_TRACE(one.name);
    const ParseResult result = parse_text(one.text, "test.conf");
    EXPECT_TRUE(result.ok());
    EXPECT_FALSE(may_start(result.config));
    EXPECT_EQ(one.exit_status, 1);
  }
}

TEST(ConfigCases, EveryFileThatRunsOnConntrackdPassesTheStartCheck) {
  for (const Case& one : all_cases()) {
    if (one.exit_status != 0) continue;
    SCOPED_TRACE(one.name + "\n" + one.text);
    const ParseResult result = parse_text(one.text, "test.conf");
    if (!result.ok()) continue;  // MeetTheFateTheyMeetInConntrackd looks at these
    EXPECT_TRUE(may_start(result.config));
  }
}

}  // namespace
}  // namespace ctsync::config
