// SPDX-License-Identifier: GPL-2.0-or-later
// Any bytes as an HTTP request for the metrics: there is an answer as soon as there can be one, and what comes later does not
// change it.
#include <algorithm>
#include <string_view>

#include "http_request.h"
#include "input.h"

using namespace ctsync::control;
using ctsync::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto request = read_http_request(bytes);
  require(request.has_value() || size < kMaxHttpRequest);
  if (request) {
    require(request->status == 200 || request->status == 400 || request->status == 404 || request->status == 405);
    require(request->status != 200 || bytes.starts_with("GET /metrics"));
  }
  constexpr std::size_t kPieces = 16;
  for (std::size_t end = 0; end < size; end += std::max<std::size_t>(size / kPieces, 1)) {
    const auto earlier = read_http_request(bytes.substr(0, end));
    require(!earlier || earlier == request);
  }
  return 0;
}
