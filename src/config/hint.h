// SPDX-License-Identifier: GPL-2.0-or-later
// What was probably meant by a word that may not stand where it does.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace ctsync::config {

bool equals_ignoring_case(std::string_view a, std::string_view b);

// The one of `candidates` that `word` is a misspelling of; empty if there is none.
std::string_view similar_word(std::string_view word, std::span<const std::string_view> candidates);

// A sentence for the user, from what may stand there and from the keyword table; empty if nothing comes to mind.
std::string hint_for(std::string_view word, std::span<const std::string_view> expected);

// For a word that follows a number without a blank, as in `64k'; empty if it is no unit.
std::string unit_hint(std::string_view number, std::string_view unit);

}  // namespace ctsync::config
