// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fake_clock.h"
#include "function_job.h"

namespace ctsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::FunctionJob;
using test::ManualClock;

struct Pair {
  Pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()), 0);
    a.reset(fds[0]);
    b.reset(fds[1]);
  }
  void poke() const { EXPECT_EQ(::write(b.get(), "x", 1), 1); }
  void drain() const {
    char c = 0;
    while (::read(a.get(), &c, 1) == 1) {
    }
  }
  UniqueFd a;
  UniqueFd b;
};

class EventLoopTest : public testing::Test {
 protected:
  EventLoopTest() : loop_(clock_) { EXPECT_TRUE(loop_.open()); }
  void turn() { loop_.run_once(Duration::zero()); }

  ManualClock clock_;
  EventLoop loop_;
};

TEST_F(EventLoopTest, CountsHowLongItsTurnsTook) {
  Timer timer(loop_, [this] { clock_.advance(milliseconds(3)); });
  timer.arm(clock_.now());
  turn();
  turn();  // the first one has ended
  EXPECT_EQ(loop_.turns().sum(), milliseconds(3));
  EXPECT_EQ(loop_.turns().count(8), 1U);  // at most 4.096 ms
  turn();
  EXPECT_EQ(loop_.turns().count(0), 1U);
}

TEST_F(EventLoopTest, ReadableDescriptorCallsItsHandler) {
  const Pair p;
  int calls = 0;
  loop_.watch(p.a.get(), EPOLLIN, [&](std::uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    p.drain();
    ++calls;
  });
  turn();
  EXPECT_EQ(calls, 0);
  p.poke();
  turn();
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, HandlerMayRemoveItselfAndGoesOnLiving) {
  const Pair p;
  int calls = 0;
  const auto big = std::make_shared<std::string>(1000, 'x');
  loop_.watch(p.a.get(), EPOLLIN, [&, big](std::uint32_t) {
    loop_.unwatch(p.a.get());
    calls += static_cast<int>(big->size());
  });
  p.poke();
  turn();
  turn();
  EXPECT_EQ(calls, 1000);
}

TEST_F(EventLoopTest, HandlerMayReplaceItself) {
  const Pair p;
  std::string calls;
  loop_.watch(p.a.get(), EPOLLIN, [&](std::uint32_t) {
    loop_.watch(p.a.get(), EPOLLIN, [&](std::uint32_t) { calls += 'b'; });
    calls += 'a';
  });
  p.poke();
  turn();
  turn();
  EXPECT_EQ(calls, "ab");
}

TEST_F(EventLoopTest, HandlerMayRemoveAnotherThatIsReady) {
  const Pair p;
  const Pair q;
  int calls = 0;
  const auto remove = [&](const Pair& other) {
    return [&](std::uint32_t) {
      ++calls;
      loop_.unwatch(other.a.get());
    };
  };
  loop_.watch(p.a.get(), EPOLLIN, remove(q));
  loop_.watch(q.a.get(), EPOLLIN, remove(p));
  p.poke();
  q.poke();
  turn();
  turn();
  EXPECT_EQ(calls, 2);  // one of them, twice
}

// What was ready was the old connection; the new one under its number must not be told of a hang-up.
TEST_F(EventLoopTest, EventsOfAClosedDescriptorDoNotReachTheNextOneOfThatNumber) {
  auto p = std::make_unique<Pair>();
  auto q = std::make_unique<Pair>();
  UniqueFd fresh;
  UniqueFd fresh_peer;
  int wrong = 0;
  const auto replace = [&](std::unique_ptr<Pair>& other) {
    return [&](std::uint32_t) {
      if (!other || fresh) return;
      const int number = other->a.get();
      const Pair made;
      loop_.unwatch(number);
      other.reset();
      fresh.reset(::dup2(made.a.get(), number));
      fresh_peer.reset(::dup(made.b.get()));
      ASSERT_EQ(fresh.get(), number);
      loop_.watch(number, EPOLLIN, [&](std::uint32_t) { ++wrong; });
    };
  };
  loop_.watch(p->a.get(), EPOLLIN, replace(q));
  loop_.watch(q->a.get(), EPOLLIN, replace(p));
  p->b.reset();
  q->b.reset();
  turn();
  ASSERT_TRUE(fresh);
  turn();
  EXPECT_EQ(wrong, 0);
}

