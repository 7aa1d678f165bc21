// SPDX-License-Identifier: GPL-2.0-or-later
// An expectation as a plain value. Conventions as in flow.h. The family of all tuples is expected.family.
#pragma once

#include <array>
#include <cstdint>

#include "ctsync/flow/flow.h"

namespace ctsync {

inline constexpr std::size_t kExpectFunctionSize = 32;  // including the terminating zero

// Presence bits of Expectation::present.
namespace expect_has {
inline constexpr std::uint32_t kMaster = 1U << 0;
inline constexpr std::uint32_t kMasterPorts = 1U << 1;
inline constexpr std::uint32_t kExpected = 1U << 2;
inline constexpr std::uint32_t kExpectedPorts = 1U << 3;
inline constexpr std::uint32_t kMask = 1U << 4;
inline constexpr std::uint32_t kMaskPorts = 1U << 5;
inline constexpr std::uint32_t kTimeout = 1U << 6;
inline constexpr std::uint32_t kFlags = 1U << 7;
inline constexpr std::uint32_t kClass = 1U << 8;
inline constexpr std::uint32_t kNat = 1U << 9;
inline constexpr std::uint32_t kNatPorts = 1U << 10;
inline constexpr std::uint32_t kNatDir = 1U << 11;
inline constexpr std::uint32_t kHelper = 1U << 12;
inline constexpr std::uint32_t kFunction = 1U << 13;
inline constexpr std::uint32_t kZone = 1U << 14;
}  // namespace expect_has

struct Expectation {
  Tuple master;  // original tuple of the master flow
  Tuple expected;
  Tuple mask;
  Tuple nat;                  // saved tuple
  std::uint32_t present = 0;  // bits of expect_has
  std::uint32_t timeout = 0;  // seconds
  std::uint32_t flags = 0;    // kernel flags: 1 permanent, 2 inactive, 4 userspace
  std::uint32_t klass = 0;
  std::uint32_t nat_dir = 0;                         // 0 original, 1 reply
  std::array<char, kHelperNameSize> helper{};        // always terminated
  std::array<char, kExpectFunctionSize> function{};  // always terminated
  std::uint16_t zone = 0;

  bool knows(std::uint32_t bits) const { return (present & bits) == bits; }
};

// Two expectations are the same cache entry if all but the timeout and the NAT agree (spec replication.md 4.1).
bool same_key(const Expectation& a, const Expectation& b);

}  // namespace ctsync
