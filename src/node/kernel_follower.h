// SPDX-License-Identifier: GPL-2.0-or-later
// Follows the kernel's table: what events and dumps say goes through the filters into the internal store (spec
// replication.md 4.4 to 4.6). It also reads again what the kernel tells of in no event: sequence adjustments, and
// masters that come later than what they are the masters of.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "ctsync/base/log.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/table/flow_table.h"
#include "internal_store.h"

namespace ctsync::node {

// Which expectations are synchronised: those of helpers whose name begins with one of the names (without case), or of
// all.
class HelperFilter {
 public:
  explicit HelperFilter(std::vector<std::string> names) : names_(std::move(names)) {}
  bool accepts(const Expectation& e) const;

 private:
  std::vector<std::string> names_;  // empty: all
};

class KernelFollower final : public kernel::EventHandler {
 public:
  struct Context {
    const Clock& clock;
    Log& log;
    kernel::KernelTable& kernel;
    const FlowFilter& filter;
    const HelperFilter& helpers;
    InternalStore& store;
    std::uint64_t seed;
  };
  struct Stats {
    std::uint64_t filtered = 0;
    std::uint64_t dump_unknown = 0;
  };

  explicit KernelFollower(const Context& context);

  std::function<void()> overrun;
  // There is something that the kernel finishes only after the event that told of it: catch_up() is to be called about
  // 20 ms from now. May be called again before that.
  std::function<void()> later;
  // A flow of this node's own has begun; may be empty.
  std::function<void(const Flow&)> began;

  // kernel::EventHandler
  void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void on_expectation(kernel::EventType type, Expectation& e, kernel::Origin origin) override;
  void on_bad_event(kernel::DecodeStatus why) override;
  void on_overrun(kernel::BufferGrowth growth, std::uint32_t buffer_size) override;

  // Looks again at masters of new expectations and related flows, and for the masters of expectations that came before
  // them. One question to the kernel each, until `budget_end`. True when it is through.
  bool catch_up(TimePoint budget_end);

  // Whether an expectation is to be synchronised: its helper is listed, and its master passes the filter.
  bool wanted(const Expectation& e) { return c_.helpers.accepts(e) && c_.store.has_flow(e.master); }

  // An entry of a dump.
  void load_flow(FlowRecord& record, Load load);
  void load_expectation(Expectation& e, Load load);
  void count_bad_entry() { ++stats_.dump_unknown; }

  const Stats& stats() const { return stats_; }

 private:
  struct Waiting {
    Expectation expectation;
    kernel::Origin origin;
  };
  static constexpr std::size_t kMostLate = 8192;  // of each, until catch_up()

  void complete(FlowRecord& record);
  void look_again_at(const Tuple& master);
  void refresh(const Tuple& master);
  void forget_waiting(const Expectation& e);
  bool is_in_kernel(const Flow& f);

  Context c_;
  Stats stats_;
  RateLimit overrun_limit_{std::chrono::seconds(60)};
  RateLimit bad_event_limit_{std::chrono::seconds(10)};
  std::unordered_set<Tuple, TupleHash> masters_;
  std::unordered_multimap<Tuple, Waiting, TupleHash> waiting_;  // for their master; by expected tuple
  FlowRecord scratch_;
};

}  // namespace ctsync::node
