// SPDX-License-Identifier: GPL-2.0-or-later
// The statistics of a node as metrics (doc/metrics.md).
#pragma once

#include <cstdint>
#include <string>

#include "ctsync/text/snapshot.h"

namespace ctsync::text {

enum class MetricsForm : std::uint8_t {
  openmetrics,  // version 1.0.0
  prometheus,   // the text format 0.0.4, older
};

// Appends all of them, with the line that says that no more follow. Label values are ASCII whatever came over the wire.
void append_metrics(std::string& out, MetricsForm form, const Snapshot& s);

}  // namespace ctsync::text
