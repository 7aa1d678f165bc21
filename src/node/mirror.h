// SPDX-License-Identifier: GPL-2.0-or-later
// WarmStandby: what the external cache holds is in the kernel, too, so that a commit has only the difference to write.
//
// What changes is collected for a moment and written in batches. The kernel sees no packets of such a copy and would let it
// run out, so each gets MirrorTimeout, again and again. A flow that lives here (a packet has passed, or the kernel had an
// entry of its own) is never touched: what the peer says of it waits in the cache. What happens to a copy is told to nobody;
// the first event of somebody else's makes it this node's.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "copies.h"
#include "ctsync/base/jobs.h"
#include "ctsync/base/log.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/text/render_flow.h"
#include "ctsync/text/snapshot.h"
#include "id_set.h"
#include "tuple_map.h"

namespace ctsync::node {

class Mirror final : public Copies, private kernel::WriteHandler {
 public:
  // What is told of a flow within this time is one write, and nothing if it ends within it.
  static constexpr Duration kPause = std::chrono::milliseconds(200);

  struct Context {
    const table::FlowTable& external;
    std::function<bool(const table::FlowSlot&)> shows;  // of the external cache: not about to be flushed
    table::FlowTable& internal;
    kernel::KernelTable& kernel;
    const Clock& clock;
    Log& log;
    Jobs& jobs;
    std::uint32_t timeout;  // MirrorTimeout, seconds
  };
  explicit Mirror(Context context);
  ~Mirror() override = default;
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // Reads what the kernel has to tell; whether that was all of it. What lives here must be known when something is removed.
  std::function<bool()> read_events = [] { return true; };
  // Whether the internal cache would know. While it lacks what lost events told, nothing is written.
  std::function<bool()> knows_what_lives_here = [] { return true; };
  // Called when a copy was written or removed: what a dump under way says of it is old.
  std::function<void(const Tuple&)> wrote = [](const Tuple&) {};

  // --- Told by the external cache ---
  // A flow has come, or was told anew.
  void changed(table::FlowId id);
  // It has ended, or is another one from now on.
  void leaving(table::FlowId id);
  // It is given to the kernel as this node's own, as it is in the cache; or that has failed. True: a copy of an earlier flow
  // with its tuple is to be removed first.
  bool committed(table::FlowId id, bool well);

  // --- Copies ---
  bool contains(const Tuple& orig) override;
  void touched(const Tuple& orig) override;
  bool was_touched(const Tuple&) override { return false; }
  void forget(const Tuple& orig) override { touched(orig); }
  bool ended(const Tuple& orig) override;
  void flushed(const Tuple& orig) override;
  void found(const Flow& f) override { taken_over(f.orig); }
  void taken_over(const Tuple& orig) override;
  bool has_changed(const Flow& f) override;

  // --- For a commit: what the kernel may not have as the external cache has it, and what it has of it as copies ---
  const IdSet& unwritten() const { return unwritten_; }
  const IdSet& mirrored() const { return mirrored_; }

  // MirrorTimeout, seconds, of what is written from now on.
  void set_timeout(std::uint32_t seconds) { c_.timeout = seconds; }

  std::optional<TimePoint> next_deadline() const;
  void on_timer();
  text::MirrorNumbers numbers() const;

 private:
  class WriteJob;

  enum class Phase : std::uint8_t { ends, plain_flows, related_flows, orphans };

  void write_soon();
  void refresh_some();
  bool work(TimePoint budget_end);
  bool step(TimePoint budget_end);
  bool step_ends(TimePoint budget_end);
  bool step_flows(TimePoint budget_end);
  bool step_orphans(TimePoint budget_end);
  void write(table::FlowId id);
  void on_written(const kernel::WriteResult& result, const FlowRecord& record) override;
  void failed(table::FlowId id, const kernel::WriteResult& result, const FlowRecord& record);
  bool lives_here(const Tuple& orig) const;

  Context c_;
  kernel::TableWriter& writer_;
  IdSet mirrored_;           // the kernel has a copy
  IdSet unwritten_;          // and it, or what is there in its place, may not be as in the cache
  IdSet due_;                // of these, and of copies that would run out: to be written
  IdSet later_;              // to be written with the next round of refreshing
  std::deque<Tuple> ended_;  // copies to remove
  TupleMap removing_;        // the same, and those that are being removed
  bool some_untouched_ = false;
  std::optional<TimePoint> write_at_;
  std::optional<TimePoint> refresh_at_;
  table::FlowId refreshed_ = 0;  // to here in this round

  // Of the writing under way.
  bool writing_ = false;
  Phase phase_ = Phase::ends;
  table::FlowId next_ = 0;
  std::vector<table::FlowId> orphans_;  // the kernel did not find their master
  std::uint64_t failures_ = 0;
  bool full_ = false;  // the kernel's table
  RateLimit limit_{std::chrono::seconds(10)};
  FlowRecord record_;
  FlowRecord scratch_;
  text::FlowRenderer flow_text_;
};

}  // namespace ctsync::node
