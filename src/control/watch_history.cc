// SPDX-License-Identifier: GPL-2.0-or-later
#include "watch_history.h"

#include <chrono>
#include <limits>
#include <utility>

namespace ctsync::control {

void WatchHistory::add(TimePoint at, Samples samples) {
  before_ = std::exchange(now_, Moment{at, std::move(samples)});
  constexpr std::string_view kUptime = "ctsyncd_uptime_seconds";
  if (before_ && before_->samples.value(kUptime) > now().value(kUptime)) before_.reset();  // it has restarted

  std::map<std::string, std::deque<double>> lags;
  for (const auto& peer : now().values_of("peer", "ctsyncd_peer_state")) {
    auto& own = lags[peer] = std::move(lags_[peer]);
    own.push_back(
        now().value("ctsyncd_peer_lag_seconds", {{"peer", peer}}).value_or(std::numeric_limits<double>::quiet_NaN()));
    if (own.size() > kMostLags) own.pop_front();
  }
  lags_ = std::move(lags);
}

std::optional<double> WatchHistory::growth(std::string_view counter, const std::vector<Label>& labels) const {
  if (!before_) return std::nullopt;
  const auto from = before_->samples.sum(counter, labels);
  const auto to = now().sum(counter, labels);
  if (!from || !to || *to < *from) return std::nullopt;
  return *to - *from;
}

std::optional<double> WatchHistory::rate(std::string_view counter, const std::vector<Label>& labels) const {
  const auto more = growth(counter, labels);
  if (!more || now_->at <= before_->at) return std::nullopt;
  return *more / std::chrono::duration<double>(now_->at - before_->at).count();
}

std::optional<double> WatchHistory::mean(const std::string& histogram) const {
  const auto sum = growth(histogram + "_sum", {});
  const auto count = growth(histogram + "_count", {});
  if (!sum || !count || *count <= 0) return std::nullopt;
  return *sum / *count;
}

const std::deque<double>& WatchHistory::lags(const std::string& peer) const {
  static const std::deque<double> none;
  const auto found = lags_.find(peer);
  return found == lags_.end() ? none : found->second;
}

}  // namespace ctsync::control
