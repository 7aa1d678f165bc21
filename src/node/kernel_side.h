// SPDX-License-Identifier: GPL-2.0-or-later
// The half of a node that looks at the kernel: filters, events, the first dump, resync after lost events, polling, and
// the commands that concern the kernel's table and the internal store.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ctsync/base/jobs.h"
#include "ctsync/base/log.h"
#include "ctsync/node/node.h"
#include "ctsync/node/options.h"
#include "flush_cache_job.h"
#include "internal_store.h"
#include "kernel_follower.h"

namespace ctsync::node {

class KernelSide {
 public:
  struct Context {
    kernel::KernelTable& kernel;
    const Clock& clock;
    Log& log;
    Jobs& jobs;
    const NodeOptions& options;
    InternalStore& store;
    // Called when the store was emptied, though the kernel was not, and when it has been filled again (true).
    std::function<void(bool)> whole = [](bool) {};
    // Of the kernel's flows, those that neither -F nor -t is about.
    std::function<bool(const Tuple&)> spared = [](const Tuple&) { return false; };
  };
  // Nothing if all was well.
  using OnDone = std::function<void(const Error* error)>;

  explicit KernelSide(const Context& context);
  KernelSide(const KernelSide&) = delete;
  KernelSide& operator=(const KernelSide&) = delete;

  // Opens the events first, so that nothing slips between them and the dump that then fills the store. Blocks.
  Result<> start();

  Node::Read read_events();
  std::optional<TimePoint> next_deadline() const;
  void on_timer();

  // The options are others from now on; `filter`: that one too. What it lets pass now is read from the kernel, and what it
  // no longer does is taken for gone.
  void options_changed(bool filter);

  // -R. One at a time: who asks during one gets one more, together with all who ask meanwhile, and is answered when that
  // is through.
  void resync(Scope scope, OnDone on_done);
  // As after lost events: the kernel is read, and the peers are told what no event has told.
  void read_again();
  // -f of the store.
  void flush_store(Scope scope, std::function<void()> on_done);

  // Why the kernel's flows are deleted.
  enum class Purpose : std::uint8_t { command, purge };  // -F; PurgeTimeout after -t
  // Deletes what passes the filter. A flush that is under way does not count: it may have passed what is meant.
  void flush_kernel(Purpose purpose, OnDone on_done);
  Result<> flush_kernel_expectations();
  // -t: a flush of the kernel's table after PurgeTimeout, unless one is scheduled already.
  void schedule_purge();
  void unschedule_purge() { purge_at_.reset(); }
  bool purge_is_scheduled() const { return purge_at_.has_value(); }
  // Unschedules it, and stops it where it is under way; true if that was so.
  bool stop_purge();
  // When no -F is under way or waits: at once, or later.
  void when_flushed(std::function<void()> then);

  // For who writes to the kernel: to be called with what has become of an entry, because the events of our own writers
  // are not received; empty if they are.
  std::function<void(kernel::EventType, FlowRecord&)> written(kernel::Origin origin);
  std::function<void(kernel::EventType, Expectation&)> expectation_written(kernel::Origin origin);

  // A flow is gone from the kernel, by our own hand, but the peers are to hear of it.
  void ended(FlowRecord& record) { follower_.on_flow(kernel::EventType::destroy, record, kernel::Origin::foreign); }

  // Forgets what is remembered of our own writers, unless older events wait.
  void end_turn();

  // Around a commit. What it makes is told when something happens to it; if the event of that is lost, everything is told.
  // From commit_is_large() on the events of new flows are not heard, which more than halves its time; the kernel is read
  // afterwards. Until then the peers are told of no new flow.
  void commit_begins();
  void commit_is_large();
  void commit_ended();
  // Whether the internal store has heard of everything that happened to what it holds.
  bool is_whole() const { return own_events_hidden_ && !unmended_ && !flushed_ && !resync_at_ && mending_ == nullptr; }

