// SPDX-License-Identifier: GPL-2.0-or-later
#include "watch_frame.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

namespace ctsync::control {
namespace {

TimePoint at(int milliseconds) { return TimePoint(std::chrono::milliseconds(milliseconds)); }

// What a node of a pair says, in the words of doc/metrics.md. `n` is what all counters have gone on by.
std::string metrics(int n, double lag = 0.02) {
  return fmt::format(R"(# TYPE ctsyncd_build gauge
ctsyncd_build_info{{version="0.1.0"}} 1
ctsyncd_uptime_seconds {0}
ctsyncd_role{{role="primary"}} 1
ctsyncd_role{{role="backup"}} 0
ctsyncd_role{{role="unknown"}} 0
ctsyncd_kernel_events_total {1}
ctsyncd_kernel_events_filtered_total 7
ctsyncd_kernel_overruns_total 3
ctsyncd_cache_entries{{cache="internal",object="connection"}} 123456
ctsyncd_cache_dead_entries{{cache="internal",object="connection"}} 4
ctsyncd_cache_operations_total{{cache="internal",object="connection",operation="create"}} {1}
ctsyncd_cache_operations_total{{cache="internal",object="connection",operation="update"}} {2}
ctsyncd_cache_operations_total{{cache="internal",object="connection",operation="destroy"}} {0}
ctsyncd_cache_failures_total{{cache="internal",object="connection",operation="create",reason="no_space"}} 1
ctsyncd_cache_failures_total{{cache="internal",object="connection",operation="create",reason="other"}} 1
ctsyncd_cache_entries{{cache="internal",object="expectation"}} 99
ctsyncd_cache_operations_total{{cache="external",object="connection",operation="create"}} {0}
ctsyncd_cache_operations_total{{cache="external",object="connection",operation="update"}} 0
ctsyncd_cache_operations_total{{cache="external",object="connection",operation="destroy"}} 0
ctsyncd_commit_duration_seconds_sum 1.5
ctsyncd_commit_duration_seconds_count 2
ctsyncd_commit_entries_total{{result="committed"}} 200000
ctsyncd_commit_entries_total{{result="failed"}} 5
ctsyncd_link_up{{link="0",device="sync0",transport="udp"}} 1
ctsyncd_link_up{{link="1",device="sync1",transport="udp"}} 0
ctsyncd_link_active{{link="0",device="sync0",transport="udp"}} 1
ctsyncd_link_active{{link="1",device="sync1",transport="udp"}} 0
ctsyncd_link_sent_bytes_total{{link="0",device="sync0",transport="udp"}} {2}
ctsyncd_link_sent_bytes_total{{link="1",device="sync1",transport="udp"}} 0
ctsyncd_link_received_bytes_total{{link="0",device="sync0",transport="udp"}} {1}
ctsyncd_link_received_bytes_total{{link="1",device="sync1",transport="udp"}} 0
ctsyncd_link_sent_packets_total{{link="0",device="sync0",transport="udp"}} {1}
ctsyncd_link_received_packets_total{{link="0",device="sync0",transport="udp"}} {0}
ctsyncd_link_send_errors_total{{link="0",device="sync0",transport="udp"}} 0
ctsyncd_link_send_errors_total{{link="1",device="sync1",transport="udp"}} {0}
ctsyncd_messages_malformed_total{{reason="bad_header"}} 1
ctsyncd_messages_malformed_total{{reason="bad_size"}} 2
ctsyncd_messages_lost_total 8
ctsyncd_queue_elements{{queue="rsqueue"}} 12
ctsyncd_queue_capacity_elements{{queue="rsqueue"}} 131072
ctsyncd_peer_state{{peer="10.77.9.2",state="in_sync"}} 1
ctsyncd_peer_state{{peer="10.77.9.2",state="lost"}} 0
ctsyncd_peer_state{{peer="10.77.9.3",state="in_sync"}} 0
ctsyncd_peer_state{{peer="10.77.9.3",state="catching_up"}} 1
ctsyncd_peer_lag_seconds{{peer="10.77.9.2"}} {3}
ctsyncd_peer_unacknowledged_messages{{peer="10.77.9.2"}} 12
ctsyncd_peer_held_connections{{peer="10.77.9.2"}} 654321
ctsyncd_peer_messages_total{{peer="10.77.9.2"}} {0}
ctsyncd_replication_delay_seconds_sum {0}
ctsyncd_replication_delay_seconds_count {1}
# EOF
)",
                     n, 10 * n, 2500 * n, lag);
}

void add(WatchHistory& history, TimePoint t, const std::string& text) {
  auto samples = Samples::parse(text);
  ASSERT_TRUE(samples);
  history.add(t, std::move(*samples));
}

std::vector<std::string> texts(const std::vector<Line>& lines) {
  std::vector<std::string> r;
  for (const auto& line : lines) r.push_back(plain_text(line));
  return r;
}

// Bytes that begin a character: each of these is one column.
std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

class WatchFrame : public testing::Test {
 protected:
  WatchFrame() {
    add(history_, at(0), metrics(100000, 0));
    add(history_, at(1000), metrics(100003, 0.01));
    add(history_, at(2000), metrics(100005));
  }
  WatchView view() const {
    return {.history = history_,
            .silence = std::nullopt,
            .time = "12:34:56",
            .interval = std::chrono::seconds(1),
            .paused = false,
            .keys = true,
            .blocks = true};
  }
  std::string line_with(const std::string& word, Size size = {80, 24}) const {
    for (const auto& text : texts(draw(view(), size))) {
      if (text.find(word) != std::string::npos) return text;
    }
    return "";
  }

