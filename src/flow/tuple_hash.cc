// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/tuple_hash.h"

namespace ctsync {

TupleHash::TupleHash(std::uint64_t seed) {
  for (auto& k : key_) {  // splitmix64
    seed += 0x9e3779b97f4a7c15U;
    auto z = seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    k = z ^ z >> 31;
  }
}

}  // namespace ctsync
