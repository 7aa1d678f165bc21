// SPDX-License-Identifier: GPL-2.0-or-later
// The event loop: one thread, epoll. A turn of the loop is: wait; serve every ready descriptor once; fire due timers;
// run one slice of each job; call the turn hooks. Handlers may add, change and remove descriptors, timers and jobs at
// any time, their own included. The loop owns none of the descriptors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"

namespace ctsync {

class EventLoop;

// A point in time at which the loop calls back. Cheap to re-arm. Must not outlive the loop.
class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> on_expiry);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(TimePoint at) { at_ = at; }
  void arm_in(Duration d);
  void cancel() { at_.reset(); }
  std::optional<TimePoint> deadline() const { return at_; }

 private:
  friend class EventLoop;
  EventLoop& loop_;
  std::shared_ptr<std::function<void()>> on_expiry_;
  std::optional<TimePoint> at_;
};

// Long work in small steps. step() works until `budget_end` at most and tells whether it wants another turn.
class Job {
 public:
  enum class State : std::uint8_t {
    more,     // call again in the next turn
    waiting,  // call again after wake()
    done,     // remove me
  };
  virtual ~Job() = default;
  virtual State step(TimePoint budget_end) = 0;
  // After State::waiting: step again in the next turn. Counts too when called during the step that returns waiting.
  void wake() { waiting_ = false; }

 private:
  friend class EventLoop;
  bool waiting_ = false;
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
  // events = 0 pauses it.
  void watch(int fd, std::uint32_t events, FdHandler handler);
  void change(int fd, std::uint32_t events);
  void unwatch(int fd);

  // Signals to handle in the loop; they are blocked in the process and delivered through a descriptor.
  Result<> watch_signals(const std::vector<int>& signals, std::function<void(int signal)> handler);

  // The loop owns the job from here and drops it when it is done or cancelled.
  Job* add_job(std::unique_ptr<Job> job);
  void cancel_job(Job* job);
  // Drops all jobs. For the shut-down: to be called before what they work on goes, not by a job.
  void cancel_jobs();

  // Called at the end of every turn, in the order of registration.
  void on_turn(std::function<void()> hook) { hooks_.push_back(std::move(hook)); }

  // Gathering. Under a stream of events a wake-up for each costs far more than the event. So while kStreamRate or more
  // come in a millisecond (handlers tell through worked()), the loop sleeps until `d` after the beginning of the last
  // turn before it looks again, and finds many at once. Whatever comes more slowly is served at once; timers and jobs
  // are never delayed. 0 = never pause (the default).
  static constexpr std::uint32_t kStreamRate = 8;
  void set_pause(Duration d) { pause_ = d; }
  void worked(std::size_t events) { work_ += events; }
  // For this turn: there is more to read than was read, do not pause.
  void hurry() { hurry_ = true; }

  void run();                                       // until stop()
  void run_once(std::optional<Duration> max_wait);  // one turn
  void stop() { stopping_ = true; }

  const Clock& clock() const { return clock_; }
  TimePoint now() const { return clock_.now(); }
  // Time each job may take in a turn.
  static constexpr Duration kJobBudget = std::chrono::microseconds(900);
  // Once jobs have worked for kJobSprint, the loop rests before the next turn, for this part of the time the jobs took,
  // if no descriptor is ready. Without a rest a long job would starve the processes of ordinary priority on its
  // processor (the daemon has real-time priority), and the kernel, which does not let that happen, would stop the
  // daemon for 50 ms in every second. After a second without jobs they may sprint again.
  static constexpr int kJobRestPart = 6;
  static constexpr Duration kJobSprint = std::chrono::milliseconds(400);

 private:
  friend class Timer;
  struct Watch {
    FdHandler handler;
    std::uint32_t events = 0;
    std::uint32_t serial = 0;  // tells it from an earlier watch of the same number
  };

  std::optional<Duration> wait_time(std::optional<Duration> max_wait) const;
  std::optional<TimePoint> first_timer() const;
  bool job_ready() const;
  void drop(const Job* job);
  void gather();
  bool control(int operation, int fd, const Watch& w);
  void serve(std::uint64_t key, std::uint32_t events);
  void fire_timers();
  void step_jobs();

  const Clock& clock_;
  UniqueFd epoll_;
  UniqueFd signal_fd_;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::uint32_t last_serial_ = 0;
  std::vector<Timer*> timers_;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::vector<std::function<void()>> hooks_;
  Job* cancelled_while_running_ = nullptr;
  Job* running_ = nullptr;
  bool stopping_ = false;
  Duration job_rest_{};
  Duration job_work_{};     // since jobs began to sprint
  TimePoint job_worked_{};  // last time
  Duration pause_{};
  void watch_rate(TimePoint t);

  TimePoint turn_started_{};  // of the last turn with ready descriptors
  TimePoint window_start_{};  // since when work_ is counted
  std::uint64_t work_ = 0;
  bool streaming_ = false;
  bool hurry_ = false;
};

}  // namespace ctsync
