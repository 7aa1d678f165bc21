// SPDX-License-Identifier: GPL-2.0-or-later
// Any frames of a capture: what is written of them is whole lines of printable ASCII, not too long, and no more of them than
// the bytes can hold messages.
#include <algorithm>
#include <array>
#include <string>

#include "decoder.h"
#include "input.h"

using namespace ctsync;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr std::array kLinkTypes{0, 1, 12, 108, 113, 228, 229, 276};
constexpr std::size_t kLongestLine = 4096;

// Returns how many lines there are.
std::size_t check(const std::string& lines) {
  require(lines.empty() || lines.back() == '\n');
  std::size_t count = 0;
  for (std::size_t begin = 0; begin < lines.size(); ++count) {
    const auto end = lines.find('\n', begin);
    require(end - begin <= kLongestLine);
    require(std::all_of(lines.begin() + static_cast<std::ptrdiff_t>(begin),
                        lines.begin() + static_cast<std::ptrdiff_t>(end), [](char c) { return c >= ' ' && c <= '~'; }));
    begin = end + 1;
  }
  return count;
}

}  // namespace

// The input: a byte for link type and form, then frames: length (2), bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  const std::uint8_t kind = in.byte();
  capture::Decoder decoder({3780}, (kind & 0x80) != 0);
  std::size_t lines = 0;
  while (in.more()) {
    std::size_t length = in.byte() * 256U;
    length += in.byte();
    const capture::Time time{.seconds = static_cast<std::int64_t>(length) << 44, .microseconds = 999'999};
    decoder.frame(kLinkTypes[kind % kLinkTypes.size()], {.time = time, .bytes = in.bytes(length)});
    lines += check(decoder.take_output());
  }
  decoder.finish();
  lines += check(decoder.take_output());
  require(lines <= size);
  require(check(decoder.summary()) != 0);
  return 0;
}
