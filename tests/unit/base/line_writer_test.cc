// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/line_writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace ctsync {
namespace {

using enum LineWriter::Left;

// Takes as many bytes as it is told to.
class Valve final : public LineWriter {
 public:
  explicit Valve(std::size_t limit, bool tells = true)
      : LineWriter('\n', limit, tells ? [](std::uint64_t n) { return fmt::format("({} lost)", n); } : LossLine()) {}

  void open(std::size_t bytes) { room_ = bytes; }
  void change_place() {
    taken += '|';
    begin_again();
  }
  std::string taken;

 private:
  std::size_t pass_on(std::string_view data) override {
    const auto n = std::min(data.size(), room_);
    taken += data.substr(0, n);
    room_ -= n;
    return n;
  }
  std::size_t room_ = 0;
};

TEST(LineWriter, KeepsWhatIsNotTakenAndGoesOnThere) {
  Valve v(100);
  v.open(6);
  v.add("one");
  v.add("two");
  EXPECT_EQ(v.flush(), some);
  EXPECT_EQ(v.taken, "one\ntw");
  EXPECT_EQ(v.flush(), all);
  EXPECT_TRUE(v.pending());
  v.open(100);
  v.add("three");
  EXPECT_EQ(v.flush(), nothing);
  EXPECT_FALSE(v.pending());
  EXPECT_EQ(v.taken, "one\ntwo\nthree\n");
  EXPECT_EQ(v.lost_lines(), 0U);
}

// Whoever reads sees where the gap is and how wide, also if no line comes any more.
TEST(LineWriter, TellsLossesInTheirPlace) {
  Valve v(20);
  for (const char* line : {"111", "222", "333", "444", "555", "lost1", "lost2"}) v.add(line);
  EXPECT_EQ(v.lost_lines(), 2U);
  v.open(4);
  v.flush();
  v.add("666");  // one line would fit; still the same gap
  EXPECT_EQ(v.lost_lines(), 3U);
  v.open(12);
  v.flush();
  v.add("777");
  v.open(100);
  v.flush();
  EXPECT_EQ(v.taken, "111\n222\n333\n444\n555\n(3 lost)\n777\n");

  Valve quiet(4);
  quiet.add("111");
  quiet.add("222");
  quiet.open(100);
  EXPECT_EQ(quiet.flush(), nothing);
  EXPECT_EQ(quiet.taken, "111\n(1 lost)\n");
}

TEST(LineWriter, WithoutALossLineLossesAreCountedOnly) {
  Valve v(4, false);
  v.add("111");
  v.add("222");
  v.open(100);
  v.flush();
  EXPECT_EQ(v.taken, "111\n");
  EXPECT_EQ(v.lost_lines(), 1U);
}

TEST(LineWriter, AnotherTakerGetsTheWholeLine) {
  Valve v(100);
  v.add("first");
  v.add("second");
  v.open(9);
  v.flush();
  v.change_place();
  v.open(100);
  v.flush();
  EXPECT_EQ(v.taken, "first\nsec|second\n");
}

TEST(LineWriter, NeverKeepsMoreThanItsLimitForLong) {
  Valve v(1000);
  for (int i = 0; i < 100'000; ++i) {
    v.open(7);
    v.flush();
    v.add(fmt::format("{:09}", i));
  }
  v.open(100'000);
  v.flush();
  const auto lines = static_cast<std::size_t>(std::count(v.taken.begin(), v.taken.end(), '\n'));
  const auto gaps = static_cast<std::size_t>(std::count(v.taken.begin(), v.taken.end(), '('));
  EXPECT_EQ(lines - gaps + v.lost_lines(), 100'000U);
  EXPECT_GT(v.lost_lines(), 10'000U);
  EXPECT_GT(gaps, 100U);
  EXPECT_LT(gaps, 2000U);
}

TEST(RetryDelay, IsShortWhileSomethingIsTaken) {
  EXPECT_FALSE(retry_delay(nothing));
  EXPECT_LT(*retry_delay(some), *retry_delay(all));
}

TEST(Drain, EndsInTimeAndTakesWhatItCan) {
  Valve stuck(100);
  Valve free(100);
  stuck.add("x");
  free.add("y");
  free.open(100);
  const SystemClock clock;
  const auto start = clock.now();
  drain(std::array<LineWriter*, 2>{&stuck, &free}, std::chrono::milliseconds(30));
  EXPECT_GE(clock.now() - start, std::chrono::milliseconds(30));
  EXPECT_LT(clock.now() - start, std::chrono::seconds(2));
  EXPECT_EQ(free.taken, "y\n");
}

}  // namespace
}  // namespace ctsync
