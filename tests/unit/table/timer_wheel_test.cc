// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace ctsync::table {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

const TimePoint kStart(hours(1));

std::vector<std::uint32_t> fired(TimerWheel& wheel, TimePoint now) {
  std::vector<std::uint32_t> ids;
  wheel.advance(now, [&](std::uint32_t id) { ids.push_back(id); });
  return ids;
}

TEST(TimerWheel, NothingScheduledNothingFires) {
  TimerWheel wheel(kStart);
  EXPECT_FALSE(wheel.next_deadline());
  EXPECT_TRUE(fired(wheel, kStart + hours(100)).empty());
  EXPECT_EQ(wheel.memory_bytes(), 0U);
}

TEST(TimerWheel, NeverEarlyAndAtMostOneTickLate) {
  for (const Duration after :
       {Duration(1), Duration(milliseconds(99)), Duration(milliseconds(100)), Duration(milliseconds(101)),
        Duration(seconds(6)), Duration(seconds(7)), Duration(hours(120)), Duration(hours(30'000))}) {
    TimerWheel wheel(kStart);
    wheel.schedule(3, kStart + after);
    EXPECT_TRUE(wheel.scheduled(3));
    EXPECT_TRUE(fired(wheel, kStart + after - Duration(1)).empty()) << after.count();
    EXPECT_EQ(fired(wheel, kStart + after + TimerWheel::kTick).size(), 1U) << after.count();
    EXPECT_FALSE(wheel.scheduled(3));
  }
}

TEST(TimerWheel, CancelAndMove) {
  TimerWheel wheel(kStart);
  wheel.schedule(1, kStart + seconds(5));
  wheel.schedule(2, kStart + seconds(5));
  wheel.schedule(3, kStart + seconds(5));
  wheel.cancel(2);
  wheel.cancel(2);
  wheel.cancel(99);
  wheel.schedule(3, kStart + seconds(500));
  EXPECT_EQ(wheel.size(), 2U);
  EXPECT_EQ(fired(wheel, kStart + seconds(6)), std::vector<std::uint32_t>{1});
  EXPECT_EQ(fired(wheel, kStart + seconds(501)), std::vector<std::uint32_t>{3});
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(TimerWheel, PastDeadlineFiresAtTheNextTick) {
  TimerWheel wheel(kStart);
  fired(wheel, kStart + seconds(10));
  wheel.schedule(1, kStart);
  EXPECT_TRUE(fired(wheel, kStart + seconds(10)).empty());
  EXPECT_EQ(fired(wheel, kStart + seconds(10) + TimerWheel::kTick).size(), 1U);
}

TEST(TimerWheel, HandlersMayScheduleAndCancelAnything) {
  TimerWheel wheel(kStart);
  wheel.schedule(1, kStart + seconds(1));
  wheel.schedule(2, kStart + seconds(1));
  int again = 0;
  wheel.advance(kStart + seconds(2), [&](std::uint32_t id) {
    wheel.cancel(id == 1 ? 2 : 1);
    wheel.schedule(id, kStart + seconds(60));
    ++again;
  });
  EXPECT_EQ(again, 1);
  EXPECT_EQ(wheel.size(), 1U);
  EXPECT_EQ(fired(wheel, kStart + seconds(61)).size(), 1U);
}

TEST(TimerWheel, NextDeadlineIsNeverTooLateAndLeadsThere) {
  TimerWheel wheel(kStart);
  const auto deadline = kStart + hours(77) + milliseconds(1234);
  wheel.schedule(0, deadline);
  int turns = 0;
  for (auto now = kStart; wheel.size() != 0; ++turns) {
    const auto next = wheel.next_deadline();
    ASSERT_TRUE(next);
    ASSERT_GT(*next, now);
    ASSERT_LE(*next, deadline + TimerWheel::kTick);
    now = *next;
    const bool any = !fired(wheel, now).empty();
    ASSERT_EQ(any, now >= deadline);
  }
  EXPECT_LE(turns, 8);
}

TEST(TimerWheel, RandomDeadlinesAgreeWithAModel) {
  std::mt19937_64 random(5);
  TimerWheel wheel(kStart);
  std::map<std::uint32_t, TimePoint> model;
  auto now = kStart;
  std::size_t total = 0;
  for (int round = 0; round < 3000; ++round) {
    for (int i = 0; i < 100; ++i) {
      const auto id = static_cast<std::uint32_t>(random() % 5000);
      if (random() % 4 == 0) {
        wheel.cancel(id);
        model.erase(id);
        continue;
      }
      const auto span = milliseconds(random() % (random() % 2 == 0 ? 3'000 : 4'000'000));
      wheel.schedule(id, now + span);
      model[id] = now + span;
    }
    ASSERT_EQ(wheel.size(), model.size());
    now += milliseconds(random() % (round % 100 == 0 ? 1'000'000 : 2'000));
    wheel.advance(now, [&](std::uint32_t id) {
      ASSERT_TRUE(model.contains(id));
      ASSERT_LE(model[id], now);
      model.erase(id);
      ++total;
    });
    for (const auto& [id, deadline] : model) ASSERT_GT(deadline + TimerWheel::kTick, now) << id;
  }
  EXPECT_GT(total, 100'000U);
}

}  // namespace
}  // namespace ctsync::table