  WatchHistory history_;
};

TEST_F(WatchFrame, OnAnOrdinaryTerminal) {
  const std::vector<std::string> expected = {
      "ctsyncd 0.1.0  primary  up 1d 03:46:45  12:34:56  every 1 s",
      "",
      "kernel          20 events/s         0 filtered/s         3 overruns",
      "",
      "cache       active     total     new/s  change/s     end/s    failed",
      "internal    123456    123460        20      5000       2.0         2",
      "external         -         -       2.0         0         0         -",
      "",
      "peer       state             lag   unacked      held  lag over time",
      "10.77.9.2  in sync         20 ms        12    654321  \u2581\u2585\u2588",
      "10.77.9.3  catching up         -         -         -     ",
      "",
      "link       state              sent    received    errors",
      "sync0 udp  active         5.0 kB/s      20 B/s         0",
      "sync1 udp  down              0 B/s       0 B/s    100005",
      "",
      "messages       2.0 received/s         8 lost         3 malformed",
      "packets        2.0 received/s        20 sent/s",
      "resend          12 waiting  of 131072  delay 100 ms",
      "commits          2 done  200000 entries  5 failed  750 ms each",
      "",
      "",
      "",
      "q quits, space pauses",
  };
  EXPECT_EQ(texts(draw(view(), {80, 24})), expected);
}

TEST_F(WatchFrame, FitsIntoAnyTerminal) {
  for (const int columns : {0, 1, 2, 7, 20, 39, 40, 41, 79, 80, 200, 1000}) {
    for (const int rows : {0, 1, 2, 3, 9, 10, 11, 16, 17, 18, 23, 24, 25, 50}) {
      auto v = view();
      v.silence = Silence{std::chrono::seconds(5), "Connection refused"};
      const auto lines = texts(draw(v, {columns, rows}));
      EXPECT_LE(lines.size(), static_cast<std::size_t>(rows)) << columns;
      for (const auto& line : lines) EXPECT_LE(columns_of(line), static_cast<std::size_t>(columns)) << line;
      if (rows > 0 && columns >= 7) {
        EXPECT_TRUE(lines.at(0).starts_with("ctsyncd"));
      }
    }
  }
}

TEST_F(WatchFrame, InASmallTerminalTheFirstLinesAndColumns) {
  const std::vector<std::string> expected = {
      "ctsyncd 0.1.0  primary  up 1d 03:46:45", "kernel          20 events/s",
      "cache       active     total     new/s", "internal    123456    123460        20",
      "external         -         -       2.0", "peer       state             lag",
      "10.77.9.2  in sync         20 ms",       "10.77.9.3  catching up         -",
      "link       state              sent",     "... 6 more lines",
  };
  EXPECT_EQ(texts(draw(view(), {40, 10})), expected);
}

TEST_F(WatchFrame, ADaemonThatDoesNotAnswer) {
  auto v = view();
  v.silence = Silence{std::chrono::seconds(5), "Connection refused"};
  const auto lines = texts(draw(v, {80, 24}));
  EXPECT_EQ(lines.at(1), "daemon does not answer, since 5 s  Connection refused  what it said last:");
  EXPECT_TRUE(lines.at(3).starts_with("kernel"));
  const WatchHistory none;
  const WatchView never{.history = none,
                        .silence = Silence{std::chrono::seconds(0), ""},
                        .time = "12:34:56",
                        .interval = std::chrono::seconds(10)};
  EXPECT_EQ(texts(draw(never, {80, 24})),
            (std::vector<std::string>{"ctsyncd  12:34:56  every 10 s", "daemon does not answer, since 0 s"}));
}

TEST_F(WatchFrame, TonesSayWhatIsWrong) {
  const auto tone_of = [this](const std::string& text) {
    for (const auto& line : draw(view(), {80, 24})) {
      for (const auto& piece : line) {
        if (piece.text.find(text) != std::string::npos) return piece.tone;
      }
    }
    ADD_FAILURE() << text;
    return Tone::plain;
  };
  EXPECT_EQ(tone_of("in sync"), Tone::good);
  EXPECT_EQ(tone_of("catching up"), Tone::warning);
  EXPECT_EQ(tone_of("active     "), Tone::good);
  EXPECT_EQ(tone_of("down"), Tone::bad);
  EXPECT_EQ(tone_of("  100005"), Tone::bad) << "errors of the second link go on";
  EXPECT_EQ(tone_of("3 overruns"), Tone::plain) << "long ago";
}

TEST_F(WatchFrame, APausedOneSaysSo) {
  auto v = view();
  v.paused = true;
  EXPECT_NE(texts(draw(v, {80, 24})).at(0).find("  paused  "), std::string::npos);
  EXPECT_EQ(line_with("paused"), "");
}

TEST_F(WatchFrame, KeysAreNamedWhereThereAreSome) {
  auto v = view();
  EXPECT_EQ(texts(draw(v, {80, 24})).size(), 24U);
  EXPECT_EQ(texts(draw(v, {80, 24})).back(), "q quits, space pauses");
  v.keys = false;
  EXPECT_LT(texts(draw(v, {80, 24})).size(), 24U);
}

TEST_F(WatchFrame, NothingIsMadeUp) {
  WatchHistory history;
  add(history, at(0), "ctsyncd_build_info{version=\"0.1.0\"} 1\nctsyncd_kernel_events_total 5\n# EOF\n");
  auto v = view();
  const WatchView statistics{
      .history = history, .silence = std::nullopt, .time = "12:34:56", .interval = std::chrono::seconds(1)};
  EXPECT_EQ(texts(draw(statistics, {80, 24})),
            (std::vector<std::string>{"ctsyncd 0.1.0  up -  12:34:56  every 1 s", "",
                                      "kernel           - events/s         - filtered/s         - overruns"}));
}

TEST_F(WatchFrame, NamesCannotWriteToTheTerminal) {
  WatchHistory history;
  add(history, at(0),
      "ctsyncd_build_info{version=\"\x1b[2J\xc2\x9b\\n\"} "
      "1\nctsyncd_peer_state{peer=\"a\x1b]0;b\x07\",state=\"\x1b\x7f\"} 1\n"
      "ctsyncd_link_up{link=\"0\",device=\"\x1b\",transport=\"\r\"} 1\n# EOF\n");
  const WatchView v{
      .history = history, .silence = std::nullopt, .time = "12:34:56", .interval = std::chrono::seconds(1)};
  const auto lines = texts(draw(v, {80, 24}));
  EXPECT_TRUE(lines.at(0).starts_with("ctsyncd ?[2J???  ")) << lines.at(0);
  for (const auto& line : lines) {
    EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; })) << line;
  }
}

