// SPDX-License-Identifier: GPL-2.0-or-later
// Any bytes as a configuration file end in a result whose parts agree with each other.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "ctsync/config/parse.h"

using namespace ctsync::config;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ParseResult result = parse_text({reinterpret_cast<const char*>(data), size}, "fuzz");
  bool has_error = false;
  for (const Diagnostic& diagnostic : result.diagnostics) {
    has_error |= diagnostic.severity == Severity::error;
    for (const char c : diagnostic.to_string()) {
      if (c < ' ' || c > '~') std::abort();
    }
  }
  if (has_error == result.ok()) std::abort();
  if (result.ok()) {
    const Config& config = result.config;
    if (config.has_sync && config.has_stats) std::abort();
    if (config.links.size() > kMaxLinks) std::abort();
    if (config.hash_size == 0 || config.hash_limit == 0 || config.poll_secs == 0) std::abort();
    for (const AddressEntry& entry : config.filter.addresses) {
      if (entry.prefix > (entry.address.family == ctsync::Family::ipv4 ? 32U : 128U)) std::abort();
    }
    check_start(config, "fuzz");
  }
  return 0;
}
