// SPDX-License-Identifier: GPL-2.0-or-later
#include "report.h"

#include <fmt/format.h>

#include "ctsync/config/parse.h"

namespace ctsync::config {

std::string printable(std::string_view text) {
  constexpr std::size_t kMaxShown = 300;
  std::string shown;
  for (const char c : text.substr(0, kMaxShown)) {
    if (c >= ' ' && c <= '~') {
      shown += c;
    } else {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kMaxShown) shown += "...";
  return shown;
}

void Report::add(Severity severity, int line, int column, std::string text, std::string hint) {
  const bool is_error = severity == Severity::error;
  std::size_t& count = is_error ? errors_ : warnings_;
  const std::size_t limit = is_error ? kMaxErrors : kMaxWarnings;
  if (++count > limit) return;
  diagnostics_.push_back({severity, file_, line, column, std::move(text), std::move(hint)});
  if (count == limit) {
    diagnostics_.push_back({severity,
                            file_,
                            line,
                            column,
                            is_error ? "too many errors, giving up" : "too many warnings, further ones left out",
                            {}});
  }
}

void Report::warning(Position where, std::string text) {
  add(Severity::warning, where.line, where.column, std::move(text));
}

void Report::error(Position where, std::string text, std::string hint) {
  add(Severity::error, where.line, where.column, std::move(text), std::move(hint));
}

void Report::whole_file_warning(std::string text) { add(Severity::warning, 0, 0, std::move(text)); }

void Report::whole_file_error(std::string text) { add(Severity::error, 0, 0, std::move(text)); }

bool Report::is_full() const { return errors_ >= kMaxErrors; }

std::string Diagnostic::to_string() const {
  if (line == 0) return fmt::format("{}: {}", file, text);
  return fmt::format("{}:{}:{}: {}", file, line, column, text);
}

}  // namespace ctsync::config
