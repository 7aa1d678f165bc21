// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>

namespace ctsync::daemon {

// Random bits of the kernel: keys of hash tables, refresh times.
std::uint64_t random_seed();

}  // namespace ctsync::daemon
