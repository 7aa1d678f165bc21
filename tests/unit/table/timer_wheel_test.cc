// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <vector>

namespace ctsync::table {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

const TimePoint kStart(hours(1));
constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

std::vector<std::uint32_t> fired(TimerWheel& wheel, TimePoint now) {
  std::vector<std::uint32_t> ids;
  wheel.advance(now, kAll, [&](std::uint32_t id) { ids.push_back(id); });
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
  wheel.advance(kStart + seconds(2), kAll, [&](std::uint32_t id) {
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
    wheel.advance(now, kAll, [&](std::uint32_t id) {
      ASSERT_TRUE(model.contains(id));
      ASSERT_LE(model[id], now);
      model.erase(id);
      ++total;
    });
    for (const auto& [id, deadline] : model) ASSERT_GT(deadline + TimerWheel::kTick, now) << id;
  }
  EXPECT_GT(total, 100'000U);
}

// Everything is due at once, as when a peer dies: no call does more than it is told to, and nothing is forgotten.
TEST(TimerWheel, ABoundedPartAtATime) {
  for (const std::size_t most : {1U, 7U, 1000U}) {
    TimerWheel wheel(kStart);
    std::mt19937 random(2);
    constexpr std::uint32_t kIds = 3000;
    for (std::uint32_t id = 0; id < kIds; ++id) {
      wheel.schedule(id, kStart + seconds(180) + milliseconds(random() % 20'000));
    }
    const auto now = kStart + seconds(300);
    std::vector<bool> fired(kIds);
    std::size_t calls = 0;
    while (wheel.next_deadline() && *wheel.next_deadline() <= now) {
      ASSERT_LT(++calls, 3 * kIds);
      std::size_t n = 0;
      wheel.advance(now, most, [&](std::uint32_t id) {
        EXPECT_FALSE(fired[id]);
        fired[id] = true;
        ++n;
        // Other deadlines come and go meanwhile.
        wheel.schedule(kIds + id, now + hours(1));
        if (id % 3 == 0) wheel.cancel(kIds + id);
      });
      ASSERT_LE(n, most);
    }
    EXPECT_EQ(std::ranges::count(fired, true), kIds);
    EXPECT_GE(calls, kIds / most);
    EXPECT_EQ(wheel.size(), kIds - (kIds + 2) / 3);
  }
}

}  // namespace
}  // namespace ctsync::table
