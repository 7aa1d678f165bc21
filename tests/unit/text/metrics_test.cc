// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/text/metrics.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <vector>

namespace ctsync::text {
namespace {

using std::chrono::milliseconds;

std::string metrics_of(const Snapshot& s, MetricsForm form = MetricsForm::openmetrics) {
  std::string out;
  append_metrics(out, form, s);
  return out;
}

// Every family has a sample.
Snapshot full() {
  Snapshot s;
  s.mode = Snapshot::Mode::sync;
  s.with_expectations = true;
  s.internal = CacheNumbers{.active = 5, .total = 7, .created = 9, .create_failed = 6, .no_memory = 1, .no_space = 2};
  s.internal_expectations = CacheNumbers{};
  s.external = CacheNumbers{.active = 3, .total = 3, .updated = 4, .update_failed = 8};
  s.external_expectations = CacheNumbers{};
  s.links = {{.kind = LinkKind::tcp, .device = "sync", .active = true, .client_connected = true, .sent_bytes = 12}};
  s.queues = {{.name = "txqueue", .elements = 1, .maximum = 2147483647},
              {.name = "rsqueue", .elements = 2, .maximum = 100, .no_space = 3}};
  s.peers = {{.name = "192.0.2.1", .state = PeerState::in_sync, .round_trip = 250, .lag = 0},
             {.name = "192.0.2.1", .state = PeerState::lost}};
  s.comparison.emplace();
  s.mirror.emplace();
  s.turns.add(milliseconds(3));
  s.commits.emplace();
  s.delays.emplace();
  s.role = Role::backup;
  s.health = Health::filling;
  return s;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

// Name (that of the samples; of histograms without suffix) and type, as an answer tells them.
std::map<std::string, std::string> types_in(const std::string& text) {
  std::map<std::string, std::string> types;
  for (const auto& line : lines_of(text)) {
    std::istringstream words(line);
    std::string hash, what, name, type;
    words >> hash >> what >> name >> type;
    if (what == "TYPE") types[type == "counter" ? name + "_total" : name] = type;
  }
  return types;
}

// As doc/metrics.md tells them.
std::map<std::string, std::string> types_in_document() {
  std::map<std::string, std::string> types;
  std::ifstream in(CTSYNC_DOC "/metrics.md");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("| `ctsyncd_")) continue;
    const auto name = line.substr(3, line.find('`', 3) - 3);
    const auto type = line.substr(line.find("| ", 3) + 2);
    types[name] = type.substr(0, type.find(' '));
  }
  return types;
}

TEST(Metrics, AreThoseOfTheDocument) {
  const auto exported = types_in(metrics_of(full()));
  EXPECT_GT(exported.size(), 50U);
  EXPECT_EQ(exported, types_in_document());
}

// The rules of OpenMetrics that a reader depends on.
TEST(Metrics, AreWellFormed) {
  const auto text = metrics_of(full());
  EXPECT_TRUE(text.ends_with("\n# EOF\n"));
  std::set<std::string> families;
  std::set<std::string> samples;
  std::string family;
  std::string type;
  for (const auto& line : lines_of(text)) {
    if (line == "# EOF") continue;
    std::istringstream words(line);
    std::string first, second, third;
    words >> first >> second >> third;
    if (first == "#" && second == "HELP") {
      EXPECT_TRUE(families.insert(third).second) << line;
      family = third;
    } else if (first == "#") {
      EXPECT_EQ(third, family) << line;
      std::string value;
      words >> value;
      if (second == "TYPE") type = value;
      if (second == "UNIT") {
        EXPECT_TRUE(family.ends_with("_" + value)) << line;
      }
    } else {
      const auto name = line.substr(0, line.find_first_of(" {"));
      const auto suffix = name.substr(family.size());
      EXPECT_TRUE(name.starts_with(family)) << line;
      EXPECT_TRUE(type == "gauge"     ? suffix.empty()
                  : type == "counter" ? suffix == "_total"
                                      : suffix == "_bucket" || suffix == "_sum" || suffix == "_count")
          << line;
      EXPECT_TRUE(samples.insert(line.substr(0, line.rfind(' '))).second) << "twice: " << line;
      EXPECT_FALSE(line.substr(line.rfind(' ') + 1).empty());
    }
  }
  EXPECT_GT(samples.size(), 120U);
}

TEST(Metrics, HaveTheirNumbers) {
  const auto text = metrics_of(full());
  for (const char* line :
       {"ctsyncd_cache_entries{cache=\"internal\",object=\"connection\"} 5",
        "ctsyncd_cache_dead_entries{cache=\"internal\",object=\"connection\"} 2",
        "ctsyncd_cache_operations_total{cache=\"external\",object=\"connection\",operation=\"update\"} 4",
        "ctsyncd_cache_failures_total{cache=\"internal\",object=\"connection\",operation=\"create\",reason=\"no_"
        "space\"} 2",
        "ctsyncd_cache_failures_total{cache=\"internal\",object=\"connection\",operation=\"create\",reason=\"other\"} "
        "3",
        "ctsyncd_link_up{link=\"0\",device=\"sync\",transport=\"tcp\"} 1",
        "ctsyncd_link_connected{link=\"0\",device=\"sync\",transport=\"tcp\",side=\"client\"} 1",
        "ctsyncd_link_connected{link=\"0\",device=\"sync\",transport=\"tcp\",side=\"server\"} 0",
        "ctsyncd_link_sent_bytes_total{link=\"0\",device=\"sync\",transport=\"tcp\"} 12",
        "ctsyncd_queue_capacity_elements{queue=\"rsqueue\"} 100",
        "ctsyncd_role{role=\"backup\"} 1",
        "ctsyncd_role{role=\"primary\"} 0",
        "ctsyncd_health_status 11",
        "ctsyncd_peer_state{peer=\"192.0.2.1\",state=\"in_sync\"} 1",
        "ctsyncd_peer_state{peer=\"192.0.2.1#2\",state=\"in_sync\"} 0",
        "ctsyncd_peer_round_trip_seconds{peer=\"192.0.2.1\"} 0.00025",
        "ctsyncd_loop_turn_seconds_bucket{le=\"0.002048\"} 0",
        "ctsyncd_loop_turn_seconds_bucket{le=\"0.004096\"} 1",
        "ctsyncd_loop_turn_seconds_bucket{le=\"67.108864\"} 1",
        "ctsyncd_loop_turn_seconds_bucket{le=\"+Inf\"} 1",
        "ctsyncd_loop_turn_seconds_sum 0.003",
        "ctsyncd_loop_turn_seconds_count 1"}) {
    EXPECT_TRUE(has_line(text, line)) << line;
  }
  EXPECT_EQ(text.find("queue_capacity_elements{queue=\"txqueue\"}"), std::string::npos) << "has none";
}

TEST(Metrics, TheOlderFormatHasTheSameSamples) {
  const auto newer = metrics_of(full());
  const auto older = metrics_of(full(), MetricsForm::prometheus);
  const auto samples = [](const std::string& text) {
    auto lines = lines_of(text);
    std::erase_if(lines, [](const std::string& line) { return line.starts_with('#') && line != "# EOF"; });
    return lines;
  };
  EXPECT_EQ(samples(older), samples(newer));
  EXPECT_TRUE(has_line(newer, "# TYPE ctsyncd_link_sent_bytes counter"));
  EXPECT_TRUE(has_line(newer, "# UNIT ctsyncd_link_sent_bytes bytes"));
  EXPECT_TRUE(has_line(older, "# TYPE ctsyncd_link_sent_bytes_total counter"));
}

TEST(Metrics, LeaveOutWhatThereIsNot) {
  Snapshot s;
  auto text = metrics_of(s);  // neither Sync nor Stats
  EXPECT_TRUE(has_line(text, "ctsyncd_uptime_seconds 0"));
  for (const char* name : {"cache_", "kernel_", "link_", "peer_", "role", "health", "commit", "queue_", "messages_"}) {
    EXPECT_EQ(text.find(std::string("ctsyncd_") + name), std::string::npos) << name;
  }
  s.mode = Snapshot::Mode::statistics;
  text = metrics_of(s);
  EXPECT_TRUE(has_line(text, "ctsyncd_cache_entries{cache=\"internal\",object=\"connection\"} 0"));
  EXPECT_EQ(text.find("external"), std::string::npos);
  s.mode = Snapshot::Mode::sync;
  s.internal = BypassNumbers{.created = 3};
  s.external = InjectNumbers{.destroy_failed = 2};
  text = metrics_of(s);
  EXPECT_EQ(text.find("cache_entries"), std::string::npos);
  EXPECT_TRUE(has_line(
      text, "ctsyncd_cache_operations_total{cache=\"internal\",object=\"connection\",operation=\"create\"} 3"));
  EXPECT_TRUE(has_line(text,
                       "ctsyncd_cache_failures_total{cache=\"external\",object=\"connection\",operation=\"destroy\","
                       "reason=\"other\"} 2"));
}

TEST(Metrics, StringsOfAStrangerStayLabels) {
  Snapshot s = full();
  s.peers[0].software = "ctsyncd \"} 1\n\\\xff\x01";
  EXPECT_TRUE(has_line(metrics_of(s), "ctsyncd_peer_info{peer=\"192.0.2.1\",software=\"ctsyncd \\\"} 1?\\\\??\"} 1"));
}

}  // namespace
}  // namespace ctsync::text
