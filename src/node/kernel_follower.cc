// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_follower.h"

#include <strings.h>

#include <algorithm>

namespace ctsync::node {

using kernel::EventType;
using kernel::Origin;

bool HelperFilter::accepts(const Expectation& e) const {
  if (names_.empty()) return true;
  if (!e.knows(expect_has::kHelper)) return false;
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
    return ::strncasecmp(name.c_str(), e.helper.data(), name.size()) == 0;
  });
}

KernelFollower::KernelFollower(const Context& context)
    : c_(context), masters_(0, TupleHash(context.seed)), waiting_(0, TupleHash(context.seed)) {
  c_.store.is_in_kernel = [this](const Flow& f) { return is_in_kernel(f); };
  c_.store.read_again = [this](const Tuple& t, FlowRecord& r) { return c_.kernel.get(t, r); };
}

// What the kernel does not answer is not gone; a flow that the filter refuses is,
// but not for its state, which passes.
bool KernelFollower::is_in_kernel(const Flow& f) {
  const auto found = c_.kernel.get(f.orig, scratch_);
  if (!found) return true;
  if (*found && !c_.filter.accepts(scratch_.flow, true)) return false;
  return *found && (!f.knows(has::kId) || !scratch_.flow.knows(has::kId) || f.id == scratch_.flow.id);
}

void KernelFollower::on_flow(EventType type, FlowRecord& record, Origin origin) {
  if (origin == Origin::inject) return;
  const bool destroyed = type == EventType::destroy;
  if (!c_.filter.accepts(record.flow, destroyed)) {
    ++stats_.filtered;
    return;
  }
  if (type == EventType::new_ && origin == Origin::foreign && record.flow.knows(has::kMaster)) {
    look_again_at(record.extra.master);
  }
  if (began && type == EventType::new_ && origin == Origin::foreign) began(record.flow);
  if (!destroyed) complete(record);
  c_.store.on_flow(type, record, origin);
}

// Sequence adjustments are in no event, only in dumps and single look-ups: without them a translated control connection
// stalls after a take-over (spec replication.md 9, item 8).
void KernelFollower::complete(FlowRecord& record) {
  Flow& f = record.flow;
  constexpr std::uint32_t kBoth = has::kSeqAdjOrig | has::kSeqAdjReply;
  if (!f.knows(has::kStatus) || (f.status & status::kSeqAdjust) == 0 || f.knows(kBoth)) return;
  const auto found = c_.kernel.get(f.orig, scratch_);
  if (!found || !*found) return;
  copy_extra(record.extra, scratch_.extra, scratch_.flow.present & kBoth);
  f.present |= scratch_.flow.present & kBoth;
}

// Nor is there an event when they change. But they change when a helper writes another address into a packet, and then
// it also makes an expectation. That event comes before the packet is changed, so the entry is read a moment later.
// Without events of expectations the first packet of the expected flow gives the occasion.
void KernelFollower::look_again_at(const Tuple& master) {
  if (!later || master.l4 != kTcp || masters_.size() >= kMostLate || !c_.store.may_be_adjusted(master)) return;
  masters_.insert(master);
  later();
}

bool KernelFollower::catch_up(TimePoint budget_end) {
  while (!masters_.empty()) {
    refresh(masters_.extract(masters_.begin()).value());
    if (c_.clock.now() >= budget_end) return masters_.empty() && waiting_.empty();
  }
  while (!waiting_.empty()) {
    const auto [e, origin] = waiting_.extract(waiting_.begin()).mapped();
    if (c_.store.has_flow(e.master)) c_.store.on_expectation(EventType::new_, e, origin);
    if (c_.clock.now() >= budget_end) return waiting_.empty();
  }
  return true;
}

void KernelFollower::refresh(const Tuple& master) {
  const auto found = c_.kernel.get(master, scratch_);
  if (!found || !*found || !c_.filter.accepts(scratch_.flow)) return;
  if ((scratch_.flow.present & (has::kSeqAdjOrig | has::kSeqAdjReply)) != 0) c_.store.refresh(scratch_);
}

void KernelFollower::on_expectation(EventType type, Expectation& e, Origin origin) {
  if (origin == Origin::inject) return;
  if (type == EventType::new_ && origin == Origin::foreign) look_again_at(e.master);
  if (!c_.helpers.accepts(e)) {
    ++stats_.filtered;
    return;
  }
  if (type == EventType::destroy) {
    forget_waiting(e);
  } else if (!c_.store.has_flow(e.master)) {
    // The first packet of a flow may make an expectation (TFTP, SIP); its event comes before that of the flow.
    if (!later || waiting_.size() >= kMostLate) return;
    waiting_.emplace(e.expected, Waiting{e, origin});
    return later();
  }
  c_.store.on_expectation(type, e, origin);
}

void KernelFollower::forget_waiting(const Expectation& e) {
  for (auto [it, end] = waiting_.equal_range(e.expected); it != end;) {
    it = same_key(it->second.expectation, e) ? waiting_.erase(it) : std::next(it);
  }
}

void KernelFollower::on_bad_event(kernel::DecodeStatus why) {
  ++stats_.filtered;
  if (!bad_event_limit_.allow(c_.clock.now())) return;
  switch (why) {
    case kernel::DecodeStatus::no_family:
      c_.log.error("kernel event without layer 3 protocol");
      break;
    case kernel::DecodeStatus::no_addresses:
      c_.log.error("kernel event without addresses");
      break;
    default:
      c_.log.error("malformed kernel event");
      break;
  }
  if (bad_event_limit_.held_back() != 0) c_.log.error("{} more such events", bad_event_limit_.held_back());
}

void KernelFollower::on_overrun(kernel::BufferGrowth growth, std::uint32_t buffer_size) {
  if (growth == kernel::BufferGrowth::doubled) {
    c_.log.notice("netlink event socket buffer size has been doubled to {} bytes", buffer_size);
  } else if (overrun_limit_.allow(c_.clock.now())) {
    c_.log.warning(
        "netlink event socket buffer size cannot be doubled further since it will exceed NetlinkBufferSizeMaxGrowth. "
        "We "
        "are likely to be losing events, this may lead to unsynchronized replicas. Please, consider increasing netlink "
        "socket buffer size via NetlinkBufferSize and NetlinkBufferSizeMaxGrowth clauses in conntrackd.conf");
    if (overrun_limit_.held_back() != 0) {
      c_.log.warning("kernel events were lost {} more times since the last warning", overrun_limit_.held_back());
    }
  }
  if (overrun) overrun();
}

void KernelFollower::load_flow(FlowRecord& record, Load load) {
  if (c_.filter.accepts(record.flow)) c_.store.load_flow(record, load);
}

void KernelFollower::load_expectation(Expectation& e, Load load) {
  if (wanted(e)) c_.store.load_expectation(e, load);
}

}  // namespace ctsync::node
