// SPDX-License-Identifier: GPL-2.0-or-later
// What the daemon has told so far, as far as a live view needs it: the samples of now, those before for rates, and the
// lags of the peers for their curves. Pure.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "ctsync/base/clock.h"
#include "samples.h"

namespace ctsync::control {

class WatchHistory {
 public:
  static constexpr std::size_t kMostLags = 240;

  void add(TimePoint at, Samples samples);

  // Nothing was told yet: none of the following may be asked.
  bool empty() const { return !now_; }
  const Samples& now() const { return now_->samples; }
  // Of a counter, all samples with these labels together, a second. Nothing before the second time, and after a restart.
  std::optional<double> rate(std::string_view counter, const std::vector<Label>& labels = {}) const;
  // Of the values that a histogram got since the time before. Nothing: it got none.
  std::optional<double> mean(const std::string& histogram) const;
  // Seconds, the oldest first; not a number where none was told.
  const std::deque<double>& lags(const std::string& peer) const;

 private:
  struct Moment {
    TimePoint at;
    Samples samples;
  };
  std::optional<double> growth(std::string_view counter, const std::vector<Label>& labels) const;

  std::optional<Moment> now_;
  std::optional<Moment> before_;  // nothing: there is none of the same daemon
  std::map<std::string, std::deque<double>> lags_;
};

}  // namespace ctsync::control
