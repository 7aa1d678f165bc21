// SPDX-License-Identifier: GPL-2.0-or-later
// A place in the text of a configuration file.
#pragma once

#include <cstddef>

namespace ctsync::config {

struct Position {
  int line = 1;            // from 1
  int column = 1;          // in bytes, from 1
  std::size_t offset = 0;  // in bytes, from the beginning of the text
};

}  // namespace ctsync::config
