// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/random.h"

#include <sys/random.h>

namespace ctsync {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  // Fails only where the system call is forbidden; the clock is better than the same seed each time.
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) {
    seed = Random(static_cast<std::uint64_t>(SystemClock().now().time_since_epoch().count())).next();
  }
  return seed;
}

}  // namespace ctsync
