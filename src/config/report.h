// SPDX-License-Identifier: GPL-2.0-or-later
// Collects the diagnostics of one file. Bounded: at most kMaxErrors errors and as many warnings as kMaxWarnings are
// kept. Text taken from the file is made printable and cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctsync/config/diagnostic.h"
#include "position.h"

namespace ctsync::config {

inline constexpr std::size_t kMaxWarnings = 100;

// `text` with everything but printable ASCII as \xHH, cut after 300 bytes (any valid path or name is shorter).
std::string printable(std::string_view text);

class Report {
 public:
  explicit Report(std::string file) : file_(std::move(file)) {}

  void warning(Position where, std::string text);
  void error(Position where, std::string text, std::string hint = {});
  void whole_file_warning(std::string text);
  void whole_file_error(std::string text);

  bool has_errors() const { return errors_ != 0; }
  bool is_full() const;  // no further error is kept
  std::vector<Diagnostic> take() { return std::move(diagnostics_); }

 private:
  void add(Severity severity, int line, int column, std::string text, std::string hint = {});

  std::string file_;
  std::vector<Diagnostic> diagnostics_;
  std::size_t errors_ = 0;
  std::size_t warnings_ = 0;
};

}  // namespace ctsync::config
