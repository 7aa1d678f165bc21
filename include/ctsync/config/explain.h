// SPDX-License-Identifier: GPL-2.0-or-later
// What a keyword means, from the table that the parser and the manual page are tested against.
#pragma once

#include <string>
#include <string_view>

namespace ctsync::config {

// Section, syntax, default and meaning, once for each section that has the keyword; case does not matter. Empty if no
// section has it.
std::string explain(std::string_view keyword);

// All keywords, by section.
std::string list_keywords();

// Says that there is no such keyword, and what was probably meant.
std::string unknown_keyword(std::string_view word);

}  // namespace ctsync::config
