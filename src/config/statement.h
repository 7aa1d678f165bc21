// SPDX-License-Identifier: GPL-2.0-or-later
// Small values that travel from the grammar to the Builder.
#pragma once

#include <cstdint>
#include <string_view>

#include "ctsync/config/config.h"
#include "position.h"

namespace ctsync::config {

struct Word {
  Position where;
  std::string_view text;
};

struct Number {
  std::int64_t value = 0;  // never negative; more than fits counts as the largest value
  Position where;
  std::string_view text;
};

// `text` is digits only.
Number make_number(std::string_view text, Position where);

}  // namespace ctsync::config
