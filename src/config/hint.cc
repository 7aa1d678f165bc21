// SPDX-License-Identifier: GPL-2.0-or-later
#include "hint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <vector>

#include "keywords.h"

namespace ctsync::config {
namespace {

constexpr std::size_t kLongestWord = 40;  // beyond, nothing is looked for

struct Successor {
  std::string_view old;
  std::string_view hint;
};

// Words of conntrackd 0.9.
constexpr std::array kSuccessors{
    Successor{"IgnoreTrafficFor", "of conntrackd 0.9; today `Address Ignore { ... }' in `Filter' of `General'"},
    Successor{"IgnoreProtocol", "of conntrackd 0.9; today `Protocol Ignore { ... }' in `Filter' of `General'"},
    Successor{"Replicate", "of conntrackd 0.9; today `State Accept { ... for TCP }' in `Filter' of `General'"},
    Successor{"CacheWriteThrough", "of conntrackd 0.9; today `DisableExternalCache' in `Mode'"},
    Successor{"McastSndSocketBuffer", "of conntrackd 0.9; today `SndSocketBuffer' in the block of the link"},
    Successor{"McastRcvSocketBuffer", "of conntrackd 0.9; today `RcvSocketBuffer' in the block of the link"},
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Levenshtein's distance, case ignored.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string sections_of(std::string_view word) {
  std::vector<std::string> sections;
  for (const Keyword& k : keywords()) {
    if (k.name == word && k.section != Section::top) sections.push_back(fmt::format("`{}'", to_string(k.section)));
  }
  return fmt::format("{}", fmt::join(sections, ", "));
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) { return std::ranges::equal(a, b, {}, lower, lower); }

std::string_view similar_word(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > kLongestWord) return {};
  std::string_view best;
  std::size_t least = std::min<std::size_t>(3, word.size() / 3) + 1;  // mistakes that make it another word
  for (const std::string_view candidate : candidates) {
    const std::size_t mistakes = edit_distance(word, candidate);
    if (mistakes >= least) continue;
    best = candidate;
    least = mistakes;
  }
  return best;
}

std::string hint_for(std::string_view word, std::span<const std::string_view> expected) {
  const auto* successor = std::ranges::find(kSuccessors, word, &Successor::old);
  if (successor != kSuccessors.end()) return std::string(successor->hint);
  if (const auto sections = sections_of(word); !sections.empty()) {
    return fmt::format("`{}' belongs into {}", word, sections);
  }
  if (const auto meant = similar_word(word, expected); !meant.empty()) return fmt::format("did you mean `{}'?", meant);
  std::vector<std::string_view> all;
  for (const Keyword& k : keywords()) {
    if (k.section != Section::top && k.alias_of.empty()) all.push_back(k.name);
  }
  const auto meant = similar_word(word, all);
  if (meant.empty()) return {};
  return fmt::format("did you mean `{}'? It belongs into {}", meant, sections_of(meant));
}

std::string unit_hint(std::string_view number, std::string_view unit) {
  if (number.empty()) return {};
  static constexpr std::array<std::string_view, 3> kUnits{"k", "m", "g"};
  for (std::size_t i = 0; i < kUnits.size(); ++i) {
    const auto is = [&](std::string_view rest) {
      return equals_ignoring_case(unit, fmt::format("{}{}", kUnits[i], rest));
    };
    if (!is("") && !is("b") && !is("ib")) continue;
    std::uint64_t value = 0;
    std::from_chars(number.data(), number.data() + number.size(), value);
    constexpr std::uint64_t kMost = std::uint64_t{1} << 32;
    const std::string all = value < kMost ? fmt::format(", such as {}", value << (10 * (i + 1))) : "";
    return fmt::format("numbers have no unit: write all digits{}", all);
  }
  return {};
}

}  // namespace ctsync::config
