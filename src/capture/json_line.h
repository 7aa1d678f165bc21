// SPDX-License-Identifier: GPL-2.0-or-later
// A message as one JSON object in a line (doc/json.md).
#pragma once

#include <string>

#include "told.h"

namespace ctsync::capture {

// With the newline.
void append_json_line(std::string& out, const Told& told);

}  // namespace ctsync::capture
