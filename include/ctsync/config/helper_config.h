// SPDX-License-Identifier: GPL-2.0-or-later
// The `Helper` blocks (spec config.md 12, helpers.md 3) as plain, checked values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ctsync::config {

// A helper that exists, in one layer-4 variant.
struct KnownHelper {
  const char* name;              // also the name of its only policy
  std::uint8_t l4_protocol;      // IPPROTO_TCP or IPPROTO_UDP
  std::uint32_t expect_max;      // built-in policy: most simultaneous expectations per master flow
  std::uint32_t expect_timeout;  // built-in policy: life of an expectation, seconds
};

// All of them, sorted by name.
std::span<const KnownHelper> known_helpers();

struct HelperPolicy {
  std::string name;
  std::uint32_t expect_max = 0;      // per master flow
  std::uint32_t expect_timeout = 0;  // seconds
};

struct HelperInstance {
  std::string name;
  int l3_family = 0;               // AF_INET or AF_INET6
  std::uint8_t l4_protocol = 0;    // IPPROTO_TCP or IPPROTO_UDP
  std::uint16_t queue_number = 0;  // NFQUEUE number
  std::uint32_t queue_length = 0;  // packets; 0: kernel default
  HelperPolicy policy;             // belongs to name and L4 variant: the same in all their instances
  int line = 0;                    // of the `Type` statement, from 1
};

struct HelperConfig {
  bool register_private_data = false;     // `Setup on`: pass the private-data size when registering
  std::vector<HelperInstance> instances;  // in file order
};

}  // namespace ctsync::config
