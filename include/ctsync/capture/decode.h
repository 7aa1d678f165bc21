// SPDX-License-Identifier: GPL-2.0-or-later
// --decode: the replication messages of a capture of the dedicated link, a line each.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ctsync/base/log.h"

namespace ctsync::capture {

// Where to look if nobody says: 3780, as in all examples, and what follows for further links.
inline constexpr std::array<std::uint16_t, 4> kDefaultPorts{3780, 3781, 3782, 3783};

struct DecodeOptions {
  std::string path;                  // pcap or pcapng; "-": standard input
  std::vector<std::uint16_t> ports;  // what goes to these is told
  bool json = false;                 // an object a line, instead of text
};

// Writes the lines to standard output as it reads, and a summary to standard error at the end. Returns the exit status: 0, or
// 1 if the capture cannot be read, not to its end, or the output cannot be written; `log` then says why.
int decode(const DecodeOptions& options, Log& log);

}  // namespace ctsync::capture
