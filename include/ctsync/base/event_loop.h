// SPDX-License-Identifier: GPL-2.0-or-later
// The event loop: one thread, epoll. A turn of the loop is: wait; serve every ready descriptor once; fire due timers;
// run one slice of each job; call the turn hooks. Handlers may add, change and remove descriptors, timers and jobs at
// any time, their own included. The loop owns none of the descriptors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/histogram.h"
#include "ctsync/base/jobs.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

struct epoll_event;

namespace ctsync {

class EventLoop;

// A point in time at which the loop calls back. Cheap to re-arm. Must not outlive the loop.
class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> on_expiry);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(std::optional<TimePoint> at) { at_ = at; }  // nothing: as cancel()
  void arm_in(Duration d);
  void cancel() { at_.reset(); }
  std::optional<TimePoint> deadline() const { return at_; }

 private:
  friend class EventLoop;
  EventLoop& loop_;
  std::shared_ptr<std::function<void()>> on_expiry_;
  std::optional<TimePoint> at_;
};

// Called at the end of every turn as long as it lives, in the order of creation. May be created and destroyed by any
// handler, its own included. Must not outlive the loop.
class TurnHook {
 public:
  TurnHook(EventLoop& loop, std::function<void()> hook);
  ~TurnHook();
  TurnHook(const TurnHook&) = delete;
  TurnHook& operator=(const TurnHook&) = delete;

 private:
  friend class EventLoop;
  EventLoop& loop_;
  std::shared_ptr<std::function<void()>> hook_;
};

class EventLoop {
 public:
  // `events` of epoll: EPOLLIN, EPOLLOUT ...; errors and hang-ups are always reported.
  using FdHandler = std::function<void(std::uint32_t events)>;

  explicit EventLoop(const Clock& clock);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  Result<> open();

  // One handler a descriptor (unwatch before closing it); watching a watched descriptor replaces handler and events.
  // events = 0 pauses it. After an error (no memory, too many watches of this user) it is not watched: nobody may go on
  // as if all were well with a descriptor that will never be heard of.
  Result<> watch(int fd, std::uint32_t events, FdHandler handler);
  // Needs no memory; a failure is a mistake of ours, and ends run().
  void change(int fd, std::uint32_t events);
  void unwatch(int fd);

  // Signals to handle in the loop; they are blocked in the process and delivered through a descriptor.
  Result<> watch_signals(const std::vector<int>& signals, std::function<void(int signal)> handler);

  // What the loop steps in each turn. To be emptied (cancel_all) before what the jobs work on goes.
  Jobs& jobs() { return jobs_; }

  // Gathering. Under a stream of events a wake-up for each costs far more than the event. So while kStreamRate or more
  // come in a millisecond (handlers tell through worked()), the loop sleeps until `d` after the beginning of the last
  // turn before it looks again, and finds many at once. Whatever comes more slowly is served at once; timers and jobs
  // are never delayed. 0 = never pause (the default).
  static constexpr std::uint32_t kStreamRate = 8;
  void set_pause(Duration d) { pause_ = d; }
  void worked(std::size_t events) { work_ += events; }
  // For this turn: there is more to read than was read, do not pause.
  void hurry() { hurry_ = true; }

  Result<> run();                                   // until stop(), or an error after which the loop is deaf
  void run_once(std::optional<Duration> max_wait);  // one turn; none after such an error
  void stop() { stopping_ = true; }

  // How long turns took, from the end of the wait on.
  const Histogram& turns() const { return turns_; }

  const Clock& clock() const { return clock_; }
  TimePoint now() const { return clock_.now(); }

 private:
  friend class Timer;
  friend class TurnHook;
  struct Watch {
    FdHandler handler;
    std::uint32_t events = 0;
    std::uint32_t serial = 0;  // tells it from an earlier watch of the same number
  };

  std::optional<Duration> wait_time(std::optional<Duration> max_wait, TimePoint now) const;
  std::optional<TimePoint> first_timer() const;
  TimePoint gather(TimePoint now);
  static void sleep(Duration d);
  void fail_with(const char* call);
  bool control(int operation, int fd, const Watch& w);
  int wait(std::span<epoll_event> ready, std::optional<Duration> time);
  void serve(std::uint64_t key, std::uint32_t events);
  void fire_timers();
  void call_hooks();

  const Clock& clock_;
  UniqueFd epoll_;
  UniqueFd signal_fd_;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::uint32_t last_serial_ = 0;
  std::vector<Timer*> timers_;
  Jobs jobs_;
  std::vector<TurnHook*> hooks_;  // nullptr: gone during this turn
  bool stopping_ = false;
  bool fine_wait_ = true;         // epoll_pwait2 is allowed
  std::optional<Error> failure_;  // the first one
  Duration pause_{};
  void watch_rate(TimePoint t);

  Histogram turns_;
  std::optional<TimePoint> turn_began_;  // of the last turn
  TimePoint turn_started_{};             // of the last turn with ready descriptors
  TimePoint window_start_{};             // since when work_ is counted
  std::uint64_t work_ = 0;
  bool streaming_ = false;
  bool hurry_ = false;
};

}  // namespace ctsync
