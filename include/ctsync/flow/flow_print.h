// SPDX-License-Identifier: GPL-2.0-or-later
// A flow as a number, by which two nodes compare what they have without sending it: it follows from what the wire carries of
// the flow, timeouts excepted, so both ends of a link compute the same (doc/wire-format.md, section 10).
#pragma once

#include <cstdint>

#include "ctsync/flow/flow.h"

namespace ctsync {

struct FlowPrint {
  static constexpr std::uint32_t kBuckets = 4096;

  std::uint32_t bucket = 0;  // below kBuckets; follows from the original tuple alone
  std::uint64_t number = 0;

  bool operator==(const FlowPrint&) const = default;
};

// `window_scale`: whether window scales are sent, `left_out`: what is not (wire::EncodeOptions); true and 0 for what has come
// over the wire.
FlowPrint print_of(const Flow& f, const FlowExtra* extra, bool window_scale, std::uint32_t left_out = 0);
std::uint32_t bucket_of(const Tuple& orig);

}  // namespace ctsync
