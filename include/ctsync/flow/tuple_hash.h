// SPDX-License-Identifier: GPL-2.0-or-later
// Keyed hash of a tuple, zone included: five 64-bit words, multiplied and folded as wyhash does. Without the key nobody
// can make flows that collide.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "ctsync/flow/flow.h"

namespace ctsync {

// Both halves of the product of two words: mixes 16 bytes in one multiplication, as wyhash does.
inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const auto m = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(m) ^ static_cast<std::uint64_t>(m >> 64);
}

class TupleHash {
 public:
  // Production passes random bits, tests whatever they like.
  explicit TupleHash(std::uint64_t seed);
  std::uint32_t operator()(const Tuple& t) const {
    std::array<std::uint64_t, 5> w;
    static_assert(sizeof w == sizeof t);
    std::memcpy(w.data(), &t, sizeof t);
    const auto a = fold(w[0] ^ key_[0], w[1] ^ key_[1]) ^ fold(w[2] ^ key_[2], w[3] ^ key_[3]);
    const auto h = fold(a ^ key_[4], w[4] ^ key_[5]);
    return static_cast<std::uint32_t>(h ^ h >> 32);
  }

 private:
  std::array<std::uint64_t, 6> key_;
};

}  // namespace ctsync
