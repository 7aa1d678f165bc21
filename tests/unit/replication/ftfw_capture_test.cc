// SPDX-License-Identifier: GPL-2.0-or-later
// FT-FW against stock conntrackd, as recorded: the engine plays one of the two nodes of a capture
// (tests/data/captures), hears what that node heard and must send what it sent. Where we are better than stock on
// purpose, the test says so.
#include <gtest/gtest.h>

#include "driver.h"

namespace ctsync::replication_test {
namespace {

using Node = Driver<FtFw>;

EngineOptions start_at(std::uint32_t seq, std::uint32_t ack_window = 300) {
  EngineOptions o;
  o.first_sequence = seq;
  o.ack_window = ack_window;
  return o;
}

// Brings the node, which sends two messages for it, through the hello; the peer's next number is `peer_seq`.
void settle(Node& n, std::uint32_t peer_seq) {
  n.wait(kSecond);
  n.hear(fmt::format("ALIVE|HELLO|BACK {:x}", peer_seq - 1));
  n.wait(kSecond);
}

TEST(FtFwCapture, Ftfw01HelloOfTheFirstNode) {
  Node a(start_at(0x6b02f511));
  EXPECT_EQ(a.wait(kSecond), Lines{"ALIVE|HELLO 6b02f511"});
  EXPECT_EQ(a.wait(kSecond), Lines{"ALIVE|HELLO 6b02f512"});
  EXPECT_EQ(a.wait(kSecond), Lines{"ALIVE|HELLO 6b02f513"});
  EXPECT_EQ(a.wait(kSecond), Lines{"ALIVE|HELLO 6b02f514"});
  EXPECT_EQ(a.turn("ACK|HELLO|BACK 6b02f514 6b02f514..6b02f514"), Lines{});
  EXPECT_EQ(a.wait(kSecond), Lines{"ACK|BACK 6b02f515 6b02f514..6b02f514"});
  EXPECT_EQ(a.turn("ACK 6b02f515 6b02f515..6b02f515"), Lines{});
  EXPECT_EQ(a.wait(kSecond), Lines{"ACK 6b02f516 6b02f515..6b02f515"});
  EXPECT_EQ(a.turn("ACK 6b02f516 6b02f516..6b02f516"), Lines{});
  EXPECT_EQ(a.wait(kSecond), Lines{"ACK 6b02f517 6b02f516..6b02f516"});
  EXPECT_EQ(a.appeared, 1);
}

TEST(FtFwCapture, Ftfw01HelloOfTheSecondNode) {
  Node b(start_at(0x6b02f514));
  EXPECT_EQ(b.turn("ALIVE|HELLO 6b02f514"), Lines{});
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK|HELLO|BACK 6b02f514 6b02f514..6b02f514"});
  EXPECT_EQ(b.turn("ACK|BACK 6b02f515 6b02f514..6b02f514"), Lines{});
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK 6b02f515 6b02f515..6b02f515"});
  EXPECT_EQ(b.turn("ACK 6b02f516 6b02f515..6b02f515"), Lines{});
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK 6b02f516 6b02f516..6b02f516"});
  EXPECT_EQ(b.engine.resend_length(), 1U);  // only the last ACK is unacknowledged
}

TEST(FtFwCapture, Ftfw02DataBeforeTheFirstHelloOfThePeerIsNotRepeated) {
  Node a(start_at(0x6b02fc2e));
  EXPECT_EQ(a.wait(kSecond), Lines{"ALIVE|HELLO 6b02fc2e"});
  a.event(46101);
  EXPECT_EQ(a.drain(), Lines{"NEW|HELLO 6b02fc2f"});
  EXPECT_EQ(a.wait(2 * kSecond), (Lines{"ALIVE|HELLO 6b02fc30", "ALIVE|HELLO 6b02fc31"}));
  EXPECT_EQ(a.engine.resend_length(), 1U);
  EXPECT_EQ(a.turn("ACK|HELLO|BACK 6b02fc30 6b02fc31..6b02fc31"), Lines{});
  EXPECT_EQ(a.engine.resend_length(), 0U);
  a.event(46102);
  EXPECT_EQ(a.drain(), Lines{"NEW|BACK 6b02fc32"});
  EXPECT_EQ(a.last_port, 46102);
  EXPECT_EQ(a.turn("ACK 6b02fc31 6b02fc32..6b02fc32"), Lines{});
  EXPECT_EQ(a.wait(kSecond), Lines{"ACK 6b02fc33 6b02fc30..6b02fc31"});
}

TEST(FtFwCapture, Ftfw11TheReceiverAsksForThreeLostMessages) {
  Node b(start_at(0x6b02f6d4));
  settle(b, 0x6b02f6d5);
  EXPECT_EQ(b.turn("ACK 6b02f6d5 6b02f6d4..6b02f6d4"), Lines{});
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK 6b02f6d6 6b02f6d5..6b02f6d5"});
  // 6d6 to 6d8 are lost.
  EXPECT_EQ(b.turn("NEW 6b02f6d9"), Lines{"NACK 6b02f6d7 6b02f6d6..6b02f6d8"});
  EXPECT_EQ(b.turn("NEW 6b02f6da"), Lines{});
  EXPECT_EQ(b.turn("NEW 6b02f6db"), Lines{});
  EXPECT_EQ(b.turn("NEW 6b02f6dc"), Lines{});
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK 6b02f6d8 6b02f6d9..6b02f6dc"});
  EXPECT_EQ(b.stats.lost, 3U);  // stock says 5
  EXPECT_EQ(b.gaps, Lines{"6b02f6d6..6b02f6d8"});
}

TEST(FtFwCapture, Ftfw11TheSenderRepeatsThemInOrderUnderNewNumbers) {
  Node a(start_at(0x6b02f6d4));
  settle(a, 0x6b02f6d5);
  a.turn("ACK 6b02f6d5 6b02f6d4..6b02f6d5");
  for (const std::uint32_t port : {45001U, 45002U, 45003U, 45004U}) a.event(port);
  EXPECT_EQ(a.drain(), (Lines{"NEW 6b02f6d6", "NEW 6b02f6d7", "NEW 6b02f6d8", "NEW 6b02f6d9"}));
  EXPECT_EQ(a.turn("ALIVE 6b02f6d6"), Lines{});
  EXPECT_EQ(a.turn("NACK 6b02f6d7 6b02f6d6..6b02f6d8"), (Lines{"NEW 6b02f6da", "NEW 6b02f6db", "NEW 6b02f6dc"}));
  EXPECT_EQ(a.last_port, 45003);
  EXPECT_EQ(a.turn("ACK 6b02f6d8 6b02f6d9..6b02f6dc"), Lines{});
  EXPECT_EQ(a.engine.resend_length(), 0U);
  EXPECT_EQ(a.wait(kSecond), Lines{"ACK 6b02f6dd 6b02f6d5..6b02f6d8"});
}

TEST(FtFwCapture, Ftfw12ResyncRequestAndAnswer) {
  Node b(start_at(0x6b02f6ea));
  settle(b, 0x6b02f6f2);
  b.engine.request_resync(b.now);
  EXPECT_EQ(b.drain(), Lines{"RESYNC 6b02f6ec 0..0"});

  Node a(start_at(0x6b02f6f0));
  settle(a, 0x6b02f6ec);
  a.event(1);
  a.event(1);  // an update
  a.event(2, Announce::no);
  EXPECT_EQ(a.drain(), Lines{"UPD 6b02f6f2"});
  EXPECT_EQ(a.turn("RESYNC 6b02f6ec 0..0"), (Lines{"UPD 6b02f6f3", "NEW 6b02f6f4"}));
  EXPECT_EQ(a.resyncs, 1);
  EXPECT_EQ(a.bulks, 1);
  EXPECT_EQ(a.engine.resend_length(), 3U);  // the ACK of settle() and two flows: the first UPD was replaced
}

TEST(FtFwCapture, Ftfw13ARestartedPeerGetsHelloBackOnTheFirstMessageOfTheBulk) {
  Node a(start_at(0x6b02f700));
  settle(a, 0x6b02f7f2);
  a.event(1, Announce::no);
  a.event(2, Announce::no);
  EXPECT_EQ(a.turn("RESYNC|HELLO 6b02f6f2 0..0"), (Lines{"NEW|BACK 6b02f702", "NEW 6b02f703"}));
  EXPECT_EQ(a.restarted, 1);
  EXPECT_EQ(a.turn("ACK 6b02f6f3 6b02f702..6b02f703"), Lines{});
  EXPECT_EQ(a.wait(kSecond), Lines{"ACK 6b02f704 6b02f6f2..6b02f6f3"});
}

TEST(FtFwCapture, Ftfw13FirstMessageWithStartupResync) {
  Node b(start_at(0x6b02f6f2));
  b.engine.request_resync(b.now);
  EXPECT_EQ(b.drain(), Lines{"RESYNC|HELLO 6b02f6f2 0..0"});
  EXPECT_EQ(b.turn("UPD|BACK 6b02f702"), Lines{});
  for (int i = 3; i <= 8; ++i) EXPECT_EQ(b.turn(fmt::format("NEW 6b02f70{}", i)), Lines{});
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK 6b02f6f3 6b02f702..6b02f708"});
}

TEST(FtFwCapture, Ftfw14EveryFifthMessageIsAcknowledgedAtOnce) {
  Node b(start_at(0x100, 5));
  settle(b, 0x6b02f9a1);  // one message counted
  EXPECT_EQ(b.turn("ACK 6b02f9a1 1..1"), Lines{});
  EXPECT_EQ(b.turn("NEW 6b02f9a2"), Lines{});
  EXPECT_EQ(b.turn("NEW 6b02f9a3"), Lines{});
  // The counter runs on over the timer ACK of settle(): trap 17.
  EXPECT_EQ(b.turn("NEW 6b02f9a4"), Lines{"ACK 102 6b02f9a1..6b02f9a4"});
  for (std::uint32_t s = 0x6b02f9a5; s < 0x6b02f9a9; ++s) EXPECT_EQ(b.turn(fmt::format("NEW {:x}", s)), Lines{});
  EXPECT_EQ(b.turn("NEW 6b02f9a9"), Lines{"ACK 103 6b02f9a5..6b02f9a9"});
  b.turn("NEW 6b02f9aa");
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK 104 6b02f9aa..6b02f9aa"});
}

TEST(FtFwCapture, Ftfw15WhatTheFullResendQueueDroppedIsNotRepeated) {
  EngineOptions o = start_at(0x6b02f9ae);
  o.resend_queue_size = 8;
  Node a(o);
  settle(a, 0x6b02f9a7);
  a.turn("ACK 6b02f9a7 6b02f9af..6b02f9af");
  for (std::uint32_t n = 1; n <= 20; ++n) {
    a.event(n);
    a.drain();
  }
  EXPECT_EQ(a.engine.resend_length(), 8U);
  EXPECT_EQ(a.engine.resend_no_space(), 12U);
  EXPECT_EQ(a.overflows, 1);
  EXPECT_EQ(a.turn("NACK 6b02f9a8 6b02f9b0..6b02f9c3").size(), 8U);
  EXPECT_EQ(a.unrepeatable, 1);
}

TEST(FtFwCapture, Ftfw16AckWindowOneGoesOnAfterAGap) {
  Node b(start_at(0x6b02fc64, 1));
  EXPECT_EQ(b.wait(kSecond), Lines{"ALIVE|HELLO 6b02fc64"});
  EXPECT_EQ(b.turn("NEW|HELLO|BACK 1"), Lines{"ACK|BACK 6b02fc65 1..1"});
  EXPECT_EQ(b.turn("NEW 2"), Lines{"ACK 6b02fc66 2..2"});
  // Stock acknowledges nothing at once from here on (spec 9, 26).
  EXPECT_EQ(b.turn("NEW 5"), (Lines{"NACK 6b02fc67 3..4", "ACK 6b02fc68 5..5"}));
  EXPECT_EQ(b.turn("NEW 6"), Lines{"ACK 6b02fc69 6..6"});
  EXPECT_EQ(b.turn("NEW 7"), Lines{"ACK 6b02fc6a 7..7"});
}

TEST(FtFwCapture, Ftfw17NumbersWrapAndOldOnesAreDropped) {
  Node b(start_at(0x6b02f9c9));
  EXPECT_EQ(b.hear("NEW|HELLO fffffffe"), Verdict::accept_data);
  EXPECT_EQ(b.hear("NEW ffffffff"), Verdict::accept_data);
  EXPECT_EQ(b.wait(kSecond), Lines{"ACK|HELLO|BACK 6b02f9c9 fffffffe..ffffffff"});
  EXPECT_EQ(b.hear("NEW 0"), Verdict::accept_data);
  EXPECT_EQ(b.hear("NEW 1"), Verdict::accept_data);
  EXPECT_EQ(b.hear("NEW ffffffff"), Verdict::old);
  EXPECT_EQ(b.stats.before, 1U);
  // Stock believes this jump at once (spec 9, 46); we wait for the next number, then do as it does.
  EXPECT_EQ(b.hear("NEW 80000001"), Verdict::old);
  EXPECT_EQ(b.drain(), Lines{});
  EXPECT_EQ(b.hear("NEW 80000002"), Verdict::accept_data);
  EXPECT_EQ(b.drain(), (Lines{"ACK|HELLO 6b02f9ca 0..1", "NACK|HELLO 6b02f9cb 2..80000001"}));
}

}  // namespace
}  // namespace ctsync::replication_test
