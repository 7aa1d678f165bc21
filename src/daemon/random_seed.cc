// SPDX-License-Identifier: GPL-2.0-or-later
#include "random_seed.h"

#include <sys/random.h>

#include <chrono>

namespace ctsync::daemon {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) {
    seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  return seed;
}

}  // namespace ctsync::daemon
