// SPDX-License-Identifier: GPL-2.0-or-later
// What `--metrics` prints (OpenMetrics text, doc/metrics.md), read back: numbers by name and labels. Pure and bounded;
// it takes the text of a daemon of another version, and ignores what it does not know.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ctsync::control {

struct Label {
  std::string_view name;
  std::string_view value;
};

class Samples {
 public:
  static constexpr std::size_t kMost = 4096;

  // Nothing if the text is not whole (its end, "# EOF", is missing), has a line that is none of the format, or more
  // than kMost samples.
  static std::optional<Samples> parse(std::string_view text);

  // Of the first sample with this name and all of these labels; it may have more. Nothing: there is none.
  std::optional<double> value(std::string_view name, const std::vector<Label>& labels = {}) const;
  // The sum of all such samples.
  std::optional<double> sum(std::string_view name, const std::vector<Label>& labels = {}) const;
  // What a label says in the samples of a name, each text once, in their order.
  std::vector<std::string> values_of(std::string_view label, std::string_view name) const;
  // What a label says in the first sample with this name and all of these labels.
  std::optional<std::string> text(std::string_view label, std::string_view name,
                                  const std::vector<Label>& labels = {}) const;
  // The same, of those alone that are not 0: a state is a sample for each value that it can have.
  std::optional<std::string> state(std::string_view label, std::string_view name,
                                   const std::vector<Label>& labels = {}) const;

 private:
  struct OwnLabel {
    std::string name;
    std::string value;
  };
  struct Sample {
    std::string name;
    std::vector<OwnLabel> labels;
    double value = 0;

    bool has(const std::vector<Label>& wanted) const;
    const std::string* label(std::string_view wanted) const;
  };
  static std::optional<Sample> parse_line(std::string_view line);
  static bool parse_labels(std::string_view& rest, std::vector<OwnLabel>& labels);

  std::vector<Sample> samples_;
};

}  // namespace ctsync::control
