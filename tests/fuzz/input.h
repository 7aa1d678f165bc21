// SPDX-License-Identifier: GPL-2.0-or-later
// The bytes of a fuzz input as a sequence of decisions. Past the end every decision is zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <span>

#include "ctsync/base/bytes.h"

namespace ctsync::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : reader_({data, size}) {}

  bool more() const { return reader_.left() != 0; }
  std::uint8_t byte() { return reader_.u8(); }
  std::uint32_t below(std::uint32_t bound) { return reader_.u8() % bound; }  // bound <= 256
  std::uint32_t word() { return reader_.be32(); }
  bool yes() { return (reader_.u8() & 1) != 0; }
  std::span<const std::uint8_t> bytes(std::size_t most) { return reader_.bytes(std::min(most, reader_.left())); }

 private:
  ByteReader reader_;
};

inline void require(bool holds, std::source_location where = std::source_location::current()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%u: required, but does not hold\n", where.file_name(), static_cast<unsigned>(where.line()));
  std::abort();
}

}  // namespace ctsync::fuzz
