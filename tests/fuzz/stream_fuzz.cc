// SPDX-License-Identifier: GPL-2.0-or-later
// A TCP stream that comes in pieces of any size: the same messages come out as if it came in one piece, and nothing else.
#include <algorithm>
#include <cstring>
#include <vector>

#include "ctsync/wire/message_reader.h"
#include "input.h"
#include "stream_reader.h"

using namespace ctsync;
using fuzz::Input;
using fuzz::require;

namespace {

using Bytes = std::vector<std::uint8_t>;

// What the reader hands over until the stream ends or is out of step.
struct Outcome {
  Bytes bytes;
  bool out_of_step = false;
};

// `piece(left)`: how many bytes come next.
template <typename Piece>
Outcome read(std::span<const std::uint8_t> stream, Piece piece) {
  link::StreamReader reader;
  Outcome outcome;
  while (!stream.empty() && !reader.out_of_step()) {
    const auto room = reader.room();
    require(!room.empty());
    const auto n = std::min({piece(stream.size()), stream.size(), room.size()});
    std::memcpy(room.data(), stream.data(), n);
    stream = stream.subspan(n);
    const auto whole = reader.add(n);
    outcome.bytes.insert(outcome.bytes.end(), whole.begin(), whole.end());
    // What comes out before the stream is out of step is whole messages.
    wire::MessageReader messages(whole);
    wire::Message m;
    wire::ReceiveStats ignored;
    while (messages.next(m, ignored)) require(m.header.length <= link::StreamReader::kLongestMessage);
    require(reader.out_of_step() || messages.last() == wire::MessageReader::Status::end);
  }
  outcome.out_of_step = reader.out_of_step();
  return outcome;
}

}  // namespace

// The input: sizes of pieces, a byte each and used in turn; a zero byte; the stream.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> all(data, size);
  const auto sizes = static_cast<std::size_t>(std::ranges::find(all, 0) - all.begin());
  const auto stream = all.subspan(std::min(sizes + 1, size));
  std::size_t i = 0;
  const auto in_pieces = read(stream, [&](std::size_t) -> std::size_t { return sizes == 0 ? 1 : all[i++ % sizes]; });
  const auto at_once = read(stream, [](std::size_t left) { return left; });
  require(in_pieces.out_of_step == at_once.out_of_step);
  // A bad end may be cut elsewhere, the messages before it may not.
  const auto common = std::min(in_pieces.bytes.size(), at_once.bytes.size());
  require(std::equal(in_pieces.bytes.begin(), in_pieces.bytes.begin() + static_cast<std::ptrdiff_t>(common),
                     at_once.bytes.begin()));
  if (!at_once.out_of_step) require(in_pieces.bytes == at_once.bytes);
  return 0;
}
