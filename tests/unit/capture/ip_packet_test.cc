// SPDX-License-Identifier: GPL-2.0-or-later
#include "ip_packet.h"

#include <gtest/gtest.h>

#include <map>

#include "frames.h"

namespace ctsync::capture_test {
namespace {

using capture::IpPacket;
using capture::read_ip;

const Bytes kBody = {1, 2, 3, 4, 5};

// Valid until the next call.
std::optional<IpPacket> read(const Bytes& frame, int link_type = kEthernetLink) {
  static Bytes kept;
  kept = frame;
  return read_ip(link_type, {.time = {.seconds = 7, .microseconds = 8}, .bytes = kept});
}

TEST(IpPacket, IsTheSameBehindEveryLinkHeader) {
  const Bytes packet = ipv4(kUdpProtocol, kBody);
  const Bytes type = {0x08, 0};
  const std::map<int, Bytes> frames = {
      {0, joined({{2, 0, 0, 0}, packet})},
      {1, ethernet(packet)},
      {12, packet},
      {108, joined({{0, 0, 0, 2}, packet})},
      {113, joined({Bytes(14), type, packet})},
      {228, packet},
      {276, joined({type, Bytes(18), packet})},
  };
  for (const auto& [link_type, frame] : frames) {
    SCOPED_TRACE(link_type);
    EXPECT_TRUE(capture::is_known_link_type(link_type));
    const auto p = read(frame, link_type);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->time.seconds, 7);
    EXPECT_EQ(p->time.microseconds, 8U);
    EXPECT_EQ(to_string(p->source), "192.0.2.1");
    EXPECT_EQ(to_string(p->destination), "192.0.2.2");
    EXPECT_EQ(p->protocol, kUdpProtocol);
    EXPECT_EQ(payload_of(p), kBody);
    EXPECT_FALSE(p->is_fragment);
  }
  EXPECT_EQ(to_string(read(ipv6(kUdpProtocol, kBody), 229)->source), "fd00::1");
  EXPECT_FALSE(capture::is_known_link_type(105)) << "IEEE 802.11";
}

TEST(IpPacket, IsFoundBehindVlanTags) {
  const Bytes packet = ipv4(kUdpProtocol, kBody);
  const Bytes tagged = joined({Bytes(12), {0x88, 0xa8, 0, 5, 0x81, 0, 0, 7, 0x08, 0}, packet});
  EXPECT_EQ(payload_of(read(tagged)), kBody);
  EXPECT_EQ(payload_of(read(joined({{0x81, 0}, Bytes(18), {0, 7, 0x08, 0}, packet}), 276)), kBody);
}

TEST(IpPacket, HasNeitherThePaddingOfTheLinkNorWhatWasNotCaptured) {
  const Bytes frame = ethernet(ipv4(kUdpProtocol, kBody));
  EXPECT_EQ(payload_of(read(joined({frame, Bytes(21)}))), kBody);
  const auto cut = read(slice(frame, 0, frame.size() - 2));
  EXPECT_EQ(payload_of(cut), slice(kBody, 0, 3));
  EXPECT_EQ(cut->missing, 2U);
}

TEST(IpPacket, ExtensionHeadersOfIpv6AreSteppedOver) {
  const Bytes hop_by_hop = {60, 0, 0, 0, 0, 0, 0, 0};
  const Bytes destination = joined({{51, 1}, Bytes(14)});
  const Bytes authentication = joined({{44, 1}, Bytes(10)});
  const Bytes atomic_fragment = {kUdpProtocol, 0, 0, 0, 0, 0, 0, 9};
  const auto p = read(ethernet(ipv6(0, joined({hop_by_hop, destination, authentication, atomic_fragment, kBody}))));
  EXPECT_EQ(payload_of(p), kBody);
  EXPECT_EQ(p->protocol, kUdpProtocol);
  EXPECT_FALSE(read(ethernet(ipv6(0, {60, 9, 0, 0, 0, 0, 0, 0}))));
}

TEST(IpPacket, Fragments) {
  const auto first = read(ethernet(ipv4(kUdpProtocol, kBody, 77, 0x2000)));
  EXPECT_TRUE(first->is_fragment && first->more);
  EXPECT_EQ(first->id, 77U);
  const auto last = read(ethernet(ipv6(44, joined({{kUdpProtocol, 0, 0, 0x10, 0, 1, 0, 2}, kBody}))));
  EXPECT_TRUE(last->is_fragment && !last->more);
  EXPECT_EQ(last->offset, 16U);
  EXPECT_EQ(last->id, 0x10002U);
  EXPECT_EQ(payload_of(last), kBody);
}

TEST(IpPacket, WhatIsCutInItsHeadersIsNothing) {
  for (const Bytes& packet : {ipv4(kUdpProtocol, {}), ipv6(kUdpProtocol, {})}) {
    const Bytes frame = ethernet(packet);
    for (std::size_t size = 0; size < frame.size(); ++size) EXPECT_FALSE(read(slice(frame, 0, size))) << size;
    EXPECT_TRUE(read(frame));
  }
}

TEST(IpPacket, WhatIsNotIpIsNothing) {
  Bytes frame = ethernet(ipv4(kUdpProtocol, kBody));
  frame[13] = 6;  // ARP
  EXPECT_FALSE(read(frame));
  EXPECT_FALSE(read(ethernet({0x44, 0, 0, 25, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0})))
      << "a header of 16 bytes";
  EXPECT_FALSE(read(joined({{0x50}, Bytes(40)}), 12)) << "version 5";
}

}  // namespace
}  // namespace ctsync::capture_test
