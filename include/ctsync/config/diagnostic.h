// SPDX-License-Identifier: GPL-2.0-or-later
// One complaint about a configuration file, tied to its place. Warnings never change the outcome; an error does.
#pragma once

#include <string>

namespace ctsync::config {

enum class Severity { warning, error };

struct Diagnostic {
  Severity severity = Severity::error;
  std::string file;
  int line = 0;      // from 1; 0: about the file as a whole
  int column = 0;    // in bytes, from 1
  std::string text;  // one line of printable text, without a newline

  std::string hint;  // for --check: what was probably meant; may be empty

  // "file:line:column: text", or "file: text" for the file as a whole.
  std::string to_string() const;
};

}  // namespace ctsync::config
