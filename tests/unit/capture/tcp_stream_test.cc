// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp_stream.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "frames.h"

namespace ctsync::capture_test {
namespace {

using capture::Gap;
using capture::Place;
using capture::TcpStream;
using Told = std::vector<std::string>;

class Recorder final : public capture::MessageSink {
 public:
  void message(const Place& place, const wire::Message& m) override {
    told.push_back(fmt::format("{} at {}", m.header.seq, place.time.seconds));
  }
  void gap(const Place& /*place*/, Gap what, std::span<const std::uint8_t> /*bytes*/, std::size_t count) override {
    const char* const names[] = {"version", "truncated", "size", "empty", "cut", "lost", "skipped", "unfinished"};
    told.push_back(fmt::format("{} {}", names[static_cast<std::size_t>(what)], count));
  }
  Told take() { return std::exchange(told, {}); }

  Told told;
};

class TcpStreamTest : public testing::Test {
 protected:
  TcpStreamTest() {
    for (std::uint32_t seq = 1; seq <= 9; ++seq) stream_ = joined({stream_, alive(seq)});
  }

  void begin() { tcp_.take({.seq = kStart - 1, .syn = true}, {}, sink_); }
  // Bytes of the stream of nine messages, each of eight bytes.
  Told take(std::size_t begin, std::size_t size, std::size_t missing = 0) {
    const Bytes bytes = slice(stream_, begin, size);
    const auto seq = kStart + static_cast<std::uint32_t>(begin);
    tcp_.take({.seq = seq, .payload = bytes, .missing = missing}, {.seconds = ++now_}, sink_);
    return sink_.take();
  }
  Told end() {
    tcp_.end(sink_);
    return sink_.take();
  }

  static constexpr std::uint32_t kStart = 0xfffffff0;  // goes round
  Bytes stream_;
  Recorder sink_;
  TcpStream tcp_{capture::Ends{}};
  std::int64_t now_ = 0;
};

TEST_F(TcpStreamTest, MessagesMaySpanSegments) {
  begin();
  EXPECT_EQ(take(0, 3), Told{});
  EXPECT_EQ(take(3, 1), Told{});
  EXPECT_EQ(take(4, 13), (Told{"1 at 3", "2 at 3"}));
  EXPECT_EQ(take(17, 55), (Told{"3 at 4", "4 at 4", "5 at 4", "6 at 4", "7 at 4", "8 at 4", "9 at 4"}));
  EXPECT_EQ(end(), Told{});
}

TEST_F(TcpStreamTest, SegmentsAreToldInTheirOrderAndOnce) {
  begin();
  EXPECT_EQ(take(0, 8), Told{"1 at 1"});
  EXPECT_EQ(take(24, 8), Told{});
  EXPECT_EQ(take(16, 8), Told{});
  EXPECT_EQ(take(0, 8), Told{});
  EXPECT_EQ(take(8, 8), (Told{"2 at 5", "3 at 3", "4 at 2"}));
  EXPECT_EQ(take(24, 16), Told{"5 at 6"}) << "sent again, with more";
  EXPECT_EQ(end(), Told{});
}

TEST_F(TcpStreamTest, WhatIsNotCapturedIsToldAndTheStreamTakenUpAgain) {
  begin();
  EXPECT_EQ(take(0, 12), Told{"1 at 1"});
  EXPECT_EQ(take(20, 4), Told{});
  EXPECT_EQ(take(24, 12), Told{});
  EXPECT_EQ(end(), (Told{"unfinished 4", "lost 8", "skipped 4", "4 at 3", "unfinished 4"}));
}

TEST_F(TcpStreamTest, ASegmentThatIsCutOffLeavesAGap) {
  begin();
  EXPECT_EQ(take(0, 8, 4), (Told{"1 at 1", "lost 4"}));
  EXPECT_EQ(take(12, 4), Told{});
  EXPECT_EQ(take(16, 8), (Told{"skipped 4", "3 at 3"}));
}

TEST_F(TcpStreamTest, WithoutItsBeginningAStreamBeginsWhereAMessageDoes) {
  EXPECT_EQ(take(4, 8), Told{});
  EXPECT_EQ(take(12, 4), Told{});
  EXPECT_EQ(take(16, 12), (Told{"skipped 12", "3 at 3"}));
  EXPECT_EQ(take(28, 4), Told{"4 at 4"});
}

TEST_F(TcpStreamTest, ABadSizeIsToldAndWhatFollowsSkipped) {
  begin();
  EXPECT_EQ(take(0, 8), Told{"1 at 1"});
  stream_[10] = stream_[11] = 0;  // the length of the second message
  EXPECT_EQ(take(8, 16), Told{"size 16"});
  EXPECT_EQ(take(24, 4), Told{});
  EXPECT_EQ(take(28, 4), Told{});
  EXPECT_EQ(take(32, 8), (Told{"skipped 8", "5 at 5"}));
  stream_[42] = 0x20;  // 8200 bytes, which no sender builds: nobody waits for them
  EXPECT_EQ(take(40, 12), Told{"size 12"});
}

TEST_F(TcpStreamTest, AnotherConnectionBeginsAnew) {
  begin();
  EXPECT_EQ(take(0, 12), Told{"1 at 1"});
  begin();
  EXPECT_EQ(sink_.take(), Told{"unfinished 4"});
  EXPECT_EQ(take(0, 8), Told{"1 at 2"});
  tcp_.take({.seq = kStart + (1U << 30), .payload = stream_}, {.seconds = 9}, sink_);
  EXPECT_EQ(sink_.take().size(), 9U) << "far from any window";
}

TEST_F(TcpStreamTest, AGapIsNotWaitedForForEver) {
  begin();
  const Bytes message = alive(1);
  std::uint32_t seq = kStart + 8;
  for (std::size_t i = 0; i < TcpStream::kMostHeld; ++i, seq += 8) {
    tcp_.take({.seq = seq, .payload = message}, {}, sink_);
    EXPECT_EQ(sink_.told, Told{});
  }
  tcp_.take({.seq = seq, .payload = message}, {}, sink_);
  EXPECT_EQ(sink_.told.size(), 2 + TcpStream::kMostHeld);
  EXPECT_EQ(sink_.told.front(), "lost 8");

  sink_.told.clear();
  const Bytes large(TcpStream::kMostHeldBytes / 2);
  seq += 16;
  tcp_.take({.seq = seq, .payload = large}, {}, sink_);
  tcp_.take({.seq = seq + static_cast<std::uint32_t>(large.size()), .payload = large}, {}, sink_);
  EXPECT_EQ(sink_.told, Told{});
  tcp_.take({.seq = seq + static_cast<std::uint32_t>(2 * large.size()), .payload = message}, {}, sink_);
  ASSERT_FALSE(sink_.told.empty());
  EXPECT_EQ(sink_.told.front(), "lost 8");
}

}  // namespace
}  // namespace ctsync::capture_test
