// SPDX-License-Identifier: GPL-2.0-or-later
// Tails of control messages, doc/wire-format.md section 10.
#include "ctsync/wire/extension.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "hex.h"

namespace ctsync::wire {
namespace {

using wire_test::hex;

std::vector<std::uint8_t> written_tail(const Extension& e) {
  std::array<std::uint8_t, kMaxExtensionSize> room{};
  ByteWriter w(room);
  write_extension(w, e);
  EXPECT_FALSE(w.failed());
  return {w.written().begin(), w.written().end()};
}

Capabilities some_node() {
  Capabilities c;
  c.node = 0x01020304;
  c.epoch = 0x1122334455667788;
  c.host = 0x0102030405060708;
  c.addresses[0] = {Family::ipv4, {192, 0, 2, 1}};
  c.addresses[1] = {Family::ipv6, {0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
  std::memcpy(c.version.data(), "0.1.0", 5);
  return c;
}

Extension whole_tail() {
  Extension e;
  e.capabilities = some_node();
  e.bulk_end = {.first = 0x10, .count = 3};
  e.addressee = {.node = 0x0a0b0c0d, .heard = 0x20};
  e.missing.count = 2;
  e.missing.ranges[0] = {.from = 0x21, .to = 0x22};
  e.missing.ranges[1] = {.from = 0x25, .to = 0x25};
  return e;
}

TEST(Extension, EveryByteOfATail) {
  EXPECT_EQ(written_tail(whole_tail()), hex("43 54 58 31"
                                            "00 01 00 4c 00 00 00 00 01 02 03 04 11 22 33 44 55 66 77 88"
                                            "30 2e 31 2e 30 00 00 00 00 00 00 00 00 00 00 00 01 02 03 04 05 06 07 08"
                                            "00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 01"
                                            "fd 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"
                                            "00 09 00 0c 00 00 00 10 00 00 00 03"
                                            "00 0c 00 0c 0a 0b 0c 0d 00 00 00 20"
                                            "00 0d 00 14 00 00 00 21 00 00 00 22 00 00 00 25 00 00 00 25"));
}

TEST(Extension, EveryByteOfSumsAndRepairs) {
  Extension e;
  e.sums = {.of_buckets = true, .first = 0x0120, .count = 2, .sums = {0x1122334455667788, 5}};
  e.sums_wanted = 0x8000000000000001;
  e.repair_request = {.number = 7, .count = 3, .buckets = {1, 0x0fff, 2}};
  e.repair_end = {.number = 7, .first = 0x20};
  const auto bytes = written_tail(e);
  EXPECT_EQ(bytes, hex("43 54 58 31"
                       "00 04 00 18 01 20 00 00 11 22 33 44 55 66 77 88 00 00 00 00 00 00 00 05"
                       "00 05 00 0c 80 00 00 00 00 00 00 01"
                       "00 06 00 0e 00 00 00 07 00 01 0f ff 00 02 00 00"
                       "00 07 00 0c 00 00 00 07 00 00 00 20"));
  EXPECT_EQ(read_extension(bytes), e);
  e = {};
  e.sums = {.first = 32, .count = 1, .sums = {1}};
  EXPECT_EQ(written_tail(e), hex("43 54 58 31 00 03 00 10 00 20 00 00 00 00 00 00 00 00 00 01"));
  EXPECT_EQ(read_extension(written_tail(e)), e);
}

TEST(Extension, EveryByteOfAProbe) {
  Extension e;
  e.probe = {.stamp = 0x11223344, .count = 2, .echoes = {{{1, 2, 3}, {0x0a0b0c0d, 0x21222324, 1000}}}};
  const auto bytes = written_tail(e);
  EXPECT_EQ(bytes, hex("43 54 58 31"
                       "00 0b 00 20 11 22 33 44 00 00 00 01 00 00 00 02 00 00 00 03"
                       "0a 0b 0c 0d 21 22 23 24 00 00 03 e8"));
  EXPECT_EQ(read_extension(bytes), e);
  EXPECT_EQ(read_extension(hex("43 54 58 31 00 0b 00 07 01 02 03 00")), Extension{}) << "too short";
  std::string many = "43 54 58 31 00 0b 00 80 00 00 00 01";
  for (int i = 0; i < 10; ++i) many += " 00 00 00 01 00 00 00 02 00 00 00 03";
  EXPECT_EQ(read_extension(hex(many)).probe->count, Probe::kMost);
}

// Nodes of an earlier version say no host, and take no notice of one.
TEST(Extension, CapabilitiesWithoutAHost) {
  const auto c = read_extension(hex("43 54 58 31 00 01 00 24 00 00 00 00 01 02 03 04 11 22 33 44 55 66 77 88"
                                    "30 2e 31 2e 30 00 00 00 00 00 00 00 00 00 00 00"))
                     .capabilities;
  EXPECT_EQ(c->host, 0U);
  EXPECT_STREQ(c->version.data(), "0.1.0");
}

TEST(Extension, NothingToSayIsNoTail) { EXPECT_TRUE(written_tail({}).empty()); }

TEST(Extension, ReadsWhatItWrites) { EXPECT_EQ(read_extension(written_tail(whole_tail())), whole_tail()); }

TEST(Extension, StepsOverWhatItDoesNotKnow) {
  EXPECT_EQ(
      read_extension(hex("43 54 58 31 00 63 00 06 aa bb 00 00 00 0c 00 0c 00 00 00 05 00 00 00 00")).addressee->node,
      5U);
}

TEST(Extension, NoTailOfOursIsEmpty) {
  EXPECT_TRUE(read_extension({}).empty());
  EXPECT_TRUE(read_extension(hex("43 54 58")).empty());
  EXPECT_TRUE(read_extension(hex("43 54 58 32 00 0c 00 0c 00 00 00 05 00 00 00 00")).empty());
}

TEST(Extension, FromTheFirstMalformedTlvOnNothingCounts) {
  for (const auto* bad : {"00 09 00 0c 00 00 00 10", "00 09 00 03 00 00", "00 09 ff ff 00 00 00 10 00 00 00 00"}) {
    const auto e = read_extension(hex(std::string("43 54 58 31 00 0c 00 0c 00 00 00 05 00 00 00 00") + bad));
    ASSERT_TRUE(e.addressee) << bad;
    EXPECT_EQ(e.addressee->node, 5U) << bad;
    EXPECT_FALSE(e.bulk_end) << bad;
  }
}

TEST(Extension, TooShortToBeWhatItSaysIsSteppedOver) {
  EXPECT_TRUE(read_extension(hex("43 54 58 31 00 01 00 08 00 00 00 05 00 09 00 08 00 00 00 01 00 0c 00 04")).empty());
}

TEST(Extension, TakesNoMoreRangesThanItKeeps) {
  std::string text = "43 54 58 31 00 0d 00 8c";  // 17
  for (int i = 0; i < 17; ++i) text += " 00 00 00 01 00 00 00 02";
  EXPECT_EQ(read_extension(hex(text)).missing.count, Missing::kMost);
}

TEST(Extension, VersionIsFitForATerminal) {
  const auto e =
      read_extension(hex("43 54 58 31 00 01 00 28 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00"
                         "1b 5b 41 20 41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 41"));
  ASSERT_TRUE(e.capabilities);
  EXPECT_STREQ(e.capabilities->version.data(), "?[A?AAAAAAAAAAA");
}

TEST(Extension, NodeZeroIsNobody) {
  EXPECT_FALSE(
      read_extension(hex("43 54 58 31 00 01 00 14 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01")).capabilities);
}

TEST(Extension, TailBeginsBehindWhatConntrackdReads) {
  const auto tail_size = [](const std::vector<std::uint8_t>& bytes) {
    MessageReader reader(bytes);
    Message m;
    EXPECT_EQ(reader.next(m), MessageReader::Status::message);
    return tail_of(m).size();
  };
  EXPECT_EQ(tail_size(hex("1a 10 00 0c 00 00 00 01 aa aa aa aa")), 4U);
  EXPECT_EQ(tail_size(hex("1a 08 00 14 00 00 00 01 00 00 00 01 00 00 00 02 aa aa aa aa")), 4U);
  EXPECT_EQ(tail_size(hex("1a 10 00 08 00 00 00 01")), 0U);
  EXPECT_EQ(tail_size(hex("10 00 00 0c 00 00 00 01 aa aa aa aa")), 0U);
}

}  // namespace
}  // namespace ctsync::wire
