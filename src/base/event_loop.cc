// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/event_loop.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>
#include <limits>

namespace ctsync {
namespace {

timespec timespec_of(Duration d) {
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(d);
  return {.tv_sec = s.count(), .tv_nsec = (d - s).count()};
}

}  // namespace

Timer::Timer(EventLoop& loop, std::function<void()> on_expiry)
    : loop_(loop), on_expiry_(std::make_shared<std::function<void()>>(std::move(on_expiry))) {
  loop_.timers_.push_back(this);
}

Timer::~Timer() { std::erase(loop_.timers_, this); }

void Timer::arm_in(Duration d) { arm(loop_.now() + d); }

TurnHook::TurnHook(EventLoop& loop, std::function<void()> hook)
    : loop_(loop), hook_(std::make_shared<std::function<void()>>(std::move(hook))) {
  loop_.hooks_.push_back(this);
}

// Its place stays until the hooks of this turn have been called, so that none of the others is left out.
TurnHook::~TurnHook() { std::replace(loop_.hooks_.begin(), loop_.hooks_.end(), this, static_cast<TurnHook*>(nullptr)); }

EventLoop::EventLoop(const Clock& clock) : clock_(clock), jobs_(clock) {}
EventLoop::~EventLoop() = default;

Result<> EventLoop::open() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return fail_errno("epoll_create1");
  return {};
}

Result<> EventLoop::watch(int fd, std::uint32_t events, FdHandler handler) {
  const bool known = watches_.contains(fd);
  const auto& w = watches_[fd] = std::make_shared<Watch>(Watch{std::move(handler), events, ++last_serial_});
  if (control(known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, *w)) return {};
  // Closed and opened again under the same number.
  if (errno == ENOENT && control(EPOLL_CTL_ADD, fd, *w)) return {};
  auto failed = fail_errno("epoll_ctl");
  unwatch(fd);
  return failed;
}

void EventLoop::change(int fd, std::uint32_t events) {
  const auto it = watches_.find(fd);
  if (it == watches_.end() || it->second->events == events) return;
  it->second->events = events;
  if (!control(EPOLL_CTL_MOD, fd, *it->second)) fail_with("epoll_ctl");
}

void EventLoop::fail_with(const char* call) {
  if (!failure_) failure_ = fail_errno(call).error();
}

bool EventLoop::control(int operation, int fd, const Watch& w) {
  epoll_event ev{};
  ev.events = w.events;
  ev.data.u64 = std::uint64_t{w.serial} << 32 | static_cast<std::uint32_t>(fd);
  return ::epoll_ctl(epoll_.get(), operation, fd, &ev) == 0;
}

void EventLoop::serve(std::uint64_t key, std::uint32_t events) {
  const auto it = watches_.find(static_cast<int>(key & 0xffffffffU));
  // Removed by a handler of this turn, or another descriptor by now.
  if (it == watches_.end() || it->second->serial != key >> 32) return;
  const auto keep = it->second;  // the handler may unwatch itself
  keep->handler(events);
}

// A descriptor that the kernel does not know any more was closed, which took it out of the set.
void EventLoop::unwatch(int fd) {
  if (watches_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Result<> EventLoop::watch_signals(const std::vector<int>& signals, std::function<void(int signal)> handler) {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : signals) sigaddset(&set, s);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return fail_errno("sigprocmask");
  signal_fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd_) return fail_errno("signalfd");
  return watch(signal_fd_.get(), EPOLLIN, [this, handler = std::move(handler)](std::uint32_t) {
    signalfd_siginfo info{};
    while (::read(signal_fd_.get(), &info, sizeof info) == sizeof info) handler(static_cast<int>(info.ssi_signo));
  });
}

std::optional<TimePoint> EventLoop::first_timer() const {
  std::optional<TimePoint> first;
  for (const Timer* t : timers_) {
    if (t->at_ && (!first || *t->at_ < *first)) first = t->at_;
  }
  return first;
}

void EventLoop::watch_rate(TimePoint t) {
  turn_started_ = t;
  constexpr Duration kWindow = std::chrono::milliseconds(1);
  const auto elapsed = t - window_start_;
  if (elapsed < kWindow) return;
  streaming_ = work_ >= kStreamRate * static_cast<std::uint64_t>(elapsed / kWindow);
  window_start_ = t;
  work_ = 0;
}