TEST_F(EventLoopTest, PausedDescriptorIsNotServed) {
  const Pair p;
  int calls = 0;
  loop_.watch(p.a.get(), EPOLLIN, [&](std::uint32_t) { ++calls; });
  p.poke();
  loop_.change(p.a.get(), 0);
  turn();
  EXPECT_EQ(calls, 0);
  loop_.change(p.a.get(), EPOLLIN | EPOLLOUT);
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, TimerFiresOnceAtItsTime) {
  int calls = 0;
  Timer timer(loop_, [&] { ++calls; });
  timer.arm_in(milliseconds(50));
  turn();
  clock_.advance(milliseconds(49));
  turn();
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(timer.deadline());
  clock_.advance(milliseconds(1));
  turn();
  turn();
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(timer.deadline());
}

TEST_F(EventLoopTest, TimerMayRearmCancelAndDestroyInItsHandler) {
  int calls = 0;
  std::unique_ptr<Timer> self;
  std::unique_ptr<Timer> other = std::make_unique<Timer>(loop_, [&] { calls += 100; });
  const auto big = std::make_shared<std::string>(1000, 'x');
  self = std::make_unique<Timer>(loop_, [&, big] {
    if (++calls < 3) return self->arm_in(Duration::zero());
    other.reset();
    self.reset();
    calls += static_cast<int>(big->size());  // the closure outlives its timer until it is done
  });
  self->arm_in(Duration::zero());
  for (int i = 0; i < 5; ++i) turn();
  EXPECT_EQ(calls, 1003);
}

TEST_F(EventLoopTest, CancelledTimerDoesNotFire) {
  int calls = 0;
  Timer a(loop_, [&] { ++calls; });
  Timer b(loop_, [&] { a.cancel(); });
  a.arm_in(seconds(2));
  b.arm_in(seconds(1));
  clock_.advance(seconds(1));
  turn();
  clock_.advance(seconds(5));
  turn();
  EXPECT_EQ(calls, 0);
}

TEST_F(EventLoopTest, OrderOfATurnIsDescriptorsTimersJobsHooks) {
  std::string order;
  const Pair p;
  Timer timer(loop_, [&] { order += 't'; });
  const TurnHook first(loop_, [&] { order += 'h'; });
  const TurnHook second(loop_, [&] { order += 'H'; });
  loop_.jobs().add(std::make_unique<FunctionJob>([&](FunctionJob&) {
    order += 'j';
    return Job::State::done;
  }));
  loop_.watch(p.a.get(), EPOLLIN, [&](std::uint32_t) {
    p.drain();
    order += 'f';
  });
  timer.arm_in(Duration::zero());
  p.poke();
  turn();
  EXPECT_EQ(order, "ftjhH");
}

TEST_F(EventLoopTest, HookThatGoesLeavesNoneOfTheOthersOut) {
  std::string order;
  std::optional<TurnHook> first;
  std::optional<TurnHook> third;
  first.emplace(loop_, [&] {
    order += 'a';
    first.reset();
    third.reset();
  });
  const TurnHook second(loop_, [&] { order += 'b'; });
  third.emplace(loop_, [&] { order += 'c'; });
  const TurnHook fourth(loop_, [&] { order += 'd'; });
  turn();
  EXPECT_EQ(order, "abd");
  turn();
  EXPECT_EQ(order, "abdbd");
}

TEST_F(EventLoopTest, HookMayAddOneThatIsCalledInTheSameTurn) {
  std::string order;
  std::optional<TurnHook> added;
  const TurnHook first(loop_, [&] {
    if (!added) added.emplace(loop_, [&] { order += 'x'; });
  });
  turn();
  turn();
  EXPECT_EQ(order, "xx");
}

