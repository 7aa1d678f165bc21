// SPDX-License-Identifier: GPL-2.0-or-later
// Every message of every capture of stock daemons is read without a complaint and comes out again byte for byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>

#include "capture.h"
#include "ctsync/wire/expectation_codec.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::wire {
namespace {

using wire_test::Bytes;
using wire_test::capture_names;
using wire_test::read_capture;

struct Totals {
  std::map<MsgType, int> messages;
  int icmp_with_ports = 0;
};

// A message without the port NAT of ICMP, which receivers ignore and so cannot give back.
Bytes without_icmp_ports(const Bytes& message) {
  Bytes out(message.begin(), message.begin() + kHeaderSize);
  for (std::size_t at = kHeaderSize; at < message.size();) {
    const auto size = static_cast<std::size_t>(message[at] << 8 | message[at + 1]);
    const auto step = (size + 3) / 4 * 4;
    const auto id = message[at + 3];
    if (id == 14 || id == 15) {
      EXPECT_EQ(message[at + 4], 0);
      EXPECT_EQ(message[at + 5], 0);
    } else {
      out.insert(out.end(), message.begin() + static_cast<std::ptrdiff_t>(at),
                 message.begin() + static_cast<std::ptrdiff_t>(at + step));
    }
    at += step;
  }
  out[2] = static_cast<std::uint8_t>(out.size() >> 8);
  out[3] = static_cast<std::uint8_t>(out.size());
  return out;
}

Bytes encoded(const Message& m, bool& icmp) {
  std::array<std::uint8_t, kMaxEncodedSize> room;
  ByteWriter w(room);
  const EncodeOptions all{.send_timeout = true, .window_scale = true};
  const auto& h = m.header;
  if (is_flow(h.type)) {
    FlowRecord r;
    EXPECT_EQ(decode_flow(m.payload, r), DecodeStatus::ok);
    icmp = is_icmp(r.flow.orig.l4);
    encode_flow(w, h.type, h.flags, h.seq, r.flow, &r.extra, 0, all);
  } else if (is_expectation(h.type)) {
    Expectation e;
    EXPECT_EQ(decode_expectation(m.payload, e), DecodeStatus::ok);
    encode_expectation(w, h.type, h.flags, h.seq, e, 0, all);
  } else if (h.flags & flag::kRange) {
    encode_control(w, h.flags, h.seq, m.from, m.to);
  } else {
    encode_alive(w, h.flags, h.seq);
  }
  EXPECT_FALSE(w.failed());
  return {w.written().begin(), w.written().end()};
}

void check_all(std::span<const std::uint8_t> data, MessageReader::Source source, Totals& totals) {
  MessageReader reader(data, source);
  Message m;
  ReceiveStats stats;
  std::size_t at = 0;
  while (reader.next(m, stats)) {
    const Bytes original(data.begin() + static_cast<std::ptrdiff_t>(at),
                         data.begin() + static_cast<std::ptrdiff_t>(reader.consumed()));
    at = reader.consumed();
    ++totals.messages[m.header.type];
    bool icmp = false;
    const auto again = encoded(m, icmp);
    if (icmp) {
      const auto expected = without_icmp_ports(original);
      totals.icmp_with_ports += expected.size() != original.size();
      EXPECT_EQ(again, expected);
    } else {
      EXPECT_EQ(again, original);
    }
  }
  EXPECT_EQ(reader.last(), MessageReader::Status::end);
  EXPECT_EQ(stats.malformed, 0U);
}

Totals check_capture(const std::string& name) {
  Totals totals;
  const auto capture = read_capture(name);
  for (const auto& d : capture.datagrams) {
    SCOPED_TRACE(name + " packet " + std::to_string(d.packet));
    check_all(d.bytes, MessageReader::Source::datagram, totals);
  }
  for (const auto& s : capture.streams) {
    SCOPED_TRACE(name + " stream");
    check_all(s.bytes, MessageReader::Source::stream, totals);
  }
  return totals;
}

class EveryCapture : public testing::TestWithParam<std::string> {};

TEST_P(EveryCapture, ReadsAndComesOutAgainByteForByte) {
  const auto totals = check_capture(GetParam());
  int sum = 0;
  for (const auto& [type, count] : totals.messages) sum += count;
  EXPECT_GT(sum, 0);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  auto name = info.param;
  for (auto& c : name) c = c == '-' ? '_' : c;
  return name;
}
INSTANTIATE_TEST_SUITE_P(Captures, EveryCapture, testing::ValuesIn(capture_names()), test_name);

TEST(Captures, AreAllThere) { EXPECT_EQ(capture_names().size(), 34U); }

// What the captures are known to hold; a reader that silently loses packets would pass the test above.
TEST(Captures, HoldWhatTheyAreKnownToHold) {
  const auto mtu4 = read_capture("ftfw-23-mtu-packing-ipv4");
  const auto mtu6 = read_capture("ftfw-24-mtu-packing-ipv6-fragments");
  const auto full = [](const wire_test::Capture& c) {
    return std::ranges::count_if(c.datagrams, [](const auto& d) { return d.bytes.size() == 1456; });
  };
  EXPECT_GE(full(mtu4), 2);
  EXPECT_GE(full(mtu6), 2);
  EXPECT_GE(read_capture("ftfw-28-tcp-transport").streams.size(), 2U);
  EXPECT_GT(check_capture("ftfw-08-expect-ftp-passive").messages[MsgType::expect_new], 0);
  EXPECT_GT(check_capture("ftfw-08-expect-ftp-passive").messages[MsgType::expect_delete], 0);
  EXPECT_GT(check_capture("ftfw-10-bulk-send-seqadj-expect").messages[MsgType::expect_update], 0);
  EXPECT_GT(check_capture("ftfw-05-ipv6-nat66").icmp_with_ports, 0);
  EXPECT_GT(check_capture("ftfw-06-snat-dnat-ipv4").icmp_with_ports, 0);
}

// The receiving side of TCP sees the stream in pieces cut anywhere.
TEST(Captures, TcpStreamCutAnywhereGivesTheSameMessages) {
  for (const auto& s : read_capture("ftfw-28-tcp-transport").streams) {
    const std::span<const std::uint8_t> all(s.bytes);
    std::size_t whole = 0;
    Message m;
    for (MessageReader r(all, MessageReader::Source::stream); r.next(m) == MessageReader::Status::message;) ++whole;
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
      std::size_t count = 0;
      MessageReader first(all.first(cut), MessageReader::Source::stream);
      while (first.next(m) == MessageReader::Status::message) ++count;
      EXPECT_EQ(first.last(), first.consumed() == cut ? MessageReader::Status::end : MessageReader::Status::need_more);
      MessageReader second(all.subspan(first.consumed()), MessageReader::Source::stream);
      while (second.next(m) == MessageReader::Status::message) ++count;
      ASSERT_EQ(count, whole) << "cut at " << cut;
    }
  }
}

}  // namespace
}  // namespace ctsync::wire
