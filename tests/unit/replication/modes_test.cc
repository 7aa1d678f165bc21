// SPDX-License-Identifier: GPL-2.0-or-later
// NOTRACK (spec replication.md 3.3), ALARM (3.4).
#include <gtest/gtest.h>

#include <algorithm>

#include "ctsync/replication/alarm.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "driver.h"

namespace ctsync::replication_test {
namespace {

EngineOptions start_at(std::uint32_t seq) {
  EngineOptions o;
  o.first_sequence = seq;
  return o;
}

TEST(Notrack, AliveOneSecondAfterTheLastTransmission) {
  Driver<Notrack> n(start_at(0x6b02f72e));
  EXPECT_EQ(n.wait(kSecond), Lines{"ALIVE 6b02f72e"});
  n.now += ms(400);
  n.event(1);
  EXPECT_EQ(n.drain(), Lines{"NEW 6b02f72f"});
  EXPECT_EQ(n.wait(ms(900)), Lines{});
  EXPECT_EQ(n.wait(ms(100)), Lines{"ALIVE 6b02f730"});
}

TEST(Notrack, AcceptsDataInAnyOrderAndCounts) {
  Driver<Notrack> n(start_at(1));
  EXPECT_EQ(n.hear("NEW 100"), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW 103"), Verdict::accept_data);
  EXPECT_EQ(n.hear("UPD 102"), Verdict::accept_data);
  EXPECT_EQ(n.hear("DEL|HELLO|BACK 103"), Verdict::accept_data);
  EXPECT_EQ(n.stats.lost, 2U);
  EXPECT_EQ(n.stats.before, 2U);
  EXPECT_EQ(n.hear("ALIVE 104"), Verdict::consumed);
  EXPECT_EQ(n.hear("ACK 105 1..1"), Verdict::bad);
  EXPECT_EQ(n.hear("NACK 105 1..1"), Verdict::bad);
  EXPECT_EQ(n.hear("ALIVE 105"), Verdict::consumed);
  EXPECT_EQ(n.stats.lost, 2U);
  EXPECT_EQ(n.drain(), Lines{});
}

TEST(Notrack, TwoSendersBehindOneAddressAreNoLoss) {
  Driver<Notrack> n(start_at(1));
  for (std::uint32_t i = 0; i < 200; ++i) {
    for (const std::uint32_t first : {1000U, 0x50000000U, 0x90000000U}) {
      EXPECT_EQ(n.hear(fmt::format("NEW {:x}", first + i)), Verdict::accept_data);
      n.now += ms(10);
    }
  }
  EXPECT_EQ(n.stats.lost, 0U);
  EXPECT_EQ(n.appeared, 3);
  EXPECT_LE(n.stats.before, 10U);
}

TEST(Notrack, WhatComesLateMakesNothingLost) {
  Driver<Notrack> n(start_at(1));
  for (const char* m : {"NEW 100", "NEW 102", "NEW 101", "NEW 103"}) n.hear(m);
  EXPECT_EQ(n.stats.lost, 1U);
  EXPECT_EQ(n.stats.before, 1U);
}

TEST(Notrack, AWideGapIsCountedASecondLater) {
  Driver<Notrack> n(start_at(1));
  n.hear("NEW 1000");
  n.hear("NEW 9000");
  EXPECT_EQ(n.stats.lost, 0U);
  n.now += kSecond;
  n.hear("NEW 9001");
  EXPECT_EQ(n.stats.lost, 0x7fffU);
}

TEST(Notrack, DeadFlowsGoWithTheirMessage) {
  Driver<Notrack> n(start_at(1));
  n.event(1);
  n.drain();
  n.destroy(1);
  EXPECT_EQ(n.drain(), Lines{"DEL 2"});
  EXPECT_EQ(n.flows.total(), 0U);
}

TEST(Notrack, ResyncAndBulk) {
  Driver<Notrack> n(start_at(1));
  n.event(1, Announce::no);
  n.event(2, Announce::no);
  EXPECT_EQ(n.turn("RESYNC 50 0..0"), (Lines{"NEW 1", "NEW 2"}));
  n.engine.request_resync(n.now);
  EXPECT_EQ(n.drain(), Lines{"RESYNC 3 0..0"});
}

TEST(Notrack, ABulkIsPaced) {
  Driver<Notrack> n(start_at(1));
  for (std::uint32_t i = 0; i < 10000; ++i) n.event(i, Announce::no);
  n.keep_text = false;
  n.engine.start_bulk(n.now);
  n.drain();
  EXPECT_EQ(n.message_count, 256U);
  n.wait(ms(50));
  EXPECT_EQ(n.message_count, 10000U);
}

TEST(Notrack, ACongestedLinkGetsOnlyWhatMustBeSent) {
  Driver<Notrack> n({.first_sequence = 1});
  n.event(1);
  EXPECT_EQ(n.drain(true), Lines{});
  n.engine.request_resync(n.now);
  EXPECT_EQ(n.drain(true), Lines{"RESYNC 1 0..0"});
  // Looked at again, but not so often that a peer that is away for hours costs anything.
  EXPECT_EQ(n.engine.next_deadline(), n.now + std::chrono::milliseconds(10));
  n.event(1);
  n.now += std::chrono::milliseconds(10);
  EXPECT_EQ(n.drain(), Lines{"UPD 2"});
}

TEST(Notrack, WithoutInternalCacheEventsAreSentAsTheyCome) {
  Driver<Notrack> n(start_at(0x6b02f73a), false);
  n.engine.send_event(n.packer_, wire::MsgType::flow_new, flow_record(1));
  n.engine.send_event(n.packer_, wire::MsgType::flow_update, flow_record(1));
  n.engine.send_event(n.packer_, wire::MsgType::flow_update, flow_record(1));
  EXPECT_EQ(n.drain(), (Lines{"NEW 6b02f73a", "UPD 6b02f73b", "UPD 6b02f73c"}));
  EXPECT_EQ(n.datagram_count, 1U);
  n.hear("RESYNC 9 0..0");
  EXPECT_EQ(n.kernel_bulks, 1);
  EXPECT_EQ(n.wait(kSecond), Lines{"ALIVE 6b02f73d"});
}

TEST(Notrack, AResyncRequestDuringAKernelBulkMakesAnother) {
  Driver<Notrack> n(start_at(1), false);
  n.hear("RESYNC 9 0..0");
  EXPECT_EQ(n.kernel_bulks, 1);
  n.wait(3 * kSecond);  // the dump takes its time
  n.hear("RESYNC a 0..0");
  n.hear("RESYNC b 0..0");
  n.wait(kSecond);
  EXPECT_EQ(n.kernel_bulks, 1);
  n.engine.kernel_bulk_done();
  n.wait(ms(10));
  EXPECT_EQ(n.kernel_bulks, 2);
  n.engine.kernel_bulk_done();
  n.wait(5 * kSecond);
  EXPECT_EQ(n.kernel_bulks, 2);
}

TEST(Notrack, AKernelBulkDoesNotWakeTheLoop) {
  Driver<Notrack> n(start_at(1), false);
  n.hear("RESYNC 9 0..0");
  n.wait(10 * kSecond);
  EXPECT_LE(n.turns, 11);  // ALIVE
}

std::size_t resyncs_in(const Lines& lines) {
  return static_cast<std::size_t>(
      std::ranges::count_if(lines, [](const std::string& s) { return s.starts_with("RESYNC"); }));
}

// The link comes up an hour after the start.
TEST(Resync, IsAskedForAgainWhenAPeerIsFirstHeard) {
  Driver<Notrack> n(start_at(1));
  n.engine.request_resync(n.now);
  EXPECT_EQ(resyncs_in(n.wait(3600 * kSecond)), 1U);
  EXPECT_EQ(n.turn("ALIVE 100"), Lines{"RESYNC e12 0..0"});
  n.hear("NEW 101");  // the answer
  EXPECT_EQ(resyncs_in(n.wait(3600 * kSecond)), 0U);
}

// An event is no answer to a request that nobody can have heard.
TEST(Resync, DataLongAfterTheRequestIsNoAnswer) {
  Driver<Notrack> n(start_at(1));
  n.engine.request_resync(n.now);
  n.wait(10 * kSecond);
  EXPECT_EQ(resyncs_in(n.turn("UPD 100")), 1U);
  n.hear("UPD 101");
  EXPECT_EQ(resyncs_in(n.wait(3600 * kSecond)), 0U);
}

// A peer with nothing to send answers nothing: it is not asked for ever, and never twice within two seconds.
TEST(Resync, IsAskedForFiveTimesAtMostOnceAPeerIsHeard) {
  Driver<Notrack> n(start_at(1));
  n.engine.request_resync(n.now);
  n.drain();
  n.now += ms(500);
  std::vector<int> at;
  for (int tenth = 0; tenth < 6000; ++tenth) {
    if (tenth % 10 == 0) n.hear(fmt::format("ALIVE {:x}", 0x100 + tenth / 10));
    if (resyncs_in(n.wait(ms(100))) != 0) at.push_back(tenth);
  }
  EXPECT_EQ(at, (std::vector<int>{14, 44, 104, 224, 464}));
}

TEST(Resync, IsAskedForOnceIfAPeerIsThere) {
  Driver<Notrack> n(start_at(1));
  n.hear("ALIVE 100");
  n.engine.request_resync(n.now);
  EXPECT_EQ(n.drain(), Lines{"RESYNC 1 0..0"});
  n.hear("ALIVE 101");
  EXPECT_EQ(resyncs_in(n.wait(100 * kSecond)), 0U);
}

TEST(Resync, WaitsForThePeerWhereALinkCouldOnlyQueueIt) {
  Driver<Notrack> n(start_at(1));
  n.engine.request_resync(n.now, Ask::when_heard);
  EXPECT_EQ(resyncs_in(n.wait(10 * kSecond)), 0U);
  EXPECT_EQ(resyncs_in(n.turn("ALIVE 100")), 1U);
}

// FT-FW: the hello of a peer that starts later empties the resend queue, and with it the request.
TEST(Resync, IsAskedForAgainAfterTheHelloOfAPeerThatStartsLater) {
  Driver<FtFw> n(start_at(1));
  n.engine.request_resync(n.now);
  EXPECT_EQ(n.drain(), Lines{"RESYNC|HELLO 1 0..0"});
  n.wait(5 * kSecond);
  EXPECT_EQ(n.turn("NEW|HELLO 5000"), Lines{"RESYNC|HELLO|BACK 7 0..0"});
  n.hear("ALIVE|BACK 5001");
  n.hear("ACK 5002 7..7");
  EXPECT_EQ(resyncs_in(n.wait(100 * kSecond)), 0U);
}

TEST(Alarm, IsSilentWithoutFlows) {
  Driver<Alarm> n(start_at(1));
  EXPECT_EQ(n.wait(100 * kSecond), Lines{});
  n.engine.request_resync(n.now);
  n.engine.start_bulk(n.now);
  EXPECT_EQ(n.drain(), Lines{});
}

TEST(Alarm, RepeatsWithinRefreshTimeAndASecond) {
  EngineOptions o = start_at(1);
  o.refresh_time = 5;
  Driver<Alarm> n(o);
  n.event(1);
  EXPECT_EQ(n.drain(), Lines{"NEW 1"});
  for (std::uint32_t i = 2; i < 50; ++i) {
    Lines got;
    int tenths = 0;
    for (; got.empty(); ++tenths) got = n.wait(ms(100));
    EXPECT_EQ(got, Lines{fmt::format("NEW {:x}", i)});
    EXPECT_GE(tenths, 12);
    EXPECT_LE(tenths, 61);  // the wheel is a tenth late at most
  }
}

TEST(Alarm, AnotherSeedRepeatsAtOtherTimes) {
  const auto times = [](std::uint64_t seed) {
    EngineOptions o = start_at(1);
    o.seed = seed;
    Driver<Alarm> n(o);
    n.event(1);
    n.drain();
    std::vector<int> found;
    for (int tenths = 0; found.size() < 10; ++tenths) {
      if (!n.wait(ms(100)).empty()) found.push_back(tenths);
    }
    return found;
  };
  EXPECT_EQ(times(1), times(1));
  EXPECT_NE(times(1), times(2));
}

// A table full of dead flows that wait for a congested link took no live one.
template <typename Engine>
class FullTable : public testing::Test {
 protected:
  Driver<Engine> node_{EngineOptions{}, true, 10};
};
using AllEngines = testing::Types<FtFw, Alarm, Notrack>;
TYPED_TEST_SUITE(FullTable, AllEngines);

TYPED_TEST(FullTable, WhatNoPeerKnowsOfIsGoneWhenItEnds) {
  auto& n = this->node_;
  n.event(1, Announce::first);
  n.event(2, Announce::first);
  n.event(2);
  n.destroy(1);
  n.destroy(2);
  EXPECT_EQ(n.flows.total(), 0U);
  n.event(3, Announce::first);
  n.event(4);  // of which a peer may know from before
  n.drain();
  n.destroy(3);
  n.destroy(4);
  EXPECT_EQ(n.flows.total(), 2U);
  n.drain();
  EXPECT_EQ(n.last_port, 4) << "their ends are told";
}

TYPED_TEST(FullTable, GivesUpEndsThatWaitForTheLink) {
  auto& n = this->node_;
  for (std::uint32_t i = 1; i <= 10; ++i) n.event(i, Announce::no);
  EXPECT_FALSE(n.engine.release_one_dead());
  n.event(1);
  n.destroy(9);
  n.destroy(10);
  n.drain(true);
  EXPECT_TRUE(n.engine.release_one_dead());
  EXPECT_TRUE(n.engine.release_one_dead());
  EXPECT_FALSE(n.engine.release_one_dead());
  EXPECT_EQ(n.flows.total(), 8U);
  EXPECT_EQ(n.ends_given_up, 2);
}

TEST(Alarm, AnInitialLoadIsAnnouncedByTheRefresh) {
  EngineOptions o = start_at(1);
  o.refresh_time = 5;
  Driver<Alarm> n(o);
  for (std::uint32_t i = 0; i < 100; ++i) n.event(i, Announce::no);
  EXPECT_EQ(n.drain(), Lines{});
  EXPECT_GE(n.wait(7 * kSecond).size(), 100U);
}

TEST(Alarm, DestroyedFlowsAreSentOnceMoreAndNotRefreshed) {
  Driver<Alarm> n(start_at(1));
  n.event(1);
  n.drain();
  n.destroy(1);
  EXPECT_EQ(n.drain(), Lines{"DEL 2"});
  EXPECT_EQ(n.flows.total(), 0U);
  EXPECT_EQ(n.wait(100 * kSecond), Lines{});
}

TEST(Alarm, FlagsMakeAMessageControl) {
  Driver<Alarm> n(start_at(1));
  EXPECT_EQ(n.hear("NEW 5"), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW 3"), Verdict::accept_data);
  EXPECT_EQ(n.hear("NEW|HELLO 6"), Verdict::consumed);
  EXPECT_EQ(n.hear("ALIVE 9"), Verdict::consumed);
  EXPECT_EQ(n.stats.lost + n.stats.before, 0U);
}

}  // namespace
}  // namespace ctsync::replication_test
