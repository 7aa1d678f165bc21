// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/config/explain.h"

#include <fmt/format.h>

#include "hint.h"
#include "keywords.h"
#include "report.h"

namespace ctsync::config {
namespace {

std::string_view shown(Section section) { return section == Section::top ? "top level" : to_string(section); }

}  // namespace

std::string explain(std::string_view keyword) {
  std::string text;
  for (const Keyword& k : keywords()) {
    if (!equals_ignoring_case(k.name, keyword)) continue;
    if (!text.empty()) text += '\n';
    text += fmt::format("{} {}\n  section: {}\n", k.name, to_string(k.argument), shown(k.section));
    if (!k.default_text.empty()) text += fmt::format("  default: {}\n", k.default_text);
    if (!k.alias_of.empty()) text += fmt::format("  old name of: {}\n", k.alias_of);
    text += fmt::format("  meaning: {}\n", k.help);
  }
  return text;
}

std::string list_keywords() {
  std::string text;
  const Keyword* previous = nullptr;
  for (const Keyword& k : keywords()) {
    if (previous == nullptr || previous->section != k.section) text += fmt::format("{}:\n", shown(k.section));
    text += fmt::format("  {} {}\n", k.name, to_string(k.argument));
    previous = &k;
  }
  return text;
}

std::string unknown_keyword(std::string_view word) {
  const std::string hint = hint_for(word, {});
  return fmt::format("no keyword `{}'{}{}", printable(word), hint.empty() ? "" : ": ", hint);
}

}  // namespace ctsync::config
