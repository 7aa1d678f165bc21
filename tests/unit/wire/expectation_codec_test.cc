// SPDX-License-Identifier: GPL-2.0-or-later
// Expectation messages, spec replication.md 2.8.
#include "ctsync/wire/expectation_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "examples.h"
#include "hex.h"

namespace ctsync::wire {
namespace {

using wire_test::hex;
using Bytes = std::vector<std::uint8_t>;

Tuple tcp4(const Address& src, std::uint16_t sport, const Address& dst, std::uint16_t dport) {
  Tuple t;
  t.family = Family::ipv4;
  t.l4 = kTcp;
  t.src = src;
  t.dst = dst;
  t.src_port = sport;
  t.dst_port = dport;
  return t;
}

const Address kClient{10, 77, 1, 2};
const Address kServer{10, 77, 2, 2};
const Address kAllOnes{255, 255, 255, 255};

// As the kernel reports it.
Expectation ftp_passive() {
  Expectation e;
  e.present = expect_has::kMaster | expect_has::kMasterPorts | expect_has::kExpected | expect_has::kExpectedPorts |
              expect_has::kMask | expect_has::kMaskPorts | expect_has::kTimeout | expect_has::kFlags |
              expect_has::kClass | expect_has::kHelper | expect_has::kZone;
  e.master = tcp4(kClient, 44001, kServer, 21);
  e.expected = tcp4(kClient, 0, kServer, 30021);
  e.mask = tcp4(kAllOnes, 0, kAllOnes, 65535);
  e.timeout = 300;
  e.helper = {'f', 't', 'p'};
  return e;
}

Bytes encode(const Expectation& e, std::uint32_t seq = 0, const EncodeOptions& options = {}, std::uint32_t age = 0) {
  std::array<std::uint8_t, kMaxEncodedSize> room;
  ByteWriter w(room);
  encode_expectation(w, MsgType::expect_new, 0, seq, e, age, options);
  EXPECT_FALSE(w.failed());
  return {w.written().begin(), w.written().end()};
}

TEST(EncodeExpectation, FtpPassiveAsStockDoes) {
  EXPECT_EQ(encode(ftp_passive(), 0x6b02f5d0), hex(wire_test::kFtpPassive));
}

TEST(EncodeExpectation, FtpActiveBehindNatAsStockDoes) {
  auto e = ftp_passive();
  e.master.src_port = 41051;
  e.expected = tcp4(kServer, 0, {10, 77, 2, 100}, 33333);
  e.present |= expect_has::kNat | expect_has::kNatPorts | expect_has::kNatDir | expect_has::kFunction;
  e.nat = tcp4({}, 33333, {}, 0);
  e.nat_dir = 1;
  constexpr char kName[] = "nat-follow-master";
  std::copy(std::begin(kName), std::end(kName), e.function.begin());
  EXPECT_EQ(encode(e, 0x6b02f608), hex(wire_test::kFtpActiveNat));
}

TEST(EncodeExpectation, OptionalPartsMayBeMissing) {
  auto e = ftp_passive();
  EXPECT_EQ(encode(e, 0, {.send_timeout = false}).size(), 124U - 8);
  e.present &= ~(expect_has::kClass | expect_has::kHelper | expect_has::kFlags);
  EXPECT_EQ(encode(e).size(), 124U - 16);  // flags are always there
}

TEST(EncodeExpectation, TimeoutLosesItsAge) {
  Expectation e;
  const auto message = encode(ftp_passive(), 0, {}, 250);
  ASSERT_EQ(decode_expectation(std::span(message).subspan(kHeaderSize), e), DecodeStatus::ok);
  EXPECT_EQ(e.timeout, 50U);
}

// Stock would reject the whole message.
TEST(EncodeExpectation, TooLongNamesAreLeftOut) {
  auto e = ftp_passive();
  e.present |= expect_has::kFunction;
  e.helper.fill('x');
  e.helper[12] = 0;
  e.function.fill('x');
  e.function[28] = 0;
  EXPECT_EQ(encode(e).size(), 124U - 8);
  e.helper[11] = 0;
  e.function[27] = 0;
  EXPECT_EQ(encode(e).size(), 124U - 8 + 16 + 32);
}

TEST(EncodeExpectation, Ipv6HasNoNat) {
  Expectation e;
  e.master.family = e.expected.family = e.nat.family = Family::ipv6;
  e.master.l4 = e.expected.l4 = kTcp;
  e.present = expect_has::kMaster | expect_has::kExpected | expect_has::kNat | expect_has::kNatDir;
  EXPECT_EQ(encode(e).size(), 8U + 36 + 8 + 36 + 8 + 8);
}

TEST(EncodeExpectation, TheLongestMessageFitsTheRoomPromised) {
  auto e = ftp_passive();
  e.present = ~0U;
  for (auto* t : {&e.master, &e.expected, &e.mask}) t->family = Family::ipv6;
  e.nat.family = Family::ipv4;
  e.helper.fill('x');
  e.helper[11] = 0;
  e.function.fill('x');
  e.function[27] = 0;
  EXPECT_LE(encode(e).size(), 288U);
}

const std::string kMaster = "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 00 05 00 02 06 00 00 00 ";
const std::string kExpected = "00 0c 00 04 0a 4d 01 02 0a 4d 02 02 00 05 00 06 06 00 00 00 ";

DecodeStatus decode(const std::string& attributes, Expectation& e) { return decode_expectation(hex(attributes), e); }
DecodeStatus decode(const std::string& attributes) {
  Expectation e;
  return decode(attributes, e);
}

TEST(DecodeExpectation, GivesBackWhatTheKernelSaid) {
  const auto message = hex(wire_test::kFtpPassive);
  Expectation e;
  ASSERT_EQ(decode_expectation(std::span(message).subspan(kHeaderSize), e), DecodeStatus::ok);
  EXPECT_TRUE(same_key(e, ftp_passive()));
  EXPECT_EQ(e.timeout, 300U);
  EXPECT_EQ(e.present, ftp_passive().present & ~expect_has::kZone);
}

TEST(DecodeExpectation, RequiresMasterAndExpectedOfOneFamily) {
  EXPECT_EQ(decode(""), DecodeStatus::incomplete);
  EXPECT_EQ(decode(kMaster), DecodeStatus::incomplete);
  EXPECT_EQ(decode(kExpected), DecodeStatus::incomplete);
  EXPECT_EQ(decode(kExpected + kMaster), DecodeStatus::ok);
  auto six = hex(kMaster + "00 24 00 05");
  six.resize(six.size() + 32);
  const auto proto = hex("00 05 00 06 06 00 00 00");
  six.insert(six.end(), proto.begin(), proto.end());
  Expectation e;
  EXPECT_EQ(decode_expectation(six, e), DecodeStatus::incomplete);
}

TEST(DecodeExpectation, BadAttributesRejectTheMessage) {
  EXPECT_EQ(decode(kMaster + kExpected + "00 08 00 15 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kMaster + kExpected + "00 07 00 0c 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kMaster + kExpected + "00 03 00 0c 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kMaster + kExpected + "00 09 00 0c 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kMaster + kExpected + "00 00 00 00 00"), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode(kMaster + kExpected + "ff ff ff ff"), DecodeStatus::ok);
}

TEST(DecodeExpectation, NamesAreBoundedAndTerminated) {
  const auto name = [](const char* id, std::size_t size) {
    auto message = hex(kMaster + kExpected);
    message.insert(message.end(), {0, static_cast<std::uint8_t>(size + 4), 0, hex(id)[0]});
    message.resize(message.size() + size, 'x');
    return message;
  };
  Expectation e;
  EXPECT_EQ(decode_expectation(name("13", 12), e), DecodeStatus::ok);
  EXPECT_EQ(std::string(e.helper.data()), std::string(12, 'x'));
  EXPECT_EQ(decode_expectation(name("13", 13), e), DecodeStatus::bad_attribute);
  EXPECT_EQ(decode_expectation(name("14", 28), e), DecodeStatus::ok);
  EXPECT_EQ(std::string(e.function.data()), std::string(28, 'x'));
  EXPECT_EQ(decode_expectation(name("14", 29), e), DecodeStatus::bad_attribute);
}

}  // namespace
}  // namespace ctsync::wire
