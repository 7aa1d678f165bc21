// SPDX-License-Identifier: GPL-2.0-or-later
// Which address belongs to which peer; sequence arithmetic; the intrusive queues.
#include <gtest/gtest.h>

#include <array>
#include <optional>

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

TEST_F(PeersTest, LinksThatGetOtherNumbersKeepTheirPeers) {
  const auto at = [](std::uint8_t link, const PeerAddress& a) { return PeerAddress{link, a.address}; };
  const auto a = hear(peer_at(2, 0), 1000, true);
  EXPECT_EQ(hear(peer_at(2, 1), 1001), a);
  const auto b = hear(peer_at(3, 1), 50000, true);
  peers.move_links(
      std::array<std::optional<std::size_t>, 2>{1, std::nullopt});  // the first is gone, there is a new one
  EXPECT_EQ(hear(at(0, peer_at(2, 1)), 1002), a);
  EXPECT_EQ(hear(at(0, peer_at(3, 1)), 7'000'000), b);
  EXPECT_EQ(hear(at(1, peer_at(2, 0)), 1003), a);
  peers.move_links(std::array<std::optional<std::size_t>, 1>{std::nullopt});  // another link, and other addresses there
  EXPECT_EQ(hear(peer_at(8, 0), 1004), a);
  EXPECT_EQ(hear(peer_at(9, 0), 7'000'001), b);
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

// --- Nodes that tell who they are ---

struct NamedPeersTest : PeersTest {
  static wire::Capabilities node(std::uint32_t process, std::uint64_t host) {
    wire::Capabilities c;
    c.node = process;
    c.host = host;
    return c;
  }
  PeerId hear_named(const PeerAddress& from, std::uint32_t seq, const wire::Capabilities& who) {
    const wire::Header h{wire::MsgType::control, 0, 8, seq};
    Peer* p = peers.find(from, h, now, &who);
    if (p == nullptr) p = &peers.add(from, now);
    p->received = true;
    p->last = seq;
    p->last_heard = now;
    p->node = who.node;
    p->host = who.host;
    p->addresses = who.addresses;
    return peers.id(*p);
  }
};

TEST_F(NamedPeersTest, NumbersThatFitJoinNobody) {
  const auto a = hear_named(peer_at(2, 0), 1000, node(1, 5));
  EXPECT_NE(hear(peer_at(7, 1), 1001), a);
}

TEST_F(NamedPeersTest, AnAddressThatWasTakenForAnothersIsRighted) {
  const auto a = hear(peer_at(2, 0), 1000, true);
  EXPECT_EQ(hear(peer_at(7, 1), 1001), a);
  hear_named(peer_at(2, 0), 1002, node(1, 5));
  const auto b = hear_named(peer_at(7, 1), 1003, node(2, 6));
  EXPECT_NE(b, a);
  EXPECT_EQ(hear(peer_at(7, 1), 1004), b);
  EXPECT_EQ(hear(peer_at(2, 0), 1005), a);
}

TEST_F(NamedPeersTest, AnAddressIsOfTheOneThatNamesIt) {
  auto who = node(1, 5);
  who.addresses[0] = peer_at(2, 0).address;
  who.addresses[1] = peer_at(3, 1).address;
  const auto a = hear_named(peer_at(2, 0), 1000, who);
  EXPECT_EQ(hear(peer_at(3, 1), 77'000'000, true), a) << "also if it has restarted";
}

TEST_F(NamedPeersTest, NoNumberOfJumpsPartsThem) {
  auto who = node(1, 5);
  who.addresses[0] = peer_at(3, 1).address;
  const auto a = hear_named(peer_at(2, 0), 1000, who);
  for (std::uint32_t i = 0; i < 20; ++i) {
    EXPECT_EQ(hear(peer_at(3, 1), 1001 + 2 * i), a);
    EXPECT_EQ(hear(peer_at(2, 0), 1002 + 2 * i), a);
  }
}

TEST_F(NamedPeersTest, WhatSaidNothingOfItselfIsFoundToBeAPart) {
  const auto part = hear(peer_at(3, 1), 5000, true);
  auto who = node(1, 5);
  who.addresses[0] = peer_at(2, 0).address;
  who.addresses[1] = peer_at(3, 1).address;
  const auto a = hear_named(peer_at(2, 0), 77'000'000, who);
  ASSERT_NE(part, a);
  EXPECT_TRUE(Peers::is_part_of(peers[part], peers[a]));
  EXPECT_FALSE(Peers::is_part_of(peers[a], peers[a]));
  const auto owner = peers[part].owner;
  peers.forget(peers.all()[part]);
  const auto former = peers.take_former(peers[a]);
  ASSERT_EQ(former.size(), 1U);
  EXPECT_EQ(former[0].owner, owner);
  EXPECT_TRUE(peers.take_former(peers[a]).empty());
}

// What they told would never be removed: no peer would ever say that it has ended.
TEST_F(NamedPeersTest, ThoseThatMadeRoomAreRemembered) {
  const auto first = hear_named(peer_at(0), 1000, node(1, 5));
  const auto owner = peers[first].owner;
  for (std::uint8_t i = 1; i <= kMaxPeers; ++i) {
    now += kSecond;
    hear(peer_at(i), 1000U * i, true);
  }
  const auto again = hear_named(peer_at(0, 1), 5'000'000, node(2, 5));
  const auto former = peers.take_former(peers[again]);
  ASSERT_EQ(former.size(), 1U);
  EXPECT_EQ(former[0].owner, owner);
}

// --- Several senders behind one address ---

TEST_F(PeersTest, TwoRunsOfNumbersFromOneAddressAreTwoPeers) {
  const auto a = hear(peer_at(2), 1000, true);
  bool parted = false;
  for (std::uint32_t i = 1; i <= 50; ++i) {
    now += ms(100);
    const auto other = hear(peer_at(2), 5'000'000 + i);
    hear(peer_at(2), 1000 + i);
    if (other != a) parted = true;
    EXPECT_FALSE(parted && i < 20);
  }
  EXPECT_TRUE(parted);
  const auto b = hear(peer_at(2), 5'000'051);
  EXPECT_NE(b, a);
  EXPECT_EQ(hear(peer_at(2), 1060), a) << "also after losses";
  EXPECT_EQ(hear(peer_at(2), 5'000'080), b);
  EXPECT_TRUE(peers[a].shares);
  EXPECT_TRUE(peers[b].shares);
  now += 11 * kSecond;  // the first one has gone
  hear(peer_at(2), 5'000'081);
  EXPECT_EQ(hear(peer_at(2), 1061), b);
  EXPECT_EQ(peers.count(), 1U);
}

TEST_F(PeersTest, LateCopiesFromBeforeARestartAreNoSecondSender) {
  const auto a = hear(peer_at(2), 1000, true);
  for (std::uint32_t i = 1; i <= 20; ++i) {
    now += ms(100);
    EXPECT_EQ(hear(peer_at(2), 5'000'000 + i, i == 1), a);
    EXPECT_EQ(hear(peer_at(2), 1000 + i), a);
  }
}

TEST_F(PeersTest, EverythingTwiceIsNoSecondSender) {
  const auto a = hear(peer_at(2), 1000, true);
  for (std::uint32_t i = 1; i <= 100; ++i) {
    now += ms(100);
    EXPECT_EQ(hear(peer_at(2), 1010 + i), a);
    EXPECT_EQ(hear(peer_at(2), 1000 + i), a);
  }
}

TEST_F(NamedPeersTest, TwoHostsShareTheAddressFromWhichBothAreHeard) {
  const auto a = hear_named(peer_at(2), 1000, node(1, 5));
  const auto b = hear_named(peer_at(2), 5'000'000, node(2, 6));
  EXPECT_NE(a, b);
  for (std::uint32_t i = 1; i <= 50; ++i) {
    now += ms(100);
    EXPECT_EQ(hear(peer_at(2), 1000 + i), a);
    EXPECT_EQ(hear(peer_at(2), 5'000'000 + i), b);
  }
  EXPECT_EQ(hear_named(peer_at(2), 77, node(1, 5)), a) << "whatever its number";
  EXPECT_EQ(hear_named(peer_at(2), 5'000'051, node(2, 6)), b);
  now += 11 * kSecond;
  EXPECT_EQ(hear_named(peer_at(2), 5'000'052, node(2, 6)), b);
  hear(peer_at(2), 78);
  EXPECT_EQ(peers.count(), 1U);
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

TEST(MissingNumbers, WhatWasNamedMakesRoom) {
  Peer p;
  const auto add = [&p](std::uint32_t from, std::uint32_t to) {
    p.last = to + 10;
    p.add_missing({.from = from, .to = to});
  };
  const auto range = [&p](std::size_t i) { return std::pair(p.missing.ranges[i].from, p.missing.ranges[i].to); };
  for (std::uint32_t i = 0; i < wire::Missing::kMost; ++i) add(1000 + 100 * i, 1010 + 100 * i);
  add(2600, 2605);  // none has been named: two near each other become one
  EXPECT_EQ(p.missing.count, wire::Missing::kMost);
  EXPECT_EQ(range(0), std::pair(1000U, 1110U));
  p.named = 1510;
  add(2650, 2655);
  EXPECT_EQ(range(0), std::pair(1000U, 1210U));
  add(2700, 2705);
  add(2750, 2755);
  add(2800, 2805);
  EXPECT_EQ(range(0), std::pair(1000U, 1510U));
  EXPECT_EQ(range(1), std::pair(1600U, 1610U));
  add(2850, 2855);
  EXPECT_EQ(range(0), std::pair(1000U, 1510U));
  EXPECT_EQ(range(p.missing.count - 1U), std::pair(2850U, 2855U));
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
