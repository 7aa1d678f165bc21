// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/tuple_hash.h"

#include "ctsync/base/random.h"

namespace ctsync {

TupleHash::TupleHash(std::uint64_t seed) {
  Random random(seed);
  for (auto& k : key_) k = random.next();
}

}  // namespace ctsync