TEST_F(EventLoopTest, SignalsArriveInTheLoop) {
  std::vector<int> got;
  ASSERT_TRUE(loop_.watch_signals({SIGUSR1, SIGUSR2}, [&](int s) { got.push_back(s); }));
  ASSERT_EQ(::raise(SIGUSR1), 0);
  ASSERT_EQ(::raise(SIGUSR2), 0);
  turn();
  EXPECT_EQ(got, (std::vector{SIGUSR1, SIGUSR2}));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

class EventLoopJobs : public testing::Test {
 protected:
  EventLoopJobs() { EXPECT_TRUE(loop_.open()); }

  void work_for(Duration d) const {
    const auto end = clock_.now() + d;
    while (clock_.now() < end) {
    }
  }
  // A job without end.
  void keep_busy(Duration step) {
    class Busy final : public Job {
     public:
      explicit Busy(std::function<void()> work) : work_(std::move(work)) {}
      State step(TimePoint) override {
        work_();
        return State::more;
      }

     private:
      std::function<void()> work_;
    };
    loop_.jobs().add(std::make_unique<Busy>([this, step] { work_for(step); }));
  }
  Duration shortest_turn(int turns) {
    Duration least = seconds(9);
    for (int i = 0; i < turns; ++i) {
      const auto start = clock_.now();
      loop_.run_once(std::nullopt);
      least = std::min(least, Duration(clock_.now() - start));
    }
    return least;
  }

  const SystemClock clock_;
  EventLoop loop_{clock_};
};

// A job that has worked for a while leaves time to others; a short one is not held up.
TEST_F(EventLoopJobs, RestOnceTheyHaveSprinted) {
  keep_busy(milliseconds(12));
  EXPECT_LT(shortest_turn(10), milliseconds(14));
  shortest_turn(30);
  EXPECT_GE(shortest_turn(10), milliseconds(14));
}

// What is always ready must not take the rest away, nor the time that is spent on it count for nothing.
TEST_F(EventLoopJobs, RestAlsoWhileEventsCome) {
  const Pair pair;
  pair.poke();
  ASSERT_TRUE(loop_.watch(pair.a.get(), EPOLLIN, [&](std::uint32_t) { work_for(milliseconds(6)); }));
  keep_busy(milliseconds(3));
  EXPECT_LT(shortest_turn(40), milliseconds(10));
  shortest_turn(150);
  EXPECT_GE(shortest_turn(10), std::chrono::microseconds(10500));
}

// Turns of a descriptor that stays ready, with `events` told as work in each, within `time`.
int turns_within(Duration time, std::size_t events, bool hurry) {
  const SystemClock clock;
  EventLoop loop(clock);
  EXPECT_TRUE(loop.open());
  const Pair pair;
  pair.poke();
  int turns = 0;
  loop.watch(pair.a.get(), EPOLLIN, [&](std::uint32_t) {
    ++turns;
    loop.worked(events);
    if (hurry) loop.hurry();
  });
  loop.set_pause(milliseconds(10));
  const auto end = clock.now() + time;
  while (clock.now() < end) loop.run_once(milliseconds(1));
  return turns;
}

// The first millisecond runs free, then there is a turn every 10 ms; without pauses there would be tens of thousands.
TEST(EventLoopGathering, PausesBetweenTurnsOfAStream) { EXPECT_LE(turns_within(milliseconds(300), 1000, false), 2000); }

TEST(EventLoopGathering, ServesFewEventsAtOnce) { EXPECT_GT(turns_within(milliseconds(300), 0, false), 3000); }

TEST(EventLoopGathering, DoesNotPauseWhileThereIsMoreToRead) {
  EXPECT_GT(turns_within(milliseconds(300), 1000, true), 3000);
}

TEST(EventLoopGathering, TimersAreNotDelayed) {
  const SystemClock clock;
  EventLoop loop(clock);
  ASSERT_TRUE(loop.open());
  const Pair pair;
  pair.poke();
  loop.watch(pair.a.get(), EPOLLIN, [&](std::uint32_t) { loop.worked(1000); });
  loop.set_pause(seconds(5));
  const auto start = clock.now();
  bool fired = false;
  Timer timer(loop, [&] { fired = true; });
  timer.arm(start + milliseconds(30));
  while (!fired && clock.now() < start + seconds(2)) loop.run_once(seconds(1));
  EXPECT_TRUE(fired);
  EXPECT_LT(clock.now() - start, seconds(1));
}

TEST(EventLoopRun, StopsWhenToldAndWaitsForTheTimer) {
  const SystemClock clock;
  EventLoop loop(clock);
  ASSERT_TRUE(loop.open());
  Timer timer(loop, [&] { loop.stop(); });
  const auto begin = clock.now();
  timer.arm_in(milliseconds(20));
  EXPECT_TRUE(loop.run());
  EXPECT_GE(clock.now() - begin, milliseconds(20));
}

// A descriptor that epoll does not take would never be heard of again. The others are.
TEST(EventLoopRun, ADescriptorThatCannotBeWatchedIsAnErrorOfItsOwn) {
  const SystemClock clock;
  EventLoop loop(clock);
  ASSERT_TRUE(loop.open());
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(file);
  Timer timer(loop, [&] { loop.stop(); });
  timer.arm_in(milliseconds(5));
  const auto watched = loop.watch(file.get(), EPOLLIN, [](std::uint32_t) {});
  ASSERT_FALSE(watched);
  EXPECT_EQ(watched.error().code, EPERM);
  EXPECT_NE(watched.error().text.find("epoll_ctl"), std::string::npos) << watched.error().text;
  EXPECT_TRUE(loop.run());
}

// Refuses system calls of this process for good, so it is for a child.
void refuse(std::initializer_list<unsigned> calls, unsigned error) {
  std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const unsigned call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
  ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0) << std::strerror(errno);
}

