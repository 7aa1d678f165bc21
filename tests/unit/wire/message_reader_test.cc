// SPDX-License-Identifier: GPL-2.0-or-later
// Each check of spec replication.md 1.5, in its order, and the stream rules of 1.7.
#include "ctsync/wire/message_reader.h"

#include <gtest/gtest.h>

#include "hex.h"

namespace ctsync::wire {
namespace {

using wire_test::hex;
using Bytes = std::vector<std::uint8_t>;
using Status = MessageReader::Status;
using Source = MessageReader::Source;

const char* const kAlive = "1a 10 00 08 00 00 00 05 ";
const char* const kAck = "1a 08 00 10 00 00 00 06 00 00 00 01 00 00 00 02 ";

Status first(const char* text, Source source = Source::datagram) {
  const auto data = hex(text);
  MessageReader reader(data, source);
  Message m;
  return reader.next(m);
}

struct Walk {
  int messages = 0;
  ReceiveStats stats;
  Status last = Status::message;
};

Walk walk(const std::string& text) {
  const auto data = hex(text);
  Walk w;
  MessageReader reader(data);
  Message m;
  while (reader.next(m, w.stats)) ++w.messages;
  w.last = reader.last();
  return w;
}

TEST(MessageReader, ReadsHeaderPayloadAndRange) {
  const auto data = hex(std::string("10 20 00 0c 6b 02 fc 2f de ad be ef ") + kAck + kAlive);
  MessageReader reader(data);
  Message m;
  ASSERT_EQ(reader.next(m), Status::message);
  EXPECT_EQ(m.header.type, MsgType::flow_new);
  EXPECT_EQ(m.header.flags, flag::kHello);
  EXPECT_EQ(m.header.length, 12);
  EXPECT_EQ(m.header.seq, 0x6b02fc2fU);
  EXPECT_EQ(Bytes(m.payload.begin(), m.payload.end()), hex("de ad be ef"));
  ASSERT_EQ(reader.next(m), Status::message);
  EXPECT_EQ(control_kind(m.header.flags), ControlKind::ack);
  EXPECT_EQ(m.from, 1U);
  EXPECT_EQ(m.to, 2U);
  ASSERT_EQ(reader.next(m), Status::message);
  EXPECT_EQ(control_kind(m.header.flags), ControlKind::alive);
  EXPECT_EQ(m.from, 0U);
  EXPECT_EQ(m.to, 0U);
  EXPECT_TRUE(m.payload.empty());
  EXPECT_EQ(reader.consumed(), data.size());
  EXPECT_EQ(reader.next(m), Status::end);
  EXPECT_EQ(reader.next(m), Status::end);
}

TEST(MessageReader, EmptyDatagramIsNoError) {
  const auto w = walk("");
  EXPECT_EQ(w.last, Status::end);
  EXPECT_EQ(w.stats.malformed, 0U);
}

TEST(MessageReader, Check1FewerThanEightBytesLeft) {
  EXPECT_EQ(first("10"), Status::truncated);
  EXPECT_EQ(first("1a 10 00 08 00 00 00"), Status::truncated);
  const auto w = walk(std::string(kAlive) + "1a 10 00 08 00 00 00");
  EXPECT_EQ(w.messages, 1);
  EXPECT_EQ(w.stats.truncated, 1U);
  EXPECT_EQ(w.stats.malformed, 1U);
}

TEST(MessageReader, Check2LengthZeroAborts) {
  const auto w = walk(std::string("1a 10 00 00 00 00 00 05 ") + kAlive);
  EXPECT_EQ(w.messages, 0);
  EXPECT_EQ(w.stats.bad_size, 1U);
  EXPECT_EQ(w.stats.malformed, 1U);
}

TEST(MessageReader, Check3LengthBeyondTheDatagramAborts) {
  const auto w = walk(std::string(kAlive) + "10 00 00 09 00 00 00 05");
  EXPECT_EQ(w.messages, 1);
  EXPECT_EQ(w.stats.bad_size, 1U);
}

TEST(MessageReader, Check4ControlWithoutRoomForItsRangeIsTruncated) {
  for (const char* flags : {"02", "04", "08", "0e", "18", "68"}) {
    const auto w = walk(std::string("1a ") + flags + " 00 08 00 00 00 05 00 00 00 01 00 00 00");
    EXPECT_EQ(w.stats.truncated, 1U) << flags;
    EXPECT_EQ(w.stats.malformed, 1U) << flags;
  }
}

TEST(MessageReader, Check4ComesBeforeTheVersion) {
  EXPECT_EQ(walk("2a 08 00 08 00 00 00 05").stats.truncated, 1U);
  EXPECT_EQ(walk("2a 08 00 08 00 00 00 05").stats.wrong_version, 0U);
}

TEST(MessageReader, Check5ControlLengthBelowSixteenAborts) {
  const auto w = walk("1a 08 00 0c 00 00 00 05 00 00 00 01 00 00 00 02");
  EXPECT_EQ(w.messages, 0);
  EXPECT_EQ(w.stats.bad_size, 1U);
}

TEST(MessageReader, LongerControlIsAcceptedAndItsRestIgnored) {
  const auto data = hex(std::string("1a 08 00 14 00 00 00 05 00 00 00 01 00 00 00 02 ff ff ff ff") + kAlive);
  MessageReader reader(data);
  Message m;
  ASSERT_EQ(reader.next(m), Status::message);
  EXPECT_EQ(m.to, 2U);
  EXPECT_EQ(reader.next(m), Status::message);
}

TEST(MessageReader, Check6LengthBelowEightAborts) {
  for (const char* length : {"01", "04", "07"}) {
    const auto w = walk(std::string("10 00 00 ") + length + " 00 00 00 05 " + kAlive);
    EXPECT_EQ(w.messages, 0) << length;
    EXPECT_EQ(w.stats.bad_size, 1U) << length;
  }
}

TEST(MessageReader, Check7OtherVersionIsSkippedAndTheWalkGoesOn) {
  const auto w = walk(std::string("20 00 00 0c 00 00 00 05 01 02 03 04 0a 10 00 08 00 00 00 05 ") + kAlive);
  EXPECT_EQ(w.messages, 1);
  EXPECT_EQ(w.last, Status::end);
  EXPECT_EQ(w.stats.wrong_version, 2U);
  EXPECT_EQ(w.stats.malformed, 2U);
}

TEST(MessageReader, UnassignedTypesAndFlagsAreTheEnginesMatter) {
  const auto w = walk("16 ff 00 08 00 00 00 05 1f 81 00 08 00 00 00 06");
  EXPECT_EQ(w.messages, 2);
  EXPECT_EQ(w.stats.malformed, 0U);
}

// A control message of no kind needs no range.
TEST(MessageReader, ControlWithoutKindIsReadAsIs) { EXPECT_EQ(first("1a 60 00 08 00 00 00 05"), Status::message); }

TEST(MessageReader, LengthNeedNotBeAMultipleOfFour) {
  const auto data = hex(std::string("10 00 00 09 00 00 00 05 aa ") + kAlive);
  MessageReader reader(data);
  Message m;
  ASSERT_EQ(reader.next(m), Status::message);
  EXPECT_EQ(m.payload.size(), 1U);
  EXPECT_EQ(reader.next(m), Status::message);
}

TEST(MessageReader, StreamTakesEveryCutForTheBeginningOfAMessage) {
  EXPECT_EQ(first("10", Source::stream), Status::need_more);
  EXPECT_EQ(first("10 00 9c 40 00 00 00 05 11", Source::stream), Status::need_more);
  EXPECT_EQ(first("1a 08 00 10 00 00 00 05 00 00 00 01", Source::stream), Status::need_more);
}

TEST(MessageReader, StreamTellsWhatWasConsumed) {
  const auto data = hex(std::string(kAlive) + kAck + "1a 10 00");
  MessageReader reader(data, Source::stream);
  Message m;
  ReceiveStats stats;
  int count = 0;
  while (reader.next(m, stats)) ++count;
  EXPECT_EQ(count, 2);
  EXPECT_EQ(reader.last(), Status::need_more);
  EXPECT_EQ(reader.consumed(), 24U);
  EXPECT_EQ(stats.malformed, 0U);
}

TEST(MessageReader, StreamFramingErrorsAreNoCuts) {
  EXPECT_EQ(first("10 00 00 00 00 00 00 05", Source::stream), Status::bad_size);
  EXPECT_EQ(first("10 00 00 07 00 00 00 05", Source::stream), Status::bad_size);
  EXPECT_EQ(first("1a 08 00 0c 00 00 00 05 00 00 00 01 00 00 00 02", Source::stream), Status::bad_size);
}

TEST(ControlKind, PrecedenceIsAckNackResyncAlive) {
  EXPECT_EQ(control_kind(0x1e), ControlKind::ack);
  EXPECT_EQ(control_kind(0x16), ControlKind::nack);
  EXPECT_EQ(control_kind(0x12), ControlKind::resync);
  EXPECT_EQ(control_kind(0x90), ControlKind::alive);
  EXPECT_EQ(control_kind(0x61), ControlKind::none);
}

}  // namespace
}  // namespace ctsync::wire
