// SPDX-License-Identifier: GPL-2.0-or-later
#include "samples.h"

#include <algorithm>
#include <charconv>

namespace ctsync::control {
namespace {

constexpr std::string_view kEnd = "# EOF";

bool is_of_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

// What stands before the first character that is of no name.
std::string_view take_name(std::string_view& rest) {
  const auto end = std::find_if_not(rest.begin(), rest.end(), is_of_name);
  const auto name = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
  rest.remove_prefix(name.size());
  return name;
}

bool take(std::string_view& rest, char c) {
  if (!rest.starts_with(c)) return false;
  rest.remove_prefix(1);
  return true;
}

// Behind the opening quotation mark, the closing one included.
std::optional<std::string> take_text(std::string_view& rest) {
  std::string text;
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"') return text;
    if (c != '\\') {
      text += c;
      continue;
    }
    if (rest.empty()) return std::nullopt;
    text += rest.front() == 'n' ? '\n' : rest.front();
    rest.remove_prefix(1);
  }
  return std::nullopt;
}

// What may follow, a time or an exemplar, is not wanted.
std::optional<double> number_at_front(std::string_view text) {
  text = text.substr(0, text.find(' '));
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

const std::string* Samples::Sample::label(std::string_view wanted) const {
  for (const auto& l : labels) {
    if (l.name == wanted) return &l.value;
  }
  return nullptr;
}

bool Samples::Sample::has(const std::vector<Label>& wanted) const {
  return std::all_of(wanted.begin(), wanted.end(), [this](const Label& w) {
    const auto* found = label(w.name);
    return found != nullptr && *found == w.value;
  });
}

bool Samples::parse_labels(std::string_view& rest, std::vector<OwnLabel>& labels) {
  while (!take(rest, '}')) {
    if (!labels.empty() && !take(rest, ',')) return false;
    const auto name = take_name(rest);
    if (name.empty() || !take(rest, '=') || !take(rest, '"')) return false;
    auto value = take_text(rest);
    if (!value) return false;
    labels.push_back({std::string(name), std::move(*value)});
  }
  return true;
}

std::optional<Samples::Sample> Samples::parse_line(std::string_view line) {
  Sample sample;
  sample.name = take_name(line);
  if (sample.name.empty()) return std::nullopt;
  if (take(line, '{') && !parse_labels(line, sample.labels)) return std::nullopt;
  if (!take(line, ' ')) return std::nullopt;
  const auto value = number_at_front(line);
  if (!value) return std::nullopt;
  sample.value = *value;
  return sample;
}

std::optional<Samples> Samples::parse(std::string_view text) {
  Samples r;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line == kEnd) return text.empty() ? std::optional(std::move(r)) : std::nullopt;
    if (line.starts_with('#')) continue;
    auto sample = parse_line(line);
    if (!sample || r.samples_.size() == kMost) return std::nullopt;
    r.samples_.push_back(std::move(*sample));
  }
  return std::nullopt;
}

std::optional<double> Samples::value(std::string_view name, const std::vector<Label>& labels) const {
  for (const auto& s : samples_) {
    if (s.name == name && s.has(labels)) return s.value;
  }
  return std::nullopt;
}

std::optional<double> Samples::sum(std::string_view name, const std::vector<Label>& labels) const {
  std::optional<double> total;
  for (const auto& s : samples_) {
    if (s.name == name && s.has(labels)) total = total.value_or(0) + s.value;
  }
  return total;
}

std::vector<std::string> Samples::values_of(std::string_view label, std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& s : samples_) {
    const auto* value = s.name == name ? s.label(label) : nullptr;
    if (value != nullptr && std::find(values.begin(), values.end(), *value) == values.end()) values.push_back(*value);
  }
  return values;
}

std::optional<std::string> Samples::text(std::string_view label, std::string_view name,
                                         const std::vector<Label>& labels) const {
  for (const auto& s : samples_) {
    const auto* value = s.name == name && s.has(labels) ? s.label(label) : nullptr;
    if (value != nullptr) return *value;
  }
  return std::nullopt;
}

std::optional<std::string> Samples::state(std::string_view label, std::string_view name,
                                          const std::vector<Label>& labels) const {
  for (const auto& s : samples_) {
    const auto* value = s.name == name && s.value != 0 && s.has(labels) ? s.label(label) : nullptr;
    if (value != nullptr) return *value;
  }
  return std::nullopt;
}

}  // namespace ctsync::control