constexpr auto kCoarseWait = {static_cast<unsigned>(SYS_epoll_pwait),
#ifdef SYS_epoll_wait
                              static_cast<unsigned>(SYS_epoll_wait)
#endif
};

// A descriptor, a timer and a sleep work in a child that may not call epoll_pwait2; 0 if they do.
int status_without_fine_wait(unsigned error) {
  refuse({static_cast<unsigned>(SYS_epoll_pwait2)}, error);
  const SystemClock clock;
  EventLoop loop(clock);
  if (!loop.open()) return 2;
  const Pair pair;
  int turns = 0;
  int heard = 0;
  const TurnHook hook(loop, [&] { ++turns; });
  loop.watch(pair.a.get(), EPOLLIN, [&](std::uint32_t) {
    pair.drain();
    ++heard;
  });
  pair.poke();
  Timer timer(loop, [&] { loop.stop(); });
  timer.arm_in(std::chrono::microseconds(50'300));
  if (!loop.run()) return 3;
  if (heard != 1) return 4;
  return turns <= 5 ? 0 : 5;  // it sleeps until the timer is due
}

TEST(EventLoopRun, WaitsInWholeMillisecondsWhereTheFineWaitIsRefused) {
  for (const unsigned error : {unsigned{ENOSYS}, unsigned{EPERM}}) {
    EXPECT_EXIT(std::exit(status_without_fine_wait(error)), testing::ExitedWithCode(0), "") << error;
  }
}

TEST(EventLoopRun, EndsWithAnErrorIfItCannotWaitAtAll) {
  const auto child = [] {
    refuse({static_cast<unsigned>(SYS_epoll_pwait2)}, ENOSYS);
    refuse(kCoarseWait, EPERM);
    const SystemClock clock;
    EventLoop loop(clock);
    if (!loop.open()) std::exit(2);
    ::alarm(5);
    const auto ran = loop.run();
    std::exit(!ran && ran.error().code == EPERM ? 0 : 3);
  };
  EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ctsync
