// SPDX-License-Identifier: GPL-2.0-or-later
// The counters of `-s network` (spec cli.md 7.6) for what arrives. Every kind of malformed message also counts in
// `malformed`; counting through the functions keeps it so.
#pragma once

#include <cstdint>

namespace ctsync::wire {

struct ReceiveStats {
  std::uint64_t malformed = 0;
  std::uint64_t wrong_version = 0;
  std::uint64_t malformed_header = 0;
  std::uint64_t malformed_payload = 0;
  std::uint64_t ends_without_ports = 0;  // of these
  std::uint64_t bad_type = 0;
  std::uint64_t truncated = 0;
  std::uint64_t bad_size = 0;
  std::uint64_t lost = 0;    // sequence numbers that never came
  std::uint64_t before = 0;  // messages with an old number

  void count_wrong_version() { ++malformed, ++wrong_version; }
  void count_malformed_header() { ++malformed, ++malformed_header; }
  void count_malformed_payload() { ++malformed, ++malformed_payload; }
  void count_bad_type() { ++malformed, ++bad_type; }
  void count_truncated() { ++malformed, ++truncated; }
  void count_bad_size() { ++malformed, ++bad_size; }
};

}  // namespace ctsync::wire