  // Whether the store has every flow of the kernel, as far as the events that were read tell.
  bool knows_its_flows() const { return !unmended_ && !flushed_ && mending_ == nullptr && deaf_ == Deaf::no; }

  const FlowFilter& filter() const { return c_.options.filter; }
  KernelFollower& follower() { return follower_; }
  void fill(text::Snapshot& s) const;

 private:
  struct Waiter {
    Purpose purpose;
    OnDone on_done;
  };

  // Between a mending that fails and the next one: doubled each time, up to the last.
  static constexpr Duration kFirstPause = std::chrono::seconds(1);
  static constexpr Duration kLastPause = std::chrono::seconds(30);

  Result<> open_events();
  Result<> set_event_filter(bool hide_own);
  Result<> first_load();
  void after_overrun();
  void mend_after_overrun();
  void after_full();
  void look_for_room();
  // False: not now, but as soon as what is in its way has ended.
  bool mend(Load load);
  bool hear_new_flows();
  void mended(Load load, const Error* error);
  void compare();
  void compare_later();
  void expect_silent_flows();
  void tell_compared();
  void mend_soon() { resync_at_ = c_.clock.now(); }
  void poll();
  void purge();
  void catch_up();
  void run_merge();
  void merge_done(const Error* error);
  void tell_whole() { c_.whole(!flushed_); }
  void run_flush();
  void flush_done(const Error* error);
  void log_error(const Error* error);

  Context c_;
  HelperFilter helpers_;
  KernelFollower follower_;
  CacheFlusher<InternalStore> flusher_;
  std::optional<TimePoint> resync_at_;
  std::optional<TimePoint> poll_at_;
  std::optional<TimePoint> catch_up_at_;
  std::optional<TimePoint> purge_at_;
  std::optional<TimePoint> compare_at_;
  Duration compare_pause_ = Duration::max();  // if that is shorter than the option says
  TimePoint mend_began_{};
  std::optional<TimePoint> room_at_;  // something was refused: when to look for room again
  bool own_events_hidden_ = false;
  bool polled_ = false;
  bool compared_ = false;  // what was found is to be told when the events that waited are read
  text::ComparisonNumbers comparisons_;
  bool catching_up_ = false;
  bool freeing_ = false;
  Job* mending_ = nullptr;
  bool mend_again_ = false;
  bool flushed_ = false;               // the store is not filled again yet
  bool unmended_ = false;              // events were lost since a mending began, or before
  bool waiting_when_lost_ = false;     // events that waited when the last ones were lost may wait still
  Duration mend_pause_ = kFirstPause;  // after the next failure
  bool merging_ = false;               // -R under way
  std::vector<OnDone> merge_for_;      // whom it is for
  std::vector<OnDone> merge_after_;    // whom the next one is for
  std::vector<OnDone> mend_for_;       // whom the mending under way serves as well
  Scope merge_scope_{.flows = false, .expectations = false};  // of the next one
  bool merged_ = false;  // a -R has read the kernel since it was last known that no event was lost
  // New flows are not heard: a large commit is under way, or has ended and is to be followed by a mending.
  enum class Deaf : std::uint8_t { no, committing, mending } deaf_ = Deaf::no;
  bool mend_when_caught_up_ = false;
  // What the next mending finds is no fault.
  enum class Expected : std::uint8_t { nothing, begun_meanwhile, filter_changed } expected_ = Expected::nothing;
  bool committed_ = false;  // what a commit made may not be told yet
  bool tell_all_ = false;   // by the next mending
  Job* flush_ = nullptr;
  std::vector<Waiter> flush_for_;    // whom the flush under way is for
  std::vector<Waiter> flush_after_;  // whom the next one is for
  RateLimit full_limit_{std::chrono::seconds(60)};
  std::uint64_t flushes_ = 0;
  std::uint64_t resyncs_ = 0;
};

}  // namespace ctsync::node
