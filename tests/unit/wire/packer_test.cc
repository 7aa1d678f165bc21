// SPDX-License-Identifier: GPL-2.0-or-later
// Packing of messages into datagrams, spec replication.md 1.4.
#include "ctsync/wire/packer.h"

#include <gtest/gtest.h>

#include <vector>

#include "ctsync/wire/message_reader.h"

namespace ctsync::wire {
namespace {

using Bytes = std::vector<std::uint8_t>;

class Recorder final : public DatagramSink {
 public:
  void send(std::span<const std::span<const std::uint8_t>> batch) override {
    batches.push_back(batch.size());
    for (const auto d : batch) datagrams.emplace_back(d.begin(), d.end());
  }
  std::vector<std::size_t> batches;
  std::vector<Bytes> datagrams;
};

// A UDP flow: a message of 52 bytes.
Flow udp(std::uint16_t port) {
  Flow f;
  f.orig.family = Family::ipv4;
  f.orig.l4 = kUdp;
  f.orig.src = {10, 77, 1, 2};
  f.orig.dst = {10, 77, 2, 2};
  f.orig.src_port = port;
  f.orig.dst_port = 53;
  f.present = has::kPorts | has::kStatus | has::kTimeout;
  f.status = status::kConfirmed;
  f.timeout = 30;
  return f;
}

// The sequence numbers of all datagrams in order; each datagram must be whole.
std::vector<std::uint32_t> sequence(const std::vector<Bytes>& datagrams) {
  std::vector<std::uint32_t> seqs;
  for (const auto& d : datagrams) {
    MessageReader reader(d);
    Message m;
    while (reader.next(m) == MessageReader::Status::message) seqs.push_back(m.header.seq);
    EXPECT_EQ(reader.last(), MessageReader::Status::end);
  }
  return seqs;
}

void expect_counting(const std::vector<std::uint32_t>& seqs, std::uint32_t count) {
  ASSERT_EQ(seqs.size(), count);
  for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(seqs[i], i);
}

TEST(Packer, NothingPackedNothingSent) {
  Recorder sink;
  Packer packer(1472, {}, sink);
  EXPECT_TRUE(packer.empty());
  packer.flush();
  EXPECT_TRUE(sink.batches.empty());
}

TEST(Packer, ControlMessagesAreTheWorkedExamples) {
  Recorder sink;
  Packer packer(1472, {}, sink);
  packer.alive(flag::kAlive | flag::kHello, 0x6b02f511);
  packer.control(flag::kAck | flag::kHello | flag::kHelloBack, 0x6b02f514, 0x6b02f514, 0x6b02f514);
  EXPECT_FALSE(packer.empty());
  EXPECT_TRUE(sink.datagrams.empty());
  packer.flush();
  EXPECT_TRUE(packer.empty());
  ASSERT_EQ(sink.datagrams.size(), 1U);
  EXPECT_EQ(sink.datagrams[0], (Bytes{0x1a, 0x30, 0,    8,    0x6b, 2, 0xf5, 0x11, 0x1a, 0x68, 0,    16,
                                      0x6b, 2,    0xf5, 0x14, 0x6b, 2, 0xf5, 0x14, 0x6b, 2,    0xf5, 0x14}));
}

// All of it at once, though no message has so much to say.
TEST(Packer, TheLongestTailFits) {
  Extension e;
  e.capabilities = Capabilities{.node = 1};
  e.bulk_end = BulkEnd{.first = 1, .count = 2};
  e.addressee = Addressee{.node = 1, .heard = 2};
  e.missing.count = Missing::kMost;
  e.sums.count = Sums::kMost;
  e.sums_wanted = 1;
  e.repair_request = RepairRequest{.number = 1, .count = RepairRequest::kMost};
  e.repair_end = RepairEnd{.number = 1, .first = 2};
  e.probe = Probe{.stamp = 1, .count = Probe::kMost};
  Recorder sink;
  Packer packer(1472, {}, sink);
  packer.control(flag::kAck, 1, 2, 3, e);
  packer.flush();
  ASSERT_EQ(sink.datagrams.size(), 1U);
  EXPECT_EQ(sink.datagrams[0].size(), kControlRangeSize + kMaxExtensionSize);
  MessageReader reader(sink.datagrams[0]);
  Message m;
  ASSERT_EQ(reader.next(m), MessageReader::Status::message);
  EXPECT_EQ(read_extension(tail_of(m)), e);
}

// 28 messages of 52 bytes in 1472, as in capture ftfw-23: 1456 bytes.
TEST(Packer, FillsDatagramsAsStockDoes) {
  Recorder sink;
  Packer packer(1472, {}, sink);
  for (std::uint32_t i = 0; i < 60; ++i) packer.flow(MsgType::flow_new, 0, i, udp(1), nullptr, 0);
  packer.flush();
  ASSERT_EQ(sink.datagrams.size(), 3U);
  EXPECT_EQ(sink.datagrams[0].size(), 1456U);
  EXPECT_EQ(sink.datagrams[1].size(), 1456U);
  EXPECT_EQ(sink.datagrams[2].size(), 4U * 52);
  EXPECT_EQ(sink.batches, std::vector<std::size_t>{3});
  expect_counting(sequence(sink.datagrams), 60);
}

TEST(Packer, TheSumMustStayStrictlyBelowTheBuffer) {
  for (const std::size_t buffer : {104U, 105U}) {
    Recorder sink;
    Packer packer(buffer, {}, sink);
    packer.flow(MsgType::flow_new, 0, 0, udp(1), nullptr, 0);
    packer.flow(MsgType::flow_new, 0, 1, udp(2), nullptr, 0);
    packer.flush();
    EXPECT_EQ(sink.datagrams.size(), buffer == 104 ? 2U : 1U);
    expect_counting(sequence(sink.datagrams), 2);
  }
}

// Upstream loops for ever here.
TEST(Packer, MessageNotSmallerThanTheBufferGoesAlone) {
  for (const std::size_t buffer : {0U, 1U, 52U, 92U}) {
    Recorder sink;
    Packer packer(buffer, {}, sink);
    packer.alive(flag::kAlive, 0);
    packer.flow(MsgType::flow_new, 0, 1, udp(1), nullptr, 0);
    packer.flow(MsgType::flow_new, 0, 2, udp(2), nullptr, 0);
    packer.flush();
    expect_counting(sequence(sink.datagrams), 3);
    EXPECT_EQ(sink.datagrams.back().size(), 52U);
    EXPECT_EQ(sink.datagrams.size(), buffer == 92 ? 2U : 3U);
  }
}

TEST(Packer, HandsOverInBatchesAndKeepsOrder) {
  Recorder sink;
  Packer packer(1472, {}, sink);
  constexpr std::uint32_t kCount = 28 * (Packer::kBatch * 3 + 5) + 3;
  for (std::uint32_t i = 0; i < kCount; ++i) packer.flow(MsgType::flow_update, 0, i, udp(1), nullptr, 0);
  EXPECT_EQ(sink.batches.size(), 3U);
  packer.flush();
  ASSERT_EQ(sink.batches.size(), 4U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(sink.batches[i], Packer::kBatch);
  expect_counting(sequence(sink.datagrams), kCount);
}

TEST(Packer, ManySmallDatagramsMakeFullBatches) {
  Recorder sink;
  Packer packer(9, {}, sink);
  for (std::uint32_t i = 0; i < 2 * Packer::kBatch + 1; ++i) packer.alive(flag::kAlive, i);
  packer.flush();
  EXPECT_EQ(sink.batches, (std::vector<std::size_t>{Packer::kBatch, Packer::kBatch, 1}));
  expect_counting(sequence(sink.datagrams), 2 * Packer::kBatch + 1);
}

TEST(Packer, EveryBufferSizeOfALinkKeepsEveryMessageWhole) {
  for (const std::size_t buffer : {100U, 552U, 1460U, 8972U, 16356U, 65508U}) {
    Recorder sink;
    Packer packer(buffer, {}, sink);
    for (std::uint32_t i = 0; i < 6000; ++i) {
      if (i % 7 == 0) {
        packer.control(flag::kAck, i, 1, 2);
      } else {
        packer.flow(MsgType::flow_update, 0, i, udp(static_cast<std::uint16_t>(i)), nullptr, 0);
      }
    }
    packer.flush();
    expect_counting(sequence(sink.datagrams), 6000);
    for (const auto& d : sink.datagrams) EXPECT_LT(d.size(), buffer);
  }
}

TEST(Packer, AnotherLinkTakesOverInTheMiddle) {
  Recorder sink;
  Packer packer(1472, {}, sink);
  std::uint32_t seq = 0;
  for (const std::size_t buffer : {1472U, 65508U, 200U, 8972U}) {
    packer.set_buffer_size(buffer);
    for (int i = 0; i < 500; ++i) packer.flow(MsgType::flow_new, 0, seq++, udp(1), nullptr, 0);
  }
  packer.flush();
  expect_counting(sequence(sink.datagrams), seq);
}

// The link tells a change from inside the sink's own calls: that must not send again.
TEST(Packer, ALargerBufferSizeSendsNothingAndKeepsWhatIsPacked) {
  Recorder sink;
  Packer packer(200, {}, sink);
  std::uint32_t seq = 0;
  for (int i = 0; i < 20; ++i) packer.flow(MsgType::flow_new, 0, seq++, udp(1), nullptr, 0);
  ASSERT_TRUE(sink.datagrams.empty());
  packer.set_buffer_size(65488);
  EXPECT_TRUE(sink.datagrams.empty());
  for (int i = 0; i < 20; ++i) packer.flow(MsgType::flow_new, 0, seq++, udp(1), nullptr, 0);
  packer.flush();
  ASSERT_GT(sink.datagrams.size(), 2U);
  EXPECT_LT(sink.datagrams.front().size(), 200U);
  EXPECT_GT(sink.datagrams.back().size(), 200U);
  expect_counting(sequence(sink.datagrams), seq);
}

TEST(Packer, OptionsReachTheCodec) {
  Recorder sink;
  Packer packer(1472, {.send_timeout = false}, sink);
  packer.flow(MsgType::flow_new, 0, 0, udp(1), nullptr, 0);
  packer.flush();
  EXPECT_EQ(sink.datagrams[0].size(), 44U);
}

}  // namespace
}  // namespace ctsync::wire
