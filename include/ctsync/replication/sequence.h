// SPDX-License-Identifier: GPL-2.0-or-later
// Arithmetic of the 32-bit sequence numbers, which wrap through 0 (spec replication.md 1.3).
#pragma once

#include <cstdint>

namespace ctsync::replication {

enum class Relation : std::uint8_t { expected, after, before };

// Where `seq` stands to the number expected next. "After" is tested first: a distance of exactly 2^31 is after.
constexpr Relation relation(std::uint32_t seq, std::uint32_t expected) {
  const std::uint32_t distance = seq - expected;
  if (distance == 0) return Relation::expected;
  return distance <= 0x80000000U ? Relation::after : Relation::before;
}

// How far apart two numbers are, whichever comes first.
constexpr std::uint32_t distance(std::uint32_t a, std::uint32_t b) { return a - b < b - a ? a - b : b - a; }

constexpr bool is_before(std::uint32_t a, std::uint32_t b) { return relation(a, b) == Relation::before; }
constexpr bool is_after(std::uint32_t a, std::uint32_t b) { return relation(a, b) == Relation::after; }

}  // namespace ctsync::replication
