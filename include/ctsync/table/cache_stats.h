// SPDX-License-Identifier: GPL-2.0-or-later
// The numbers behind `-s` and `-s cache` of one cache (spec cli.md 7.1, 7.2).
#pragma once

#include <cstdint>

namespace ctsync::table {

struct CacheStats {
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;    // all reasons
  std::uint64_t create_no_space = 0;  // limit reached
  std::uint64_t create_no_memory = 0;
  std::uint64_t updated = 0;
  std::uint64_t update_failed = 0;  // no memory for what the update brought
  std::uint64_t destroyed = 0;
};

}  // namespace ctsync::table
