// SPDX-License-Identifier: GPL-2.0-or-later
// How large the buffers of a link may be.
#pragma once

#include <cstdint>
#include <optional>

namespace ctsync::link {

// Bytes that the system gives this process at most; absent: whatever it asks for (CAP_NET_ADMIN).
struct BufferLimits {
  std::optional<std::uint32_t> receive;  // net.core.rmem_max
  std::optional<std::uint32_t> send;     // net.core.wmem_max
};

BufferLimits buffer_limits();

}  // namespace ctsync::link
