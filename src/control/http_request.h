// SPDX-License-Identifier: GPL-2.0-or-later
// As much of an HTTP/1.0 or 1.1 request (RFC 9110, 9112) as a reader of the metrics sends: GET without a body, for one page.
// Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace ctsync::control {

inline constexpr std::size_t kMaxHttpRequest = 4096;  // bytes of request line and header fields
inline constexpr std::string_view kMetricsPage = "/metrics";

// Statuses of answers.
inline constexpr int kHttpOk = 200;
inline constexpr int kHttpBadRequest = 400;  // no request, or too long
inline constexpr int kHttpNotFound = 404;
inline constexpr int kHttpMethodNotAllowed = 405;

struct HttpRequest {
  int status = kHttpBadRequest;
  bool openmetrics = false;  // the client takes application/openmetrics-text
  bool operator==(const HttpRequest&) const = default;
};

// `bytes`: all that has come. Nothing if more is to come; what comes later changes nothing else.
std::optional<HttpRequest> read_http_request(std::string_view bytes);

}  // namespace ctsync::control