// Not in wait(): what comes meanwhile must not end it. A signal is blocked and waits in its descriptor.
void EventLoop::sleep(Duration d) {
  const timespec time = timespec_of(d);
  ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

// The time afterwards; where jobs are ready nobody asks for it.
TimePoint EventLoop::gather(TimePoint now) {
  const bool hurry = std::exchange(hurry_, false);
  if (jobs_.ready()) {
    if (jobs_.rest() != Duration::zero()) sleep(jobs_.rest());
    return now;
  }
  if (!streaming_ || hurry || pause_ == Duration::zero()) return now;
  auto until = turn_started_ + pause_;
  if (const auto first = first_timer()) until = std::min(until, *first);
  if (until <= now) return now;
  sleep(until - now);
  return clock_.now();
}

std::optional<Duration> EventLoop::wait_time(std::optional<Duration> max_wait, TimePoint now) const {
  if (jobs_.ready()) return Duration::zero();
  const auto first = first_timer();
  if (!first) return max_wait;
  const auto until = std::max(*first - now, Duration::zero());
  return max_wait ? std::min(until, *max_wait) : until;
}

// The number of descriptors that are ready. epoll_pwait2 waits to the nanosecond, but kernels before 5.11 lack it and
// seccomp filters made before it refuse it; epoll_wait waits for whole milliseconds, rounded up here: a wait that ends
// just before its timer is due would be followed by many of no length.
int EventLoop::wait(std::span<epoll_event> ready, std::optional<Duration> time) {
  const int size = static_cast<int>(ready.size());
  int n = -1;
  if (fine_wait_) {
    const timespec limit = timespec_of(time.value_or(Duration::zero()));
    n = ::epoll_pwait2(epoll_.get(), ready.data(), size, time ? &limit : nullptr, nullptr);
    if (n < 0 && (errno == ENOSYS || errno == EPERM)) fine_wait_ = false;
  }
  if (!fine_wait_) {
    constexpr std::chrono::milliseconds kLongest(std::numeric_limits<int>::max());
    const auto ms = time ? std::min(std::chrono::ceil<std::chrono::milliseconds>(*time), kLongest).count() : -1;
    n = ::epoll_wait(epoll_.get(), ready.data(), size, static_cast<int>(ms));
  }
  if (n < 0 && errno != EINTR) fail_with("epoll_wait");
  return std::max(n, 0);
}

void EventLoop::run_once(std::optional<Duration> max_wait) {
  auto now = clock_.now();
  if (turn_began_) turns_.add(now - *turn_began_);
  turn_began_.reset();
  now = gather(now);
  std::array<epoll_event, 64> ready;
  const int n = failure_ ? 0 : wait(ready, wait_time(max_wait, now));
  if (failure_) return;
  const auto began = clock_.now();
  turn_began_ = began;
  if (n > 0 && pause_ != Duration::zero()) watch_rate(began);
  for (int i = 0; i < n; ++i) {
    const auto& ev = ready[static_cast<std::size_t>(i)];
    serve(ev.data.u64, ev.events);
  }
  fire_timers();
  jobs_.step(began);
  call_hooks();
}

void EventLoop::call_hooks() {
  for (std::size_t i = 0; i < hooks_.size(); ++i) {
    if (hooks_[i] == nullptr) continue;
    const auto keep = hooks_[i]->hook_;  // the hook may destroy itself
    (*keep)();
  }
  std::erase(hooks_, nullptr);
}

void EventLoop::fire_timers() {
  const auto t = clock_.now();
  for (std::size_t i = 0; i < timers_.size(); ++i) {
    Timer* timer = timers_[i];
    if (!timer->at_ || *timer->at_ > t) continue;
    timer->at_.reset();
    const auto keep = timer->on_expiry_;  // the handler may destroy its timer
    (*keep)();
  }
}

Result<> EventLoop::run() {
  stopping_ = false;
  while (!stopping_ && !failure_) run_once(std::nullopt);
  if (failure_) return std::unexpected(*failure_);
  return {};
}

}  // namespace ctsync
