// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace ctsync {
namespace {

using Bytes = std::vector<std::uint8_t>;

TEST(ByteReader, ReadsBothOrdersOneBehindTheOther) {
  const Bytes data{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f};
  ByteReader r(data);
  EXPECT_EQ(r.u8(), 0x01);
  EXPECT_EQ(r.be16(), 0x0203);
  EXPECT_EQ(r.be32(), 0x04050607U);
  EXPECT_EQ(r.be64(), 0x08090a0b0c0d0e0fU);
  EXPECT_EQ(r.left(), 0U);
  EXPECT_FALSE(r.failed());
  const std::uint16_t two = 0xbeef;
  const std::uint32_t four = 0xdeadbeef;
  Bytes host(6);
  std::memcpy(host.data(), &two, 2);
  std::memcpy(host.data() + 2, &four, 4);
  ByteReader h(host);
  EXPECT_EQ(h.host16(), two);
  EXPECT_EQ(h.host32(), four);
}

TEST(ByteReader, ReadThatDoesNotFitGivesZeroAndUsesTheRestUp) {
  const Bytes data{1, 2, 3};
  ByteReader r(data);
  EXPECT_EQ(r.be32(), 0U);
  EXPECT_TRUE(r.failed());
  EXPECT_EQ(r.left(), 0U);
  EXPECT_EQ(r.u8(), 0);  // no later read succeeds
}

TEST(ByteReader, CopyAndBytesAreBounded) {
  const Bytes data{1, 2, 3, 4};
  std::array<std::uint8_t, 4> to{9, 9, 9, 9};
  ByteReader r(data);
  r.copy(to.data(), 5);
  EXPECT_EQ(to[0], 9);
  EXPECT_TRUE(r.failed());
  ByteReader s(data);
  EXPECT_EQ(s.bytes(3).data(), data.data());
  EXPECT_TRUE(s.bytes(2).empty());
  EXPECT_TRUE(s.failed());
  ByteReader t(data);
  t.skip(4);
  EXPECT_FALSE(t.failed());
  t.skip(1);
  EXPECT_TRUE(t.failed());
}

TEST(ByteWriter, WritesBothOrders) {
  Bytes room(15);
  ByteWriter w(room);
  w.u8(1);
  w.be16(0x0203);
  w.be32(0x04050607);
  w.be64(0x08090a0b0c0d0e0f);
  EXPECT_FALSE(w.failed());
  EXPECT_EQ(w.left(), 0U);
  EXPECT_EQ(room, (Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
}

TEST(ByteWriter, WriteThatDoesNotFitChangesNothingAndSticks) {
  Bytes room{9, 9, 9};
  ByteWriter w(room);
  w.be16(0x0102);
  w.be16(0x0304);
  EXPECT_TRUE(w.failed());
  EXPECT_EQ(w.size(), 2U);
  w.u8(7);  // would fit, but the message is broken already
  EXPECT_EQ(room, (Bytes{1, 2, 9}));
  w.rewind(0);
  EXPECT_FALSE(w.failed());
  w.u8(7);
  EXPECT_EQ(room[0], 7);
}

TEST(ByteWriter, Patches) {
  Bytes room(8, 0xff);
  ByteWriter w(room);
  w.be16(0);
  w.u8(5);
  w.patch_be16(0, 0x1234);
  w.patch_be16(2, 0xabcd);  // beyond what was written
  EXPECT_EQ(room, (Bytes{0x12, 0x34, 5, 0xff, 0xff, 0xff, 0xff, 0xff}));
  w.u8(0);
  w.patch_be16(2, 0xabcd);
  EXPECT_EQ(room[3], 0xcd);
  EXPECT_EQ(w.written().size(), 4U);
}

TEST(NetworkOrder, IsItsOwnInverse) {
  static_assert(network_order(network_order(std::uint32_t{0x01020304})) == 0x01020304);
  const auto v = network_order(std::uint16_t{0x0102});
  std::array<std::uint8_t, 2> bytes{};
  std::memcpy(bytes.data(), &v, 2);
  EXPECT_EQ(bytes[0], 1);
}

}  // namespace
}  // namespace ctsync