TEST_F(WatchFrame, NumbersOfAnySizeKeepTheirColumns) {
  for (const char* number : {"0", "9999999", "10000000", "1e9", "1e15", "1e300", "+Inf", "NaN", "-1", "1e-300"}) {
    WatchHistory history;
    add(history, at(0),
        fmt::format(
            "ctsyncd_uptime_seconds {0}\nctsyncd_cache_entries{{cache=\"internal\",object=\"connection\"}} {0}\n"
            "ctsyncd_cache_operations_total{{cache=\"internal\",object=\"connection\",operation=\"create\"}} {0}\n"
            "# EOF\n",
            number));
    const WatchView v{.history = history, .silence = std::nullopt, .time = "", .interval = std::chrono::seconds(1)};
    const auto lines = texts(draw(v, {80, 24}));
    EXPECT_EQ(columns_of(lines.back()), 68U) << lines.back();
    EXPECT_LT(lines.front().size(), 50U) << lines.front();
  }
}

// Recorded from a node of a pair with 2000 new connections a second.
TEST(WatchFrameOfARealNode, HasEverything) {
  std::ifstream file(CTSYNC_TEST_DATA "/metrics.txt");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  WatchHistory history;
  add(history, at(0), text);
  const WatchView v{
      .history = history, .silence = std::nullopt, .time = "12:34:56", .interval = std::chrono::seconds(1)};
  const std::vector<std::string> expected = {
      "ctsyncd 0.1.0  primary  up 00:00:15  12:34:56  every 1 s",
      "",
      "kernel           - events/s         - filtered/s         0 overruns",
      "",
      "cache       active     total     new/s  change/s     end/s    failed",
      "internal     32000     32000         -         -         -         0",
      "external         0         0         -         -         -         0",
      "",
      "peer       state             lag   unacked      held  lag over time",
      "10.77.9.2  catching up     20 ms         2         0  #",
      "",
      "link       state              sent    received    errors",
      "sync0 udp  active                -           -         0",
      "",
      "messages         - received/s         0 lost         0 malformed",
      "packets          - received/s         - sent/s",
      "resend           2 waiting  of 131072",
      "commits          1 done  0 entries  0 failed  54 us each",
  };
  EXPECT_EQ(texts(draw(v, {80, 24})), expected);
}

TEST(Sparkline, FromNothingToTheLargestThatIsShown) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(sparkline({0, 0.5, 1}, 3, true), "\u2581\u2585\u2588");
  EXPECT_EQ(sparkline({0, 0.5, 1}, 3, false), "_=#");
  EXPECT_EQ(sparkline({100, 0, 0.5, 1}, 3, false), "_=#") << "the last ones";
  EXPECT_EQ(sparkline({0, 0}, 4, false), "__");
  EXPECT_EQ(sparkline({none, 2, -1, INFINITY}, 4, false), " #_ ");
  EXPECT_EQ(sparkline({0.001, 1}, 2, false), ".#") << "little is not nothing";
  EXPECT_EQ(sparkline({}, 2, true), "");
  EXPECT_EQ(sparkline({1}, 0, true), "");
}

}  // namespace
}  // namespace ctsync::control
