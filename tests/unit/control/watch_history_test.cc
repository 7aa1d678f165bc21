// SPDX-License-Identifier: GPL-2.0-or-later
#include "watch_history.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ctsync::control {
namespace {

TimePoint at(int milliseconds) { return TimePoint(std::chrono::milliseconds(milliseconds)); }

Samples samples(const std::string& lines) { return *Samples::parse(lines + "# EOF\n"); }

Samples counted(int uptime, int first, int second) {
  return samples(
      fmt::format("ctsyncd_uptime_seconds {}\nc_total{{x=\"1\"}} {}\nc_total{{x=\"2\"}} {}\n", uptime, first, second));
}

TEST(WatchHistory, RatesAreThoseSinceTheTimeBefore) {
  WatchHistory h;
  EXPECT_TRUE(h.empty());
  h.add(at(0), counted(10, 100, 1000));
  EXPECT_FALSE(h.empty());
  EXPECT_EQ(h.rate("c_total"), std::nullopt) << "of one there is none";
  h.add(at(2000), counted(12, 110, 1000));
  EXPECT_EQ(h.rate("c_total", {{"x", "1"}}), 5);
  EXPECT_EQ(h.rate("c_total", {{"x", "2"}}), 0);
  EXPECT_EQ(h.rate("c_total"), 5);
  EXPECT_EQ(h.rate("d_total"), std::nullopt);
  h.add(at(2500), counted(12, 110, 1001));
  EXPECT_EQ(h.rate("c_total"), 2);
}

TEST(WatchHistory, NoRatesOverARestart) {
  WatchHistory h;
  h.add(at(0), counted(10, 100, 1000));
  h.add(at(1000), counted(1, 500, 2000));
  EXPECT_EQ(h.rate("c_total"), std::nullopt) << "these are others, though more";
  h.add(at(2000), counted(2, 501, 2000));
  EXPECT_EQ(h.rate("c_total"), 1);
  h.add(at(3000), counted(3, 0, 0));
  EXPECT_EQ(h.rate("c_total"), std::nullopt);
}

TEST(WatchHistory, MeanOfWhatIsNew) {
  WatchHistory h;
  h.add(at(0), samples("h_sum 10\nh_count 100\n"));
  EXPECT_EQ(h.mean("h"), std::nullopt);
  h.add(at(1000), samples("h_sum 13\nh_count 102\n"));
  EXPECT_EQ(h.mean("h"), 1.5);
  h.add(at(2000), samples("h_sum 13\nh_count 102\n"));
  EXPECT_EQ(h.mean("h"), std::nullopt) << "no new value";
}

Samples lag(const std::string& peer, double seconds) {
  return samples(
      fmt::format("ctsyncd_peer_state{{peer=\"{0}\",state=\"lost\"}} 0\n"
                  "ctsyncd_peer_lag_seconds{{peer=\"{0}\"}} {1}\n",
                  peer, seconds));
}

TEST(WatchHistory, LagsOfThePeersThatAreThere) {
  WatchHistory h;
  h.add(at(0), lag("a", 0.5));
  h.add(at(1000), lag("a", 1));
  EXPECT_EQ(h.lags("a"), (std::deque<double>{0.5, 1}));
  EXPECT_TRUE(h.lags("b").empty());
  h.add(at(2000), samples("ctsyncd_peer_state{peer=\"a\",state=\"lost\"} 1\n"));
  ASSERT_EQ(h.lags("a").size(), 3U);
  EXPECT_TRUE(std::isnan(h.lags("a").back())) << "none is told: not 0";
  h.add(at(3000), lag("b", 2));
  EXPECT_TRUE(h.lags("a").empty());
  for (int i = 0; i < 2 * static_cast<int>(WatchHistory::kMostLags); ++i) h.add(at(4000 + i), lag("b", i));
  EXPECT_EQ(h.lags("b").size(), WatchHistory::kMostLags);
  EXPECT_EQ(h.lags("b").back(), 2.0 * static_cast<double>(WatchHistory::kMostLags) - 1);
}

}  // namespace
}  // namespace ctsync::control
