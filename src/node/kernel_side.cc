// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_side.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "flush_kernel_job.h"
#include "load_job.h"

namespace ctsync::node {
namespace {

// Work of which a call does a part; true when it is through.
class SlicedJob final : public Job {
 public:
  SlicedJob(std::function<bool(TimePoint)> work, bool& running) : work_(std::move(work)), running_(running) {
    running_ = true;
  }
  ~SlicedJob() override { running_ = false; }
  SlicedJob(const SlicedJob&) = delete;
  SlicedJob& operator=(const SlicedJob&) = delete;
  State step(TimePoint budget_end) override { return work_(budget_end) ? State::done : State::more; }

 private:
  std::function<bool(TimePoint)> work_;
  bool& running_;
};

constexpr Duration kLookForRoom = std::chrono::seconds(5);
// When something else reads the kernel or empties the cache.
constexpr Duration kCompareLater = std::chrono::seconds(1);
// As long as flows are expected that send no events: between two comparisons, but so many times as long as one takes.
constexpr Duration kCompareSoon = std::chrono::seconds(10);
constexpr int kComparePart = 20;

// Takes `at` if it has come.
bool is_due(std::optional<TimePoint>& at, TimePoint now) {
  if (!at || *at > now) return false;
  at.reset();
  return true;
}

}  // namespace

KernelSide::KernelSide(const Context& context)
    : c_(context),
      helpers_(context.options.helpers),
      follower_({c_.clock, c_.log, c_.kernel, filter(), helpers_, c_.store, context.options.seed}),
      flusher_(c_.jobs, c_.store) {
  follower_.overrun = [this] { after_overrun(); };
  c_.store.full = [this] { after_full(); };
  if (c_.options.mode == Mode::statistics) return;
  follower_.later = [this] {
    constexpr Duration kMoment = std::chrono::milliseconds(20);
    if (!catch_up_at_) catch_up_at_ = c_.clock.now() + kMoment;
  };
}

Result<> KernelSide::start() {
  const bool in_kernel = filter().active() && c_.options.filter_in_kernel;
  if (filter().active()) c_.log.notice("using {}-space event filtering", in_kernel ? "kernel" : "user");
  if (c_.options.poll) {
    c_.log.notice("running in polling mode");
    poll_at_ = c_.clock.now() + *c_.options.poll;
  } else if (auto ok = open_events(); !ok) {
    return ok;
  }
  if (auto ok = first_load(); !ok) return ok;
  expect_silent_flows();
  compare_later();
  return {};
}

Result<> KernelSide::open_events() {
  const auto& options = c_.options.events;
  if (auto ok = c_.kernel.open_events(options); !ok) return ok;
  // What our own writers change, the jobs tell the follower: no event is needed for it. (Statistics mode wants the
  // events, for their counters.) The follower filters in any case: without the kernel's help it is only slower.
  const bool hide_own = c_.options.mode != Mode::statistics;
  if (hide_own || (filter().active() && c_.options.filter_in_kernel)) {
    if (auto ok = set_event_filter(hide_own); ok) {
      own_events_hidden_ = hide_own;
    } else {
      c_.log.error("{}", ok.error().text);
    }
  }
  if (options.reliable) c_.log.notice("reliable ctnetlink event delivery is ENABLED.");
  if (options.buffer_size == 0 || options.buffer_size > options.buffer_size_max) {
    c_.log.notice(
        "NetlinkBufferSize is either not set or is greater than NetlinkBufferSizeMaxGrowth. Using current system "
        "buffer "
        "size");
  }
  c_.log.notice("netlink event socket buffer size has been set to {} bytes", c_.kernel.event_stats().buffer_size);
  return {};
}

Result<> KernelSide::set_event_filter(bool hide_own) {
  const bool in_kernel = filter().active() && c_.options.filter_in_kernel;
  return c_.kernel.set_event_filter(in_kernel ? filter() : FlowFilter(), hide_own);
}

void KernelSide::options_changed(bool filter) {
  if (poll_at_) poll_at_ = earlier(poll_at_, c_.clock.now() + *c_.options.poll);
  compare_at_.reset();
  compare_later();
  if (!filter) return;
  if (!c_.options.poll) {
    if (auto ok = set_event_filter(own_events_hidden_); !ok) c_.log.error("{}", ok.error().text);
  }
  if (!c_.store.keeps_flows()) return;
  expected_ = Expected::filter_changed;
  mend_soon();
}

Result<> KernelSide::first_load() {
  if (!c_.store.keeps_flows()) return {};
  std::optional<Error> failed;
  LoadJob job(c_.kernel, follower_, c_.store, Load::start,
              {.flows = true, .expectations = c_.store.keeps_expectations()}, [&](const Error* error) {
                if (error != nullptr) failed = *error;
              });
  while (job.step(TimePoint::max()) != Job::State::done) {
  }
  if (failed) return std::unexpected(*failed);
  return {};
}

Node::Read KernelSide::read_events() {
  const auto before = c_.kernel.event_stats().received;
  const bool more = c_.kernel.read_events(c_.options.event_limit, follower_);
  const Node::Read read{.events = c_.kernel.event_stats().received - before, .more = more};
  if (!read.more) {
    waiting_when_lost_ = false;
    if (std::exchange(mend_when_caught_up_, false)) mend_soon();
    c_.store.caught_up();
    if (std::exchange(compared_, false)) tell_compared();
    merged_ = merging_;
  }
  if (!freeing_ && c_.store.has_leftovers()) {
    c_.jobs.add(std::make_unique<SlicedJob>([this](TimePoint end) { return c_.store.free_leftovers(end); }, freeing_));
  }
  return read;
}

void KernelSide::end_turn() {
  if (!c_.options.poll && c_.store.waits_for_events()) read_events();
}

// --- Time ---

std::optional<TimePoint> KernelSide::next_deadline() const {
  std::optional<TimePoint> first;
  for (const auto& at : {resync_at_, poll_at_, catch_up_at_, purge_at_, compare_at_, room_at_})
    first = earlier(first, at);
  return first;
}

void KernelSide::on_timer() {
  const auto now = c_.clock.now();
  if (is_due(resync_at_, now)) {
    if (!hear_new_flows()) {
      resync_at_ = now + kFirstPause;
    } else if (mend(Load::mend)) {
      if (expected_ == Expected::nothing) ++resyncs_;
      // What these tell while the kernel is read is taken for newer than what is read, and the event after it is lost.
      if (waiting_when_lost_) mend_after_overrun();
    }
  }
  if (is_due(poll_at_, now)) poll();
  if (is_due(compare_at_, now)) compare();
  if (is_due(catch_up_at_, now)) catch_up();
  if (is_due(purge_at_, now)) purge();
  if (is_due(room_at_, now)) look_for_room();
}

void KernelSide::after_overrun() {
  if (std::exchange(committed_, false) || merged_) tell_all_ = true;
  if (!c_.store.keeps_flows()) return;
  unmended_ = true;
  if (!c_.options.overrun_resync) return;
  waiting_when_lost_ = true;
  mend_after_overrun();
}

void KernelSide::commit_begins() {
  committed_ = true;
  if (unmended_ || mending_ != nullptr) tell_all_ = true;
  if (mending_ != nullptr) mend_again_ = true;
}

void KernelSide::commit_is_large() {
  if (!own_events_hidden_ || !c_.store.keeps_flows()) return;
  if (c_.kernel.hear_new_flows(false)) deaf_ = Deaf::committing;
}

void KernelSide::commit_ended() {
  if (deaf_ != Deaf::committing) return;
  deaf_ = Deaf::mending;
  if (expected_ == Expected::nothing) expected_ = Expected::begun_meanwhile;
  hear_new_flows();
  // What waits of before tells of flows that have ended and not of those that follow them with the same tuples: it is to
  // be read before the kernel is, or the kernel once more after that.
  waiting_when_lost_ = mend_when_caught_up_ = true;
  resync_at_ = earlier(resync_at_, c_.clock.now() + kFirstPause);
  read_events();
}

bool KernelSide::hear_new_flows() {
  if (deaf_ != Deaf::mending) return true;
  if (auto ok = c_.kernel.hear_new_flows(true); !ok) {
    c_.log.error("{}: new connections are not heard, until this is tried again", ok.error().text);
    return false;
  }
  deaf_ = Deaf::no;
  return true;
}

void KernelSide::mend_after_overrun() {
  // The first one counts: put off by each, the mending of a node that goes on losing events would never come.
  resync_at_ = earlier(resync_at_, c_.clock.now() + c_.options.overrun_resync.value_or(kFirstPause));
}

// What is refused now may send no further event.
void KernelSide::after_full() {
  const auto now = c_.clock.now();
  if (!room_at_) room_at_ = now + kLookForRoom;
  if (!full_limit_.allow(now)) return;
  c_.log.warning("the internal cache is full, what is new in the kernel is not taken (see HashLimit)");
  if (const auto n = full_limit_.held_back(); n != 0) {
    c_.log.warning("{} more entries were not taken since the last warning", n);
  }
}

void KernelSide::look_for_room() {
  if (c_.store.has_room()) {
    mend_soon();
  } else {
    room_at_ = c_.clock.now() + kLookForRoom;
  }
}

bool KernelSide::mend(Load load) {
  if (mending_ != nullptr || merging_ || flusher_.running()) {
    if (load == Load::repeat) tell_all_ = true;
    mend_again_ = true;
    return false;
  }
  if (std::exchange(tell_all_, false)) load = Load::repeat;
  mend_began_ = c_.clock.now();
  unmended_ = false;                            // what is lost from here on may be missing from what is read
  mend_for_ = std::exchange(merge_after_, {});  // it does all that a -R does
  merge_scope_ = {.flows = false, .expectations = false};
  const Scope scope{.flows = true, .expectations = c_.store.keeps_expectations()};
  mending_ = c_.jobs.add(std::make_unique<LoadJob>(c_.kernel, follower_, c_.store, load, scope,
                                                   [this, load](const Error* error) { mended(load, error); }));
  return true;
}

void KernelSide::mended(Load load, const Error* error) {
  mending_ = nullptr;
  const bool again = std::exchange(mend_again_, false);
  if (error == nullptr) {
    mend_pause_ = kFirstPause;
    if (again) mend_soon();
    flushed_ = false;  // a flush would have cancelled it
    tell_whole();
    if (!c_.options.poll) {
      compare_later();
      compared_ = true;
      read_events();  // what they tell is no difference
    }
  } else {
    c_.log.error("{}: the internal cache may lack flows or have too many, until this is tried again", error->text);
    if (load == Load::repeat) tell_all_ = true;
    unmended_ = true;
    resync_at_ = earlier(resync_at_, c_.clock.now() + mend_pause_);
    mend_pause_ = std::min(2 * mend_pause_, kLastPause);
  }
  for (const auto& on_done : std::exchange(mend_for_, {})) on_done(error);
  run_merge();
}

// --- Comparing with the kernel, against whatever may have gone wrong unseen ---

void KernelSide::compare_later() {
  if (!c_.store.keeps_flows() || c_.options.poll || !c_.options.kernel_compare) return;
  compare_at_ = c_.clock.now() + std::min(compare_pause_, *c_.options.kernel_compare);
}

// What was in the kernel at the start may have begun while nobody listened, and then only comparing tells what becomes of
// it: soon, and again as long as that finds something.
void KernelSide::expect_silent_flows() {
  const auto numbers = c_.store.flow_numbers();
  const auto* cached = std::get_if<text::CacheNumbers>(&numbers);
  if (!c_.options.silent_flows || !c_.options.kernel_compare || cached == nullptr || cached->active == 0) return;
  compare_pause_ = kCompareSoon;
  c_.log.info(
      "{} connections were there before: of those that began while no daemon ran the kernel sends no events "
      "(net.netfilter.nf_conntrack_events is 2), so it is read again now and then",
      cached->active);
}

void KernelSide::compare() {
  if (mending_ != nullptr || merging_ || flusher_.running()) {
    compare_at_ = c_.clock.now() + kCompareLater;
  } else {
    mend(Load::mend);
  }
}

void KernelSide::tell_compared() {
  const auto found = c_.store.compared();
  if (c_.options.kernel_compare && compare_pause_ < *c_.options.kernel_compare) {
    const Duration took = c_.clock.now() - mend_began_;
    compare_pause_ = found.all_same() ? 2 * compare_pause_ : std::max(kCompareSoon, kComparePart * took);
    compare_later();
  }
  switch (std::exchange(expected_, Expected::nothing)) {
    case Expected::nothing:
      break;
    case Expected::begun_meanwhile:
      if (found.missing != 0) c_.log.info("{} connections began during the commit", found.missing);
      return;
    case Expected::filter_changed:
      c_.log.notice("the filter lets {} more connections pass than before, and {} no longer", found.missing,
                    found.left_over);
      return;
  }
  ++comparisons_.done;
  comparisons_.missing += found.missing;
  comparisons_.left_over += found.left_over;
  comparisons_.differed += found.differed;
  if (found.all_same()) return;
  c_.log.notice(
      "compared the internal cache with the kernel: {} connections, mended {} missing, {} left over, {} that differed",
      found.flows, found.missing, found.left_over, found.differed);
}

void KernelSide::poll() {
  poll_at_ = c_.clock.now() + *c_.options.poll;
  if (!c_.store.keeps_flows() || mending_ != nullptr) return;
  // Peers know nothing of the flows that the first dump found. In NOTRACK mode nothing else makes up for lost messages.
  const bool all = !std::exchange(polled_, true) || c_.options.mode == Mode::notrack;
  mend(all ? Load::repeat : Load::mend);  // not counted: no resync that was asked for or caused by lost events
}

void KernelSide::catch_up() {
  if (catching_up_) return;
  c_.jobs.add(std::make_unique<SlicedJob>([this](TimePoint end) { return follower_.catch_up(end); }, catching_up_));
}

// --- Commands ---

// It tells the peers nothing. Whatever it finds that no event told, the next mending would take for known to them.
void KernelSide::resync(Scope scope, OnDone on_done) {
  ++resyncs_;
  merge_after_.push_back(std::move(on_done));
  merge_scope_.flows |= scope.flows;
  merge_scope_.expectations |= scope.expectations;
  run_merge();
}

void KernelSide::read_again() {
  if (c_.store.keeps_flows()) mend_soon();
}

// One dump at a time is read into the store; a mending that is due comes first.
void KernelSide::run_merge() {
  if (merge_after_.empty() || merging_ || mending_ != nullptr) return;
  if (mend_when_caught_up_ || (resync_at_ && *resync_at_ <= c_.clock.now())) return;
  merge_for_ = std::exchange(merge_after_, {});
  merging_ = true;
  merged_ = true;
  if (resync_at_ || unmended_ || c_.options.poll) tell_all_ = true;
  const Scope scope = std::exchange(merge_scope_, {.flows = false, .expectations = false});
  c_.jobs.add(std::make_unique<LoadJob>(c_.kernel, follower_, c_.store, Load::merge, scope,
                                        [this](const Error* error) { merge_done(error); }));
}

void KernelSide::merge_done(const Error* error) {
  log_error(error);
  merging_ = false;
  if (error == nullptr && !flusher_.running()) flushed_ = false;
  tell_whole();
  for (const auto& on_done : std::exchange(merge_for_, {})) on_done(error);
  if (std::exchange(mend_again_, false)) mend_soon();
  run_merge();
}

// A dump for mending and a flush would take each other's entries for old ones: the dump is begun anew afterwards.
void KernelSide::flush_store(Scope scope, std::function<void()> on_done) {
  if (mending_ != nullptr) {
    c_.jobs.cancel(std::exchange(mending_, nullptr));
    if (!mend_for_.empty()) merge_scope_ = {.flows = true, .expectations = c_.store.keeps_expectations()};
    std::ranges::move(std::exchange(mend_for_, {}), std::back_inserter(merge_after_));
    mend_again_ = unmended_ = true;
  }
  flushed_ |= scope.flows;
  tell_whole();
  flusher_.start(scope, [this, on_done = std::move(on_done)] {
    on_done();
    if (std::exchange(mend_again_, false)) mend_soon();
  });
}

void KernelSide::flush_kernel(Purpose purpose, OnDone on_done) {
  ++flushes_;
  flush_after_.push_back({purpose, std::move(on_done)});
  if (flush_ == nullptr) run_flush();
}

void KernelSide::run_flush() {
  if (flush_after_.empty()) return;
  flush_for_ = std::exchange(flush_after_, {});
  std::function<void(FlowRecord&)> deleted;
  if (auto tell = written(kernel::Origin::flush)) {
    deleted = [tell = std::move(tell)](FlowRecord& r) { tell(kernel::EventType::destroy, r); };
  }
  flush_ = c_.jobs.add(std::make_unique<FlushKernelJob>(c_.kernel, filter(), c_.spared, std::move(deleted),
                                                        [this](const Error* error) { flush_done(error); }));
}

void KernelSide::flush_done(const Error* error) {
  log_error(error);
  flush_ = nullptr;
  if (!c_.options.poll) read_events();  // so that the store can forget what it was told of the flush
  for (const auto& waiter : std::exchange(flush_for_, {})) waiter.on_done(error);
  if (flush_ == nullptr) run_flush();
}

void KernelSide::schedule_purge() {
  if (purge_at_) return;
  const auto timeout = c_.options.purge_timeout;
  c_.log.notice("flushing conntrack table in {} secs",
                std::chrono::duration_cast<std::chrono::seconds>(timeout).count());
  purge_at_ = c_.clock.now() + timeout;
}

void KernelSide::purge() {
  c_.log.notice("flushing kernel conntrack table (scheduled)");
  flush_kernel(Purpose::purge, [](const Error*) {});
  // Where no event tells of it, the next poll would tell the peers that all have ended.
  if (c_.options.poll) flush_store({.flows = true, .expectations = false}, [this] { mend_soon(); });
}

bool KernelSide::stop_purge() {
  unschedule_purge();
  const auto is_purge = [](const Waiter& w) { return w.purpose == Purpose::purge; };
  const bool waited = std::erase_if(flush_after_, is_purge) != 0;
  const bool running = std::erase_if(flush_for_, is_purge) != 0;
  if (running && flush_for_.empty()) {
    c_.jobs.cancel(std::exchange(flush_, nullptr));
    run_flush();
  }
  return waited || running;
}

void KernelSide::when_flushed(std::function<void()> then) {
  auto& last = flush_after_.empty() ? flush_for_ : flush_after_;
  if (last.empty()) return then();
  last.push_back({Purpose::command, [then = std::move(then)](const Error*) { then(); }});
}

Result<> KernelSide::flush_kernel_expectations() {
  auto flushed = c_.kernel.writer(kernel::Origin::flush).flush_expectations();
  if (flushed) flush_store({.flows = false, .expectations = true}, [] {});
  return flushed;
}

std::function<void(kernel::EventType, FlowRecord&)> KernelSide::written(kernel::Origin origin) {
  if (!own_events_hidden_) return {};
  return [this, origin](kernel::EventType type, FlowRecord& r) { follower_.on_flow(type, r, origin); };
}

std::function<void(kernel::EventType, Expectation&)> KernelSide::expectation_written(kernel::Origin origin) {
  if (!own_events_hidden_) return {};
  return [this, origin](kernel::EventType type, Expectation& e) { follower_.on_expectation(type, e, origin); };
}

void KernelSide::log_error(const Error* error) {
  if (error != nullptr) c_.log.error("{}", error->text);
}

void KernelSide::fill(text::Snapshot& s) const {
  auto& n = s.runtime;
  const auto& e = c_.kernel.event_stats();
  n.events_received = e.received;
  n.events_unknown_type = e.unknown_type;
  n.event_failures = e.catch_failed;
  n.overruns = e.overruns;
  n.buffer_bytes = e.buffer_size;
  n.events_filtered = follower_.stats().filtered;
  n.dump_unknown_type = follower_.stats().dump_unknown;
  n.kernel_flushes = flushes_;
  n.kernel_resyncs = resyncs_;
  if (c_.store.keeps_flows() && !c_.options.poll) s.comparison = comparisons_;
}

}  // namespace ctsync::node
