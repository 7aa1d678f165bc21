// SPDX-License-Identifier: GPL-2.0-or-later
// Flows that are told when they are old enough (SyncMinAge), and changes that are told together (SyncCoalesce).
#include <gtest/gtest.h>

#include <algorithm>

#include "ctsync/replication/alarm.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "driver.h"

namespace ctsync::replication_test {
namespace {

EngineOptions minimum_age(Duration age, bool established_at_once = false) {
  EngineOptions o;
  o.first_sequence = 0x10;
  o.refresh_time = 10000;
  o.min_age = age;
  o.established_at_once = established_at_once;
  return o;
}

EngineOptions coalescing(Duration d) {
  EngineOptions o;
  o.first_sequence = 0x10;
  o.refresh_time = 10000;
  o.coalesce = d;
  return o;
}

// The types of what is told of flows.
Lines told(const Lines& lines) {
  Lines flows;
  for (const auto& line : lines) {
    const auto type = line.substr(0, line.find_first_of(" |"));
    if (type == "NEW" || type == "UPD" || type == "DEL" || type.starts_with("EXP")) flows.push_back(type);
  }
  return flows;
}

template <typename EngineType>
struct YoungFlows : testing::Test {
  Driver<EngineType> n{minimum_age(5 * kSecond)};
  Lines wait(Duration d) { return told(n.wait(d)); }
};
using Engines = testing::Types<FtFw, Notrack, Alarm>;
TYPED_TEST_SUITE(YoungFlows, Engines);

TYPED_TEST(YoungFlows, AreToldWhenTheyAreOldEnoughAsTheyAreThen) {
  this->n.event(1, Announce::first);
  EXPECT_EQ(this->wait(3 * kSecond), Lines{});
  this->n.event(2, Announce::first);
  this->n.event(2);  // has changed
  EXPECT_EQ(this->wait(ms(1999)), Lines{});
  EXPECT_EQ(this->wait(ms(2)), Lines{"NEW"});
  EXPECT_EQ(this->n.last_port, 1);
  EXPECT_EQ(this->wait(ms(2998)), Lines{});
  EXPECT_EQ(this->wait(ms(2)), Lines{"UPD"});
  EXPECT_EQ(this->n.engine.kept_back(), 0U);
}

TYPED_TEST(YoungFlows, EndUntold) {
  for (std::uint32_t i = 0; i < 3; ++i) {
    this->n.event(i, Announce::first);
    this->wait(ms(100));
  }
  this->n.destroy(1);
  EXPECT_EQ(this->n.flows.total(), 2U);
  EXPECT_EQ(this->wait(5 * kSecond), (Lines{"NEW", "NEW"}));
  this->n.destroy(0);
  EXPECT_EQ(told(this->n.drain()), Lines{"DEL"});
}

// Nobody knows more of it because it waits for a full link now.
TYPED_TEST(YoungFlows, EndUntoldAlsoWhenTheyAreOldEnoughAndTheLinkIsFull) {
  this->n.event(1, Announce::first);
  this->n.now += 6 * kSecond;
  EXPECT_EQ(told(this->n.drain(true)), Lines{});
  EXPECT_EQ(this->n.engine.kept_back(), 0U);
  this->n.destroy(1);
  EXPECT_EQ(told(this->n.drain()), Lines{});
  EXPECT_EQ(this->n.flows.total(), 0U);
}

TYPED_TEST(YoungFlows, ThatAPeerMayKnowAreToldAtOnceAndSoIsTheirEnd) {
  this->n.event(1, Announce::first);
  this->n.drain();
  this->n.event(1, Announce::known);
  this->n.destroy(1);
  EXPECT_EQ(told(this->n.drain()), Lines{"DEL"});
}

// The loading of a table, a mending: nobody knows how old they are.
TYPED_TEST(YoungFlows, AreNotThoseOfWhichNoBeginningWasSeen) {
  this->n.event(1, Announce::yes);
  EXPECT_EQ(told(this->n.drain()), Lines{"NEW"});
  this->n.event(2, Announce::no);
  this->n.destroy(2);
  EXPECT_EQ(told(this->n.drain()), Lines{"DEL"});
}

TYPED_TEST(YoungFlows, AreForgottenWhenTheyLeave) {
  const auto id = this->n.event(1, Announce::first);
  this->n.engine.flow_leaving(id);
  this->n.flows.release(id);
  EXPECT_EQ(this->wait(6 * kSecond), Lines{});
  EXPECT_EQ(this->n.engine.kept_back(), 0U);
}

TYPED_TEST(YoungFlows, AreToldBeforeTheServiceMovesAndThoseThatBeginMeanwhileAtOnce) {
  for (std::uint32_t i = 0; i < 100; ++i) this->n.event(i, Announce::first);
  this->n.drain();
  this->n.engine.tell_all_now(this->n.now);
  EXPECT_EQ(this->wait(ms(10)).size(), 100U);
  this->n.event(200, Announce::first);
  EXPECT_EQ(told(this->n.drain()), Lines{"NEW"});
  this->wait(10 * kSecond);
  this->n.event(201, Announce::first);
  EXPECT_EQ(told(this->n.drain()), Lines{});
}

TYPED_TEST(YoungFlows, ThatComeOfAgeTogetherDoSoAFewATurn) {
  this->n.keep_text = false;
  for (std::uint32_t i = 0; i < 10000; ++i) this->n.event(i, Announce::first);
  this->n.now += 6 * kSecond;
  this->n.drain();
  EXPECT_EQ(this->n.engine.kept_back(), 8000U);
  this->n.wait(kSecond);
  EXPECT_EQ(this->n.engine.kept_back(), 0U);
  EXPECT_GE(this->n.message_count, 10000U);
}

TYPED_TEST(YoungFlows, EstablishedOnesMayBeToldAtOnce) {
  Driver<TypeParam> m(minimum_age(5 * kSecond, true));
  const auto event = [&m](std::uint32_t number, std::uint32_t status, Announce announce) {
    const auto id = m.flows.find(flow_record(number).flow.orig);
    auto r = flow_record(number);
    r.flow.status |= status;
    if (id == table::kNoFlow) return m.engine.flow_changed(m.flows.insert(r, m.now), announce, m.now);
    m.flows.update(id, r, m.now);
    m.engine.flow_changed(id, announce, m.now);
  };
  event(1, status::kAssured, Announce::first);
  event(2, 0, Announce::first);
  EXPECT_EQ(told(m.drain()), Lines{"NEW"});
  event(2, status::kSeenReply, Announce::yes);
  EXPECT_EQ(told(m.drain()), Lines{});
  event(2, status::kSeenReply | status::kAssured, Announce::yes);
  EXPECT_EQ(told(m.drain()), Lines{"UPD"});
}

TEST(Young, TcpFlowsAreEstablishedInThatState) {
  auto r = flow_record(1);
  r.flow.orig.l4 = kTcp;
  r.flow.present |= has::kProtoState;
  r.flow.proto_state = kTcpEstablished;
  Driver<FtFw> n(minimum_age(5 * kSecond, true));
  n.engine.flow_changed(n.flows.insert(r, n.now), Announce::first, n.now);
  r.flow.orig.src_port = 2;
  r.flow.proto_state = 2;
  n.engine.flow_changed(n.flows.insert(r, n.now), Announce::first, n.now);
  EXPECT_EQ(told(n.drain()), Lines{"NEW"});
}

TEST(Young, AreInNoBulk) {
  Driver<FtFw> n(minimum_age(5 * kSecond));
  n.event(1, Announce::no);
  n.event(2, Announce::first);
  n.engine.start_bulk(n.now);
  EXPECT_EQ(told(n.wait(kSecond)), Lines{"NEW"});
  EXPECT_EQ(n.last_port, 1);
  EXPECT_EQ(told(n.wait(5 * kSecond)), Lines{"NEW"});
  EXPECT_EQ(n.last_port, 2);
}

TEST(Young, AreNotRepeatedByAlarm) {
  auto o = minimum_age(60 * kSecond);
  o.refresh_time = 1;
  Driver<Alarm> n(o);
  n.event(1, Announce::first);
  EXPECT_EQ(told(n.wait(59 * kSecond)), Lines{});
  EXPECT_GE(told(n.wait(10 * kSecond)).size(), 3U);
}

// A flow of which another one is the master, and an expectation: what they depend on comes first.
TEST(Young, MastersAreToldBeforeWhatDependsOnThem) {
  Driver<FtFw> n(minimum_age(5 * kSecond));
  n.event(1, Announce::first);
  auto middle = flow_record(2);
  middle.flow.present |= has::kMaster | has::kMasterPorts;
  middle.extra.master = flow_record(1).flow.orig;
  n.engine.flow_changed(n.flows.insert(middle, n.now), Announce::first, n.now);
  n.event(3, Announce::first);
  EXPECT_EQ(told(n.drain()), Lines{});
  Expectation e;
  e.master = middle.flow.orig;
  e.expected = flow_record(9).flow.orig;
  n.engine.expectation_changed(n.expectations.insert(e, n.now), Announce::first, n.now);
  EXPECT_EQ(told(n.drain()), (Lines{"NEW", "NEW", "EXP_NEW"}));
  EXPECT_EQ(n.last_port, 2);
  EXPECT_EQ(n.engine.kept_back(), 1U);
  n.destroy(1);
  n.destroy(2);
  EXPECT_EQ(told(n.drain()), (Lines{"DEL", "DEL"})) << "they are known now";
}

template <typename EngineType>
struct Changes : testing::Test {
  Driver<EngineType> n{coalescing(ms(200))};
  Lines wait(Duration d) { return told(n.wait(d)); }
  Lines event(Announce announce = Announce::yes) {
    n.event(1, announce);
    return told(n.drain());
  }
};
TYPED_TEST_SUITE(Changes, Engines);

TYPED_TEST(Changes, SoonAfterAnotherAreToldTogether) {
  EXPECT_EQ(this->event(Announce::first), Lines{"NEW"});
  EXPECT_EQ(this->wait(ms(10)), Lines{});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(this->event(), Lines{});
    EXPECT_EQ(this->wait(ms(19)), Lines{});
  }
  EXPECT_EQ(this->wait(ms(9)), Lines{});
  EXPECT_EQ(this->wait(ms(2)), Lines{"UPD"}) << "200 ms after the first of them";
  EXPECT_EQ(this->wait(ms(100)), Lines{});
  EXPECT_EQ(this->event(), Lines{}) << "soon after that";
  EXPECT_EQ(this->wait(ms(201)), Lines{"UPD"});
}

TYPED_TEST(Changes, AfterARestAreToldAtOnce) {
  EXPECT_EQ(this->event(Announce::first), Lines{"NEW"});
  EXPECT_EQ(this->wait(ms(201)), Lines{});
  EXPECT_EQ(this->event(), Lines{"UPD"});
  EXPECT_EQ(this->event(), Lines{});
  EXPECT_EQ(this->wait(ms(201)), Lines{"UPD"});
}

TYPED_TEST(Changes, EndsAreToldAtOnceAndTakeThePlaceOfWhatWaits) {
  this->event(Announce::first);
  EXPECT_EQ(this->event(), Lines{});
  this->n.destroy(1);
  EXPECT_EQ(told(this->n.drain()), Lines{"DEL"});
  EXPECT_EQ(this->wait(kSecond), Lines{});
}

TYPED_TEST(Changes, OfFlowsThatWereNeverToldAreToldAtOnce) {
  this->n.event(2);
  this->n.drain();
  EXPECT_EQ(this->event(Announce::no), Lines{});
  EXPECT_EQ(this->event(), Lines{"UPD"});
}

TYPED_TEST(Changes, ThatWaitAreToldBeforeTheServiceMoves) {
  this->event(Announce::first);
  EXPECT_EQ(this->event(), Lines{});
  this->n.engine.tell_all_now(this->n.now);
  EXPECT_EQ(told(this->n.drain()), Lines{"UPD"});
  EXPECT_EQ(this->event(), Lines{"UPD"});
}

// Their numbers tell when they were sent, also around 2^32.
TEST(Coalescing, ManyFlowsAndNumbersThatWrap) {
  auto o = coalescing(ms(200));
  o.first_sequence = 0xffffff80;
  Driver<Notrack> n(o);
  for (std::uint32_t i = 0; i < 100; ++i) n.event(i, Announce::first);
  n.drain();
  n.wait(ms(150));
  for (std::uint32_t i = 100; i < 200; ++i) n.event(i, Announce::first);
  n.drain();
  n.wait(ms(60));
  for (std::uint32_t i = 0; i < 200; ++i) n.event(i);
  EXPECT_EQ(told(n.drain()).size(), 100U);
  EXPECT_EQ(n.engine.kept_back(), 100U);
  n.event(300, Announce::first);
  EXPECT_EQ(told(n.drain()), Lines{"NEW"}) << "no flow that was told with number 0";
  EXPECT_EQ(told(n.wait(ms(201))).size(), 100U);
}

// What was sent last is not repeated: what follows says more. The number that the peer lacks is no loss for it.
TEST(Coalescing, WhatIsPutOffTakesThePlaceOfWhatWasLost) {
  Driver<FtFw> n(coalescing(ms(200)));
  n.wait(kSecond);
  n.hear("ALIVE|HELLO|BACK ff");
  n.wait(kSecond);
  n.event(1, Announce::first);
  n.drain();
  n.event(1);
  const auto seq = n.engine.next_sequence() - 1;
  EXPECT_EQ(told(n.turn(fmt::format("NACK 100 {:x}..{:x}", seq, seq))), Lines{});
  EXPECT_EQ(told(n.wait(ms(201))), Lines{"UPD"});
  EXPECT_EQ(n.unrepeatable, 0);
}

TEST(Coalescing, ABulkTellsWhatWasPutOff) {
  Driver<Notrack> n(coalescing(ms(200)));
  n.event(1, Announce::first);
  n.drain();
  n.event(1);
  n.engine.start_bulk(n.now);
  EXPECT_EQ(told(n.drain()), Lines{"UPD"});
  EXPECT_EQ(told(n.wait(kSecond)), Lines{});
}

TEST(NothingKeptBack, IfNothingIsSaid) {
  Driver<FtFw> n(EngineOptions{});
  n.event(1, Announce::first);
  EXPECT_EQ(told(n.drain()), Lines{"NEW"});
  n.event(1);
  EXPECT_EQ(told(n.drain()), Lines{"UPD"});
}

}  // namespace
}  // namespace ctsync::replication_test
