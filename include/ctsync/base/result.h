// SPDX-License-Identifier: GPL-2.0-or-later
// What can fail returns Result<T>: the value, or an Error whose text is ready for the operator.
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace ctsync {

struct Error {
  std::string text;  // one line, no final full stop
  int code = 0;      // errno value where the failure came from the system, else 0
};

template <typename T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(std::string text, int code = 0) {
  return std::unexpected<Error>(Error{std::move(text), code});
}

// "WHAT: strerror(errno)"; takes errno at the moment of the call.
inline std::unexpected<Error> fail_errno(const std::string& what) {
  const int code = errno;
  return fail(what + ": " + std::strerror(code), code);
}

}  // namespace ctsync
