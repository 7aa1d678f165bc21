// SPDX-License-Identifier: GPL-2.0-or-later
// Which address belongs to which peer; sequence arithmetic; the intrusive queues.
#include <gtest/gtest.h>

#include "ctsync/replication/peers.h"
#include "ctsync/replication/send_queue.h"
#include "ctsync/replication/sequence.h"
#include "driver.h"

namespace ctsync::replication_test {
namespace {

struct PeersTest : testing::Test {
  // As an engine does with an accepted message.
  PeerId hear(const PeerAddress& from, std::uint32_t seq, bool hello = false) {
    const wire::Header h{wire::MsgType::flow_new, hello ? wire::flag::kHello : std::uint8_t{0}, 8, seq};
    Peer* p = peers.find(from, h, now);
    if (p == nullptr) p = &peers.add(from, now);
    p->received = true;
    p->last = seq;
    p->last_heard = now;
    ++p->accepted;
    return peers.id(*p);
  }
  Peers peers;
  TimePoint now{1000 * kSecond};
};

TEST_F(PeersTest, AnUnknownAddressOnAnotherLinkJoinsTheSequenceItContinues) {
  const auto a = hear(peer_at(2, 0), 1000, true);
  const auto b = hear(peer_at(3, 0), 50000, true);
  EXPECT_NE(a, b);
  EXPECT_EQ(hear(peer_at(2, 1), 1003), a);
  EXPECT_EQ(hear(peer_at(3, 1), 50001), b);
  EXPECT_EQ(hear(peer_at(2, 0), 1004), a);
}

TEST_F(PeersTest, OnTheSameLinkAnUnknownAddressIsANewPeer) {
  const auto a = hear(peer_at(2, 0), 1000, true);
  EXPECT_NE(hear(peer_at(4, 0), 1001), a);
}

TEST_F(PeersTest, HelloFromAnUnknownAddressIsANewPeer) {
  const auto a = hear(peer_at(2, 0), 1000, true);
  EXPECT_NE(hear(peer_at(2, 1), 1001, true), a);
}

TEST_F(PeersTest, AnAddressFollowsAPeerThatRestartedOnAnotherLink) {
  const auto old_life = hear(peer_at(2, 0), 9'000'000, true);
  now += 10 * kSecond;
  const auto new_life = hear(peer_at(2, 1), 5'000'000, true);
  EXPECT_NE(old_life, new_life);
  EXPECT_EQ(hear(peer_at(2, 0), 5'000'001), new_life);
}

TEST_F(PeersTest, TwoDaemonsTakenForOneArePartedAgain) {
  const auto a = hear(peer_at(2, 0), 1000, true);
  EXPECT_EQ(hear(peer_at(7, 1), 1001), a);  // another daemon whose number happens to fit
  bool parted = false;
  for (std::uint32_t i = 0; i < 10; ++i) {
    now += ms(100);
    parted = hear(peer_at(2, 0), 1002 + i) != hear(peer_at(7, 1), 1002 + i);
  }
  EXPECT_TRUE(parted);
}

TEST_F(PeersTest, TheOneNotHeardForLongestMakesRoom) {
  for (std::uint8_t i = 0; i < kMaxPeers; ++i) {
    hear(peer_at(i), 1000U * i, true);
    now += kSecond;
  }
  hear(peer_at(0), 1);
  const PeerId second = hear(peer_at(1), 1001);
  now += kSecond;
  hear(peer_at(0), 2);
  EXPECT_EQ(hear(peer_at(200), 7, true), 2U);  // the place of host 2
  EXPECT_EQ(hear(peer_at(1), 1002), second);
}

TEST_F(PeersTest, StrangersDoNotPushOutAPeerThatIsAlive) {
  std::uint32_t seq = 1000;
  const PeerId peer = hear(peer_at(2), seq, true);
  hear(peer_at(2), ++seq);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    auto stranger = peer_at(7);
    stranger.address.bytes[1] = static_cast<std::uint8_t>(i);
    stranger.address.bytes[2] = static_cast<std::uint8_t>(i >> 8);
    hear(stranger, 77 * i, true);
    now += ms(10);
  }
  EXPECT_EQ(hear(peer_at(2), ++seq), peer);
  EXPECT_EQ(peers[peer].accepted, 3U);
}

TEST(Sequence, AfterIsTestedFirst) {
  EXPECT_EQ(relation(5, 5), Relation::expected);
  EXPECT_EQ(relation(0, 0xffffffffU), Relation::after);
  EXPECT_EQ(relation(0xffffffffU, 0), Relation::before);
  EXPECT_EQ(relation(0x80000000U, 0), Relation::after);
  EXPECT_EQ(relation(0x80000001U, 0), Relation::before);
  EXPECT_TRUE(is_before(1, 2));
  EXPECT_TRUE(is_after(2, 1));
}

TEST(SendQueue, IsAFifoWithRemovalAnywhere) {
  table::FlowTable flows(100, 0, 1);
  Nodes nodes(&flows, nullptr);
  SendQueue q(nodes, table::Queue::transmit);
  std::vector<NodeRef> refs;
  for (std::uint32_t i = 0; i < 4; ++i) {
    refs.push_back({NodeRef::Kind::flow, flows.insert(flow_record(i), TimePoint{})});
    q.push_back(refs.back());
  }
  refs.push_back(nodes.new_control({.flags = wire::flag::kAck, .from = 1, .to = 2}));
  q.push_back(refs[4]);
  EXPECT_EQ(nodes.queue(refs[0]), table::Queue::transmit);
  q.remove(refs[0]);
  q.remove(refs[2]);
  EXPECT_EQ(q.length(), 3U);
  EXPECT_EQ(q.pop_front(), refs[1]);
  EXPECT_EQ(nodes.queue(refs[1]), table::Queue::none);
  EXPECT_EQ(q.back(), refs[4]);
  q.remove(refs[4]);
  nodes.free_control(refs[4]);
  EXPECT_EQ(nodes.controls(), 0U);
  EXPECT_EQ(q.pop_front(), refs[3]);
  EXPECT_FALSE(q.pop_front());
  EXPECT_TRUE(q.empty());
}

}  // namespace
}  // namespace ctsync::replication_test
