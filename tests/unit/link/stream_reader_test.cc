// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "ctsync/base/bytes.h"
#include "ctsync/wire/header.h"

namespace ctsync::link {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes message(std::uint32_t seq, std::size_t size) {
  Bytes out(size);
  ByteWriter w(out);
  wire::encode_header(w, {wire::MsgType::flow_update, 0, static_cast<std::uint16_t>(size), seq});
  return out;
}

void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

// Puts the stream in, in pieces of at most `piece()` bytes; returns all that came out. Stops where it is out of step.
template <typename Piece>
Bytes feed(StreamReader& reader, const Bytes& stream, Piece piece) {
  Bytes out;
  for (std::size_t at = 0; at < stream.size() && !reader.out_of_step();) {
    const auto room = reader.room();
    const auto n = std::min({static_cast<std::size_t>(piece()), room.size(), stream.size() - at});
    if (n == 0) {
      ADD_FAILURE() << "no room at " << at;
      break;
    }
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), n, room.begin());
    at += n;
    const auto whole = reader.add(n);
    out.insert(out.end(), whole.begin(), whole.end());
  }
  return out;
}

TEST(StreamReader, MessagesComeOutWholeWhereverTheStreamIsCut) {
  const auto first = message(1, 40);
  Bytes stream = first;
  append(stream, message(2, 64));
  for (std::size_t cut = 1; cut < stream.size(); ++cut) {
    StreamReader reader;
    const Bytes head(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(cut));
    const Bytes tail(stream.begin() + static_cast<std::ptrdiff_t>(cut), stream.end());
    auto out = feed(reader, head, [] { return 1000; });
    EXPECT_EQ(out, cut < first.size() ? Bytes{} : first) << cut;
    append(out, feed(reader, tail, [] { return 1000; }));
    EXPECT_EQ(out, stream) << cut;
    EXPECT_FALSE(reader.out_of_step());
  }
}

TEST(StreamReader, ALongStreamInRandomPieces) {
  std::mt19937 random(1);
  Bytes stream;
  for (std::uint32_t i = 0; i < 2000; ++i) append(stream, message(i, 8 + random() % 4088));
  StreamReader reader;
  EXPECT_EQ(feed(reader, stream, [&] { return 1 + random() % 100'000; }), stream);
  EXPECT_FALSE(reader.out_of_step());
}

TEST(StreamReader, ALengthThatNoMessageHasPutsItOutOfStep) {
  for (const std::size_t length : {0U, 7U, 4097U, 40000U}) {
    Bytes stream = message(1, 40);
    const Bytes bad{0x11, 0, static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length), 0, 0, 0, 1};
    append(stream, bad);
    StreamReader reader;
    const auto room = reader.room();
    std::copy(stream.begin(), stream.end(), room.begin());
    const auto out = reader.add(stream.size());
    EXPECT_TRUE(reader.out_of_step()) << length;
    EXPECT_EQ(Bytes(out.begin(), out.end()), stream) << "the bad bytes too, for the counters";
    reader.clear();
    EXPECT_EQ(feed(reader, message(2, 40), [] { return 9; }), message(2, 40));
  }
}

}  // namespace
}  // namespace ctsync::link
