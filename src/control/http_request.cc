// SPDX-License-Identifier: GPL-2.0-or-later
#include "http_request.h"

#include <algorithm>
#include <span>
#include <vector>

namespace ctsync::control {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_ignoring_case(std::string_view a, std::string_view b) { return std::ranges::equal(a, b, {}, lower, lower); }

bool is_visible(char c) { return c > ' ' && c <= '~'; }

// tchar of RFC 9110, 5.6.2.
bool is_token_char(char c) {
  constexpr std::string_view kDelimiters = "\"(),/:;<=>?@[\\]{}";
  return is_visible(c) && kDelimiters.find(c) == std::string_view::npos;
}

bool is_token(std::string_view s) { return !s.empty() && std::ranges::all_of(s, is_token_char); }

// Visible characters, blanks, tabs, and bytes beyond ASCII.
bool is_field_value(std::string_view s) {
  return std::ranges::all_of(
      s, [](char c) { return is_visible(c) || c == ' ' || c == '\t' || static_cast<unsigned char>(c) > 127; });
}

std::string_view trimmed(std::string_view s) {
  constexpr std::string_view kBlank = " \t";
  const auto first = s.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(kBlank) - first + 1);
}

bool takes_openmetrics(std::string_view accept) {
  constexpr std::string_view kType = "application/openmetrics-text";
  return !std::ranges::search(accept, kType, {}, lower, lower).empty();
}

// "GET /metrics HTTP/1.1"
int status_of_request_line(std::string_view line) {
  const auto method_end = line.find(' ');
  const auto target_end = line.rfind(' ');
  if (method_end == std::string_view::npos || target_end == method_end) return kHttpBadRequest;
  const auto method = line.substr(0, method_end);
  const auto target = line.substr(method_end + 1, target_end - method_end - 1);
  const auto version = line.substr(target_end + 1);
  if (!is_token(method) || !target.starts_with('/') || !std::ranges::all_of(target, is_visible)) return kHttpBadRequest;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return kHttpBadRequest;
  if (target.substr(0, target.find('?')) != kMetricsPage) return kHttpNotFound;
  return method == "GET" ? kHttpOk : kHttpMethodNotAllowed;
}

HttpRequest read(std::span<const std::string_view> lines) {
  if (lines.empty()) return {};
  HttpRequest request{.status = status_of_request_line(lines.front())};
  bool has_body = false;
  for (const auto line : lines.subspan(1)) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return {};
    const auto name = line.substr(0, colon);
    const auto value = trimmed(line.substr(colon + 1));
    if (!is_token(name) || !is_field_value(value)) return {};
    if (equals_ignoring_case(name, "Accept")) request.openmetrics |= takes_openmetrics(value);
    has_body |= equals_ignoring_case(name, "Transfer-Encoding");
    has_body |= equals_ignoring_case(name, "Content-Length") && value != "0";
  }
  if (request.status == kHttpOk && has_body) return {};
  return request;
}

}  // namespace

std::optional<HttpRequest> read_http_request(std::string_view bytes) {
  bytes = bytes.substr(0, kMaxHttpRequest);
  std::vector<std::string_view> lines;
  for (auto rest = bytes;;) {
    const auto end = rest.find('\n');
    if (end == std::string_view::npos) break;
    auto line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) return read(lines);
    lines.push_back(line);
  }
  if (bytes.size() == kMaxHttpRequest) return HttpRequest{};
  return std::nullopt;
}

}  // namespace ctsync::control
