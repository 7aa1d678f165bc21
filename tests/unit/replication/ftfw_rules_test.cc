// SPDX-License-Identifier: GPL-2.0-or-later
// The rules of FT-FW one by one: spec replication.md 3.2, traps of 8, defects of 9 that we do not repeat.
#include <gtest/gtest.h>

#include "driver.h"

namespace ctsync::replication_test {
namespace {

using Node = Driver<FtFw>;

EngineOptions start_at(std::uint32_t seq) {
  EngineOptions o;
  o.first_sequence = seq;
  return o;
}

// Hello done with one peer whose next number is 100 (hex); own next number is 12 (hex), nothing in flight.
struct FtFwRules : testing::Test {
  explicit FtFwRules(EngineOptions o = start_at(0x10)) : n(o) {
    n.wait(kSecond);
    n.hear("ALIVE|HELLO|BACK ff");
    n.wait(kSecond);
    n.hear("ACK 100 11..11");
    n.wait(kSecond);
    n.hear("ACK 101 12..12");
    n.take();
  }
  Node n;  // own next number 13, next of the peer 102
};

TEST_F(FtFwRules, BadMessagesDoNotMoveTheNumber) {
  wire::Message m;
  m.header = {static_cast<wire::MsgType>(6), 0, 8, 0x102};
  EXPECT_EQ(n.engine.on_message(peer_at(2), m, n.now), Verdict::bad);  // unassigned type
  m.header = {wire::MsgType::flow_new, 0x01, 8, 0x102};
  EXPECT_EQ(n.engine.on_message(peer_at(2), m, n.now), Verdict::bad);  // flag on data
  m.header = {wire::MsgType::control, wire::flag::kHello, 8, 0x102};
  EXPECT_EQ(n.engine.on_message(peer_at(2), m, n.now), Verdict::bad);  // control of no kind
  EXPECT_EQ(n.hear("ACK 102 5..4"), Verdict::bad);
  EXPECT_EQ(n.hear("NACK 102 5..4"), Verdict::bad);
  EXPECT_EQ(n.stats.lost, 0U);
  EXPECT_EQ(n.hear("NEW 102"), Verdict::accept_data);
}

TEST_F(FtFwRules, LostMessagesAreCountedOnce) {
  n.hear("NEW 105");
  EXPECT_EQ(n.stats.lost, 3U);
  n.hear("ACK 107 5..4");  // bad
  n.hear("NEW 107");
  EXPECT_EQ(n.stats.lost, 4U);
}

TEST_F(FtFwRules, AGapIsAnsweredWithAckAndNack) {
  n.hear("NEW 102");
  EXPECT_EQ(n.turn("NEW 105"), (Lines{"ACK 13 101..102", "NACK 14 103..104"}));
  EXPECT_EQ(n.wait(kSecond), Lines{"ACK 15 105..105"});
}

TEST_F(FtFwRules, OldMessagesAreDroppedSilently) {
  EXPECT_EQ(n.hear("NEW 101"), Verdict::old);
  EXPECT_EQ(n.drain(), Lines{});
  EXPECT_EQ(n.stats.before, 1U);
}

TEST_F(FtFwRules, TwoStockNodesWithTheSameNumbersAreToldFromTheirContents) {
  const auto hear = [&](std::uint32_t seq, std::uint8_t content) {
    wire::Message m;
    m.header = {wire::MsgType::flow_new, 0, 9, seq};
    m.payload = std::span(&content, 1);
    return n.engine.on_message(peer_at(2), m, n.now);
  };
  for (std::uint32_t seq = 0x102; seq != 0x112; ++seq) {
    EXPECT_EQ(hear(seq, 1), Verdict::accept_data);
    EXPECT_EQ(hear(seq, 1), Verdict::old) << "a copy";
    if (seq <= 0x108) continue;
    EXPECT_EQ(hear(seq, 2), seq < 0x10b ? Verdict::old : Verdict::accept_data);
    n.now += ms(100);
  }
  EXPECT_EQ(n.alike, 1);
  EXPECT_EQ(n.stats.lost, 0U);
}

TEST_F(FtFwRules, ANewEventTakesTheObjectOutOfTheResendQueue) {
  n.event(1);
  n.event(2);
  EXPECT_EQ(n.drain(), (Lines{"NEW 13", "NEW 14"}));
  n.event(1);
  EXPECT_EQ(n.drain(), Lines{"UPD 15"});
  EXPECT_EQ(n.engine.resend_length(), 2U);
  EXPECT_EQ(n.turn("NACK 102 13..13"), Lines{});  // the number has vanished
  EXPECT_EQ(n.turn("NACK 103 14..15"), (Lines{"NEW 16", "UPD 17"}));
}

TEST_F(FtFwRules, AFlowThatSucceedsAnotherIsNewUntilThatHasArrived) {
  const auto id = n.event(1);
  n.flows.slot(id).succeeds = true;
  n.event(1);  // has changed
  EXPECT_EQ(n.drain(), Lines{"NEW 13"});
  n.event(1);
  EXPECT_EQ(n.drain(), Lines{"NEW 14"});
  n.hear("NACK 102 13..14");
  EXPECT_EQ(n.drain(), Lines{"NEW 15"});
  n.hear("ACK 103 13..15");
  n.drain();
  n.event(1);
  EXPECT_EQ(n.drain(), Lines{"UPD 16"});
  n.flows.slot(id).succeeds = true;
  n.destroy(1);
  EXPECT_EQ(n.drain(), Lines{"DEL 17"});
}

TEST_F(FtFwRules, AnObjectWaitsOnceAndIsSentAsItIsNow) {
  n.event(1);
  n.event(1);
  n.event(1);
  EXPECT_EQ(n.engine.transmit_length(), 1U);
  EXPECT_EQ(n.drain(), Lines{"UPD 13"});
}

TEST_F(FtFwRules, ADestroyedFlowIsKeptUntilItsDelIsAcknowledged) {
  n.event(1);
  n.drain();
  n.destroy(1);
  EXPECT_EQ(n.drain(), Lines{"DEL 14"});
  EXPECT_EQ(n.flows.total(), 1U);
  EXPECT_EQ(n.turn("NACK 102 14..14"), Lines{"DEL 15"});
  n.hear("ACK 103 13..15");
  EXPECT_EQ(n.flows.total(), 0U);
}

TEST_F(FtFwRules, AFlowThatEndsByOurOwnHandIsNotAnnounced) {
  n.event(1, Announce::no);
  n.destroy(1, Announce::no);
  EXPECT_EQ(n.flows.total(), 0U);  // in no queue: gone at once
  n.event(2);
  n.drain();
  n.destroy(2, Announce::no);
  EXPECT_EQ(n.drain(), Lines{});
  EXPECT_EQ(n.flows.total(), 1U);  // its NEW may yet be asked for, and then is a DEL
  EXPECT_EQ(n.turn("NACK 102 13..13"), Lines{"DEL 14"});
}

TEST_F(FtFwRules, ALeavingFlowIsForgotten) {
  const auto waiting = n.event(1);
  n.engine.flow_leaving(waiting);
  n.flows.release(waiting);
  const auto sent = n.event(2);
  EXPECT_EQ(n.drain(), Lines{"NEW 13"});
  n.engine.flow_leaving(sent);
  n.flows.release(sent);
  EXPECT_EQ(n.engine.resend_length(), 0U);
  EXPECT_EQ(n.turn("NACK 102 13..13"), Lines{});
}

TEST_F(FtFwRules, TimeoutsAreSentWithTheirAge) {
  n.event(1);
  n.drain();
  EXPECT_EQ(n.last_timeout, 30U);
  n.now += 7 * kSecond;
  n.turn("NACK 102 13..13");
  EXPECT_EQ(n.last_timeout, 23U);
}

TEST_F(FtFwRules, ControlMessagesAreRepeatedToo) {
  n.engine.request_resync(n.now);
  EXPECT_EQ(n.drain(), Lines{"RESYNC 13 0..0"});
  EXPECT_EQ(n.turn("NACK 102 13..13"), Lines{"RESYNC 14 0..0"});
}

TEST_F(FtFwRules, AnAckThatSkipsNumbersMeansTheyAreMissing) {
  for (std::uint32_t i = 1; i <= 4; ++i) n.event(i);
  n.drain();                                                         // 13 to 16
  EXPECT_EQ(n.turn("ACK 102 15..16"), (Lines{"NEW 17", "NEW 18"}));  // 13 and 14, though no NACK came
  EXPECT_EQ(n.turn("ACK 103 17..18"), Lines{});
  EXPECT_EQ(n.engine.resend_length(), 0U);
}

TEST_F(FtFwRules, RangesOfNumbersNeverSentAreIgnored) {
  n.event(1);
  n.drain();
  EXPECT_EQ(n.hear("ACK 102 10..5000"), Verdict::consumed);
  EXPECT_EQ(n.hear("NACK 103 10..5000"), Verdict::consumed);
  EXPECT_EQ(n.drain(), Lines{});
  EXPECT_EQ(n.engine.resend_length(), 1U);
}

TEST_F(FtFwRules, HelloEmptiesTheResendQueueOnceASession) {
  n.event(1);
  n.drain();
  n.hear("ALIVE|HELLO 5000");  // the peer restarted
  EXPECT_EQ(n.restarted, 1);
  EXPECT_EQ(n.engine.resend_length(), 0U);
  n.event(2);
  EXPECT_EQ(n.drain(), Lines{"NEW|BACK 14"});
  n.hear("ALIVE|HELLO 5001");  // it has not heard us yet
  EXPECT_EQ(n.restarted, 1);
  EXPECT_EQ(n.engine.resend_length(), 1U);
}

TEST_F(FtFwRules, ALateHelloIsOld) {
  n.hear("NEW|HELLO 5000");
  n.hear("NEW|HELLO 5001");
  n.hear("NEW 5002");
  n.now += ms(100);
  EXPECT_EQ(n.hear("NEW|HELLO 5001"), Verdict::old);
  n.now += kSecond;
  EXPECT_EQ(n.hear("NEW|HELLO 4fff"), Verdict::accept_data);  // a restart after the clock was set back
}

// Its first HELLO looked like a late copy of the session before, and everything after it was old.
TEST_F(FtFwRules, APeerThatRestartsSoonAfterItsHelloLosesNothing) {
  std::uint32_t first = 0x5000;
  for (const char* said : {"NEW", "NEW|HELLO"}) {
    SCOPED_TRACE(said);
    const auto hear = [&](const char* what, std::uint32_t number, const char* range = "") {
      return n.hear(fmt::format("{} {:x}{}", what, first + number, range));
    };
    hear("NEW|HELLO", 0);
    for (std::uint32_t i = 1; i < 6; ++i) hear("NEW", i);
    n.event(1);
    n.drain();
    n.now += ms(100);
    EXPECT_EQ(hear("RESYNC|HELLO", 2, " 0..0"), Verdict::old);
    EXPECT_EQ(hear("NEW", 3), Verdict::old);
    const auto restarted = n.restarted;
    n.event(2);  // the new one may lack it
    for (const auto& line : n.wait(ms(1100))) {
      EXPECT_FALSE(line.starts_with("ACK")) << line << ": of the numbers that the new one uses, too";
    }
    EXPECT_EQ(hear(said, 4), Verdict::accept_data);
    EXPECT_EQ(n.restarted, restarted + 1);
    EXPECT_EQ(n.engine.resend_length(), 1U);
    const auto sent = n.drain();
    const auto wanted = fmt::format("{:x}..{:x}", first + 2, first + 3);
    EXPECT_TRUE(std::ranges::any_of(sent, [&](auto& l) { return l.starts_with("NACK") && l.ends_with(wanted); }))
        << testing::PrintToString(sent);
    EXPECT_EQ(hear("NEW", 5), Verdict::accept_data);
    first += 0x1000;
  }
}

TEST_F(FtFwRules, OldNumbersAfterAHelloUpToANewOneAreAskedFor) {
  for (const char* m : {"NEW|HELLO 5000", "NEW 5001", "NEW 5002", "NEW 5003"}) n.hear(m);
  n.drain();
  n.now += ms(100);
  const auto restarted = n.restarted;
  n.hear("NEW|HELLO 5001");  // a copy that came late
  EXPECT_EQ(n.turn("NEW 5004"), Lines{});
  n.hear("NEW|HELLO 5003");
  n.hear("NEW 5004");
  EXPECT_EQ(n.hear("NEW 5005"), Verdict::accept_data);
  const auto sent = n.drain();
  ASSERT_EQ(sent.size(), 1U) << testing::PrintToString(sent);
  EXPECT_TRUE(sent[0].ends_with("5003..5004")) << sent[0];
  EXPECT_EQ(n.restarted, restarted);
}

TEST_F(FtFwRules, ADamagedNumberCostsNothing) {
  EXPECT_EQ(n.hear("NEW 40000102"), Verdict::old);
  EXPECT_EQ(n.drain(), Lines{});
  EXPECT_EQ(n.hear("NEW 102"), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW 40000104"), Verdict::old);  // not the successor of the first
}

TEST_F(FtFwRules, APeerThatGoesBackIsBelievedAfterThreeSeconds) {
  n.hear("NEW 150");  // believed, though wrong
  n.drain();
  for (int i = 0; i < 4; ++i) {
    n.wait(kSecond);
    EXPECT_EQ(n.hear(fmt::format("ALIVE {:x}", 0x102 + i)), i < 2 ? Verdict::old : Verdict::consumed) << i;
  }
  EXPECT_EQ(n.hear("NEW 106"), Verdict::accept_data);
}

TEST_F(FtFwRules, ResyncRequestsDuringABulkMakeOneMore) {
  for (std::uint32_t i = 1; i <= 2000; ++i) n.event(i, Announce::no);
  n.keep_text = false;
  n.hear("RESYNC 102 0..0");
  n.drain();
  for (std::uint32_t s = 0x103; s < 0x113; ++s) n.hear(fmt::format("RESYNC {:x} 0..0", s));
  n.wait(10 * kSecond);
  EXPECT_EQ(n.resyncs, 17);
  EXPECT_EQ(n.bulks, 2);
}

TEST_F(FtFwRules, BulkRepeatsDeadFlowsAndTakesTheUnacknowledged) {
  n.event(1);
  n.event(2);
  n.drain();
  n.destroy(2);
  n.drain();
  n.event(3, Announce::no);
  n.engine.start_bulk(n.now);
  EXPECT_EQ(n.drain(), (Lines{"NEW 16", "DEL 17", "NEW 18"}));
  EXPECT_EQ(n.engine.resend_length(), 3U);
  EXPECT_EQ(n.drain(), Lines{});
}

TEST_F(FtFwRules, BulkEndsWithTheExpectations) {
  n.event(1, Announce::no);
  Expectation e;
  e.master.family = e.expected.family = e.mask.family = Family::ipv4;
  e.master.l4 = e.expected.l4 = kTcp;
  e.present = expect_has::kMaster | expect_has::kExpected | expect_has::kMask;
  const auto id = n.expectations.insert(e, n.now);
  n.engine.expectation_changed(id, Announce::no, n.now);
  n.engine.start_bulk(n.now);
  EXPECT_EQ(n.drain(), (Lines{"NEW 13", "EXP_NEW 14"}));
  n.expectations.mark_dead(id);
  n.engine.expectation_dead(id, Announce::yes);
  EXPECT_EQ(n.drain(), Lines{"EXP_DEL 15"});
  n.hear("ACK 102 13..15");
  EXPECT_EQ(n.expectations.total(), 0U);
}

TEST_F(FtFwRules, ListsWhatIsUnacknowledged) {
  n.event(1);
  n.engine.request_resync(n.now);
  n.drain();
  Lines all;
  std::optional<std::uint32_t> next;
  while (n.engine.list_unacknowledged(next, 1, [&](bool control, std::uint32_t seq, std::uint8_t flags) {
    all.push_back(fmt::format("{} {:x} {:x}", control, seq, flags));
  }) != 0) {
  }
  EXPECT_EQ(all, (Lines{"true 13 2", "false 14 0"}));
}

// It used to give up everything before the dead one.
TEST_F(FtFwRules, AMessageIsWatchedUntilItIsAcknowledged) {
  const Peer& peer = n.engine.peers()[0];
  n.event(1);
  n.event(2);
  EXPECT_EQ(n.drain(), (Lines{"NEW 13", "NEW 14"}));
  const auto sent = n.now;
  EXPECT_EQ(peer.watched, 0x14U);
  n.now += ms(3);
  n.event(3);
  n.drain();
  n.hear("ACK 102 13..13");
  EXPECT_EQ(peer.watched_at, sent);
  n.hear("ACK 103 14..15");
  EXPECT_FALSE(peer.watched_at);
  n.event(3);
  n.drain();
  EXPECT_EQ(peer.watched, 0x16U);
  EXPECT_EQ(peer.watched_at, n.now);
}

TEST_F(FtFwRules, NoAcknowledgementIsWaitedForFromWhoHasRestarted) {
  n.event(1);
  n.drain();
  EXPECT_TRUE(n.engine.peers()[0].watched_at);
  n.hear("ALIVE|HELLO 1000");
  EXPECT_FALSE(n.engine.peers()[0].watched_at);
}

TEST(FtFw, AFullTableGivesUpNothingButDeadFlows) {
  Node n(start_at(1), true, 10);
  n.hear("ALIVE|HELLO 100");
  for (std::uint32_t i = 1; i <= 10; ++i) n.event(i);
  n.drain();
  n.destroy(9);
  n.destroy(10);
  n.drain();
  EXPECT_TRUE(n.engine.release_one_dead());
  EXPECT_TRUE(n.engine.release_one_dead());
  EXPECT_FALSE(n.engine.release_one_dead());
  EXPECT_EQ(n.engine.resend_length(), 8U);
}

TEST(FtFw, AFullTableGivesUpDeadFlows) {
  Node n(start_at(1), true, 10);
  for (std::uint32_t i = 1; i <= 10; ++i) n.event(i);
  n.drain();
  EXPECT_FALSE(n.engine.release_one_dead());
  for (std::uint32_t i = 1; i <= 10; ++i) n.event(i);
  n.drain();
  n.destroy(3);
  n.destroy(4);
  n.drain();
  EXPECT_EQ(n.flows.total(), 10U);
  EXPECT_TRUE(n.engine.release_one_dead());
  EXPECT_EQ(n.flows.total(), 9U);
}

TEST(FtFw, EachSenderHasItsOwnSequence) {
  Node n(start_at(1));
  EXPECT_EQ(n.hear("NEW|HELLO 100", peer_at(2)), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW|HELLO 9000", peer_at(3)), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW 101", peer_at(2)), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW 9001", peer_at(3)), Verdict::accept_data);
  EXPECT_EQ(n.appeared, 2);
  EXPECT_EQ(n.stats.lost + n.stats.before, 0U);
  EXPECT_EQ(n.wait(kSecond), (Lines{"ACK|HELLO|BACK 1 100..101", "ACK|HELLO 2 9000..9001"}));
}

TEST(FtFw, TwoNodesWithAckWindowOneComeToRest) {
  EngineOptions o = start_at(1);
  o.ack_window = 1;
  Node n(o);
  n.wait(kSecond);
  n.turn("ALIVE|HELLO|BACK 10");
  EXPECT_EQ(n.turn("ACK 11 1..1"), Lines{});
  EXPECT_EQ(n.turn("NEW 12"), Lines{"ACK 3 11..12"});
}

// A peer on another link is the same sender: one sequence over all links.
TEST(FtFw, FailoverToAnotherLinkKeepsTheSequence) {
  Node n(start_at(1));
  n.hear("NEW|HELLO 100", peer_at(2, 0));
  n.hear("NEW 101", peer_at(2, 0));
  EXPECT_EQ(n.hear("NEW 104", peer_at(2, 1)), Verdict::accept_data);
  EXPECT_EQ(n.gaps, Lines{"102..103"});
  EXPECT_EQ(n.hear("NEW 105", peer_at(2, 0)), Verdict::accept_data);
  EXPECT_EQ(n.appeared, 1);
}

// Else a lost last message is missed only a second later.
TEST(FtFwTail, ASilenceBeginsWithAnAliveIfThePeerCanTellWhatIsMissing) {
  auto o = start_at(0x10);
  o.self.node = 77;
  Node n(o);
  n.wait(kSecond);
  n.hear("ALIVE|HELLO|BACK 100");
  n.wait(kSecond);
  n.event(1);
  n.drain();
  EXPECT_EQ(n.wait(ms(500)), Lines{}) << "a stock node has nothing of it";
  wire::Extension e;
  e.capabilities.emplace();
  e.capabilities->node = 5;
  std::array<std::uint8_t, wire::kMaxExtensionSize> room{};
  ByteWriter w(room);
  write_extension(w, e);
  wire::Message m;
  m.header = {wire::MsgType::control, wire::flag::kAlive, 8, 0x101};
  m.payload = w.written();
  n.engine.on_message(peer_at(2), m, n.now);
  n.wait(kSecond);
  n.event(1);
  const auto at_once = n.drain();
  ASSERT_EQ(at_once.size(), 1U);
  EXPECT_TRUE(at_once[0].starts_with("UPD"));
  EXPECT_EQ(n.wait(FtFw::kTailProbe - ms(1)), Lines{});
  const auto later = n.wait(ms(2));
  ASSERT_EQ(later.size(), 1U);
  EXPECT_TRUE(later[0].starts_with("ALIVE")) << later[0];
  EXPECT_EQ(n.wait(ms(200)), Lines{}) << "once";
}

// --- Work in pieces ---

// 131072 flows sent and not acknowledged; a peer whose next number is 102 (hex).
struct FtFwFullQueue : FtFwRules {
  FtFwFullQueue() {
    n.keep_text = false;
    for (std::uint32_t i = 0; i < kFlows; ++i) n.event(i);
    while (n.engine.transmit_length() != 0) {
      n.drain();
      n.now += ms(2);
    }
    n.packer_.flush();
  }
  // As fast as the turns come, without time passing. How many turns there were.
  int turns_until_rest() {
    int turns = 0;
    while (n.engine.next_deadline() && *n.engine.next_deadline() <= n.now && turns < 1000) {
      n.drain();
      ++turns;
    }
    return turns;
  }
  double seconds_for_nacks(std::uint32_t first) {
    const auto start = std::chrono::steady_clock::now();
    wire::Message m = message_of("NACK 102 0..0");
    for (std::uint32_t i = 0; i < 10000; ++i) {
      m.header.seq = peer_seq++;
      m.from = m.to = first + i;
      n.engine.on_message(peer_at(2), m, n.now);
      if (i % 50 == 0) n.drain();
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  static constexpr std::uint32_t kFlows = 131071;
  static constexpr std::uint32_t kFirst = 0x13;
  std::uint32_t peer_seq = 0x102;
};

// Each used to walk through half the queue: a thousand times the work.
TEST_F(FtFwFullQueue, NacksForTheMiddleCostNoMoreThanForTheFront) {
  ASSERT_EQ(n.engine.resend_length(), kFlows);
  const double front = seconds_for_nacks(kFirst);
  const double middle = seconds_for_nacks(kFirst + kFlows / 2);
  EXPECT_LT(middle, 20 * front);
}

TEST_F(FtFwFullQueue, ANackForEverythingIsServedInPieces) {
  n.hear(fmt::format("NACK 102 {:x}..{:x}", kFirst, kFirst + kFlows - 1));
  EXPECT_GE(n.engine.resend_length(), kFlows - 2000);
  EXPECT_LE(n.engine.next_deadline(), n.now);
  const auto before = n.engine.resend_length() + n.engine.transmit_length();
  n.drain();
  EXPECT_GE(n.engine.resend_length() + n.engine.transmit_length(), before - 1);
  EXPECT_LE(n.engine.transmit_length(), 4000U);
  EXPECT_GE(turns_until_rest(), 60);
  n.wait(2 * kSecond);
  EXPECT_EQ(n.engine.transmit_length(), 0U);
  EXPECT_GE(n.engine.resend_length(), kFlows);
}

TEST_F(FtFwFullQueue, AnAckForEverythingFreesInPiecesAndCountsAtOnce) {
  for (std::uint32_t i = 0; i < kFlows; ++i) n.destroy(i);
  while (n.engine.transmit_length() != 0) {
    n.drain();
    n.now += ms(2);
  }
  const auto last = kFirst + 2 * kFlows - 1;
  n.hear(fmt::format("ACK 102 {:x}..{:x}", kFirst, last));
  EXPECT_EQ(n.engine.resend_length(), 0U);
  EXPECT_GE(n.flows.total(), kFlows - 2000);
  n.hear(fmt::format("NACK 103 {:x}..{:x}", kFirst, last));
  EXPECT_GE(turns_until_rest(), 60);
  EXPECT_EQ(n.flows.total(), 0U);
  EXPECT_EQ(n.engine.transmit_length(), 0U);
}

TEST_F(FtFwFullQueue, AHelloFreesInPiecesWhatItMadeObsolete) {
  n.hear("ALIVE|HELLO 5000");
  EXPECT_EQ(n.engine.resend_length(), 0U);
  std::optional<std::uint32_t> next;
  EXPECT_EQ(n.engine.list_unacknowledged(next, 10, [](bool, std::uint32_t, std::uint8_t) {}), 0U);
  n.hear(fmt::format("NACK 5001 {:x}..{:x}", kFirst, kFirst + kFlows - 1));
  EXPECT_GE(turns_until_rest(), 60);
  EXPECT_EQ(n.engine.transmit_length(), 0U);  // nothing was repeated
  EXPECT_EQ(n.engine.resend_no_space(), 0U);
  n.event(1);
  n.drain();
  EXPECT_EQ(n.engine.resend_length(), 1U);
}

TEST_F(FtFwFullQueue, RangesBeyondWhatIsKeptAreDroppedAndTold) {
  for (std::uint32_t i = 0; i < 1000; ++i) {
    n.hear(fmt::format("NACK {:x} {:x}..{:x}", peer_seq++, kFirst + 100 * i, kFirst + 100 * i + 50));
  }
  EXPECT_GT(n.too_much, 800);
  EXPECT_LE(n.engine.transmit_length(), 2000U);
  // What was dropped the next ACK shows.
  turns_until_rest();
  n.wait(2 * kSecond);
  n.hear(fmt::format("ACK {:x} {:x}..{:x}", peer_seq++, kFirst + kFlows, kFirst + kFlows));
  turns_until_rest();
  n.wait(2 * kSecond);
  EXPECT_EQ(n.engine.transmit_length(), 0U);
  EXPECT_GE(n.engine.resend_length(), kFlows - 1);
}

TEST_F(FtFwRules, GapsBeyondWhatIsAnsweredInATurnCountAsLost) {
  for (std::uint32_t i = 0; i < 10000; ++i) n.hear(fmt::format("NEW {:x}", 0x102 + 2 * i));
  EXPECT_LE(n.engine.transmit_length(), 64U);
  EXPECT_GT(n.too_much, 9000);
  n.drain();
  n.hear("NEW 5000");  // the next one tells of them all
  EXPECT_EQ(n.drain().back().substr(0, 4), "NACK");
  EXPECT_EQ(n.gaps.back().substr(n.gaps.back().find("..")), "..4fff");
}

TEST_F(FtFwRules, AnswersToAFloodDoNotPushOutFlows) {
  EngineOptions o = start_at(1);
  o.resend_queue_size = 100;
  Node small(o);
  small.hear("NEW|HELLO 100");
  for (std::uint32_t i = 1; i <= 40; ++i) small.event(i);
  small.drain();
  for (std::uint32_t i = 0; i < 1000; ++i) small.turn(fmt::format("NEW {:x}", 0x102 + 2 * i));
  EXPECT_EQ(small.turn("NACK 8d2 1..28").size(), 42U);  // all flows again, after ACK and NACK for the gap
}

// --- What is lost is told ---

TEST_F(FtFwRules, WhatIsGivenUpWithoutAPeerIsNoLoss) {
  EngineOptions o = start_at(1);
  o.resend_queue_size = 8;
  Node alone(o);
  for (std::uint32_t i = 1; i <= 20; ++i) alone.event(i);
  alone.drain();
  EXPECT_EQ(alone.engine.resend_no_space(), 12U);
  EXPECT_EQ(alone.overflows, 0);
  alone.hear("ALIVE 100");
  for (std::uint32_t i = 21; i <= 30; ++i) alone.event(i);
  alone.drain();
  EXPECT_EQ(alone.overflows, 1);
}

TEST_F(FtFwRules, AnAckThatSkipsWhatWasGivenUpIsTold) {
  EngineOptions o = start_at(1);
  o.resend_queue_size = 8;
  Node small(o);
  small.hear("ALIVE|HELLO 100");
  for (std::uint32_t i = 1; i <= 20; ++i) small.event(i);
  small.drain();
  small.hear("ACK 101 13..14");  // it never got the first
  EXPECT_EQ(small.unrepeatable, 1);
}

// Two peers, of which the first has acknowledged the four messages that were sent.
struct FtFwTwoPeers : testing::Test {
  FtFwTwoPeers() : n(start_at(1)) {
    n.hear("ALIVE|HELLO 100", peer_at(2));
    n.hear("ALIVE|HELLO 9000", peer_at(3));
    for (std::uint32_t i = 1; i <= 4; ++i) n.event(i);
    n.drain();
    n.hear("ACK 101 1..4", peer_at(2));
  }
  Node n;
};

TEST_F(FtFwTwoPeers, WhatOtherPeersFreedIsTold) {
  n.hear("NACK 9001 2..3", peer_at(3));
  EXPECT_EQ(n.freed, Lines{"1 asks 2..3"});
  n.event(5);
  n.drain();
  n.hear("ALIVE|HELLO 70000", peer_at(4));
  EXPECT_EQ(n.freed, (Lines{"1 asks 2..3", "2 hello 0 5..5", "2 hello 1 1..5"}));  // nor has it ever acknowledged 1
}

// Nothing is left that could be repeated, but that there was something is no secret.
TEST_F(FtFwTwoPeers, AnAckThatSkipsWhatOtherPeersFreedIsTold) {
  n.hear("ACK 9001 4..4", peer_at(3));
  EXPECT_EQ(n.freed, Lines{"1 asks 1..3"});
}

TEST_F(FtFwTwoPeers, WhatAPeerFreedThatIsSilentSinceIsTold) {
  n.wait(FtFw::kPeerGone + kSecond);
  n.hear("NACK 9001 2..3", peer_at(3));
  EXPECT_EQ(n.freed, Lines{"1 asks 2..3"});
}

TEST(FtFw, AStockNodeAmongOthersIsAnsweredWithRests) {
  Node n(start_at(1));
  n.hear("ALIVE|HELLO 100", peer_at(2));
  n.hear("ALIVE|HELLO 9000", peer_at(3));
  n.event(1);
  n.event(2);
  n.drain();
  EXPECT_EQ(n.turn("NACK 101 1..2"), (Lines{"NEW|HELLO 3", "NEW|HELLO 4"}));
  EXPECT_EQ(n.turn("NACK 102 3..3"), Lines{});
  EXPECT_EQ(n.turn("NACK 103 3..4"), Lines{});
  EXPECT_EQ(n.wait(FtFw::kRepeatSpacing - ms(1)), Lines{});
  EXPECT_EQ(n.wait(ms(1)), (Lines{"NEW|HELLO 5", "NEW|HELLO 6"}));
}

TEST_F(FtFwRules, APeerAloneIsNeverToldOfOthers) {
  n.event(1);
  n.drain();
  n.hear("ACK 102 13..13");
  n.hear("NACK 103 13..13");  // as one that is repeated late
  n.event(2);
  n.drain();
  n.hear("ALIVE|HELLO 5000");
  EXPECT_EQ(n.freed, Lines{});
}

// --- Pacing ---

struct FtFwPacing : FtFwRules {
  FtFwPacing() {
    for (std::uint32_t i = 0; i < 20000; ++i) n.event(i, Announce::no);
    n.keep_text = false;
    n.message_count = n.datagram_count = 0;
  }
  // Acknowledges all that was sent, in windows of 300 as a stock peer does.
  void acknowledge() {
    while (own_acked + 300 <= own_start + n.message_count) {
      n.hear(fmt::format("ACK {:x} {:x}..{:x}", peer_seq++, own_acked, own_acked + 299));
      own_acked += 300;
    }
  }
  static constexpr std::uint32_t own_start = 0x13;
  std::size_t own_acked = own_start;
  std::uint32_t peer_seq = 0x102;
};

TEST_F(FtFwPacing, ABulkStaysWithinTheWindowWhileAcknowledgementsCome) {
  n.engine.start_bulk(n.now);
  n.drain();
  EXPECT_LE(n.message_count, 1500U + 256U);
  EXPECT_GE(n.message_count, 1500U);
  int turns = 0;
  for (; n.message_count < 20000U && turns < 1000; ++turns) {
    const auto before = n.message_count;
    acknowledge();
    n.drain();
    EXPECT_LE(n.message_count - own_acked + own_start, 1500U + 300U + 256U);
    if (n.message_count == before) n.wait(ms(1));
  }
  EXPECT_LT(turns, 40);
  EXPECT_EQ(n.engine.resend_no_space(), 0U);
}

// With a queue smaller than the window a bulk used to push out its own messages.
struct FtFwSmallQueue : testing::Test {
  static EngineOptions small() {
    EngineOptions o = start_at(1);
    o.resend_queue_size = 100;
    return o;
  }
  FtFwSmallQueue() {
    for (std::uint32_t i = 0; i < 2000; ++i) n.event(i, Announce::no);
    n.hear("ALIVE|HELLO|BACK 100");
    n.wait(kSecond);
    n.keep_text = false;
    n.message_count = 0;
    n.engine.start_bulk(n.now);
  }
  Node n{small()};
};

TEST_F(FtFwSmallQueue, ABulkDoesNotPushOutItsOwnMessages) {
  std::uint32_t peer = 0x101;
  std::uint32_t acked = 1;
  for (int seconds = 0; n.message_count < 2000U && seconds < 60; ++seconds) {
    const auto turns = n.turns;
    n.wait(kSecond);
    EXPECT_LE(n.turns - turns, 10);                                     // it waits, it does not spin
    const auto last = static_cast<std::uint32_t>(n.message_count + 1);  // as the timer of a peer with a large window
    n.hear(fmt::format("ACK {:x} {:x}..{:x}", peer++, acked, last));
    acked = last + 1;
  }
  EXPECT_GE(n.message_count, 2000U);
  EXPECT_EQ(n.engine.resend_no_space(), 0U);
  EXPECT_EQ(n.overflows, 0);
}

TEST_F(FtFwSmallQueue, ABulkGoesOnWithoutAcknowledgementsAndTellsWhatIsLost) {
  n.wait(kSecond);
  EXPECT_LE(n.message_count, 52U);
  n.wait(3 * kSecond);
  EXPECT_GE(n.message_count, 2000U);
  EXPECT_EQ(n.overflows, 1);
}

TEST_F(FtFwPacing, ASilentPeerDoesNotStopUs) {
  n.now += 10 * kSecond;
  n.engine.start_bulk(n.now);
  n.drain();
  EXPECT_EQ(n.message_count, 256U);
  n.wait(ms(200));
  EXPECT_GE(n.message_count, 20000U);
  EXPECT_EQ(n.engine.transmit_length(), 0U);
}

TEST_F(FtFwPacing, AcksDoNotWaitForTheBacklog) {
  n.now += 10 * kSecond;
  n.engine.start_bulk(n.now);
  n.drain();
  n.hear("NEW 102");
  n.keep_text = true;
  EXPECT_EQ(n.turn("NEW 105").size(), 2U);  // ACK and NACK, though no data may go yet
}

TEST_F(FtFwPacing, CongestionHoldsDataBackAndDoesNotSpin) {
  n.event(1);
  n.engine.request_resync(n.now);
  n.keep_text = true;
  EXPECT_EQ(n.drain(true), Lines{"RESYNC 13 0..0"});
  ASSERT_TRUE(n.engine.next_deadline().has_value());
  EXPECT_GT(*n.engine.next_deadline(), n.now);
  EXPECT_EQ(n.drain(), Lines{"UPD 14"});
}

TEST_F(FtFwPacing, OneEventLeavesInItsTurnEvenWithoutPeer) {
  Node alone(start_at(1));
  alone.event(1);
  EXPECT_EQ(alone.drain(), Lines{"NEW|HELLO 1"});
}

}  // namespace
}  // namespace ctsync::replication_test
