// SPDX-License-Identifier: GPL-2.0-or-later
#include "commit_job.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "ctsync/flow/progress.h"

namespace ctsync::node {
namespace {

// Failures told one by one; the rest is only counted, so that a table full of bad entries cannot flood the log.
constexpr std::uint64_t kDetailedFailures = 20;
constexpr std::uint32_t kLeastTimeout = 60;  // seconds, for entries whose time has run out
// Rounds for flows whose master was missing. A peer chooses how many wait and in which order, so that each round might
// write one alone. Real chains are two or three deep, and each round is good for one step at the least.
constexpr int kOrphanRounds = 8;

// What a write has done to the kernel's entry; nothing if it failed and left all as it was.
std::optional<kernel::EventType> change_of(const kernel::WriteResult& r) {
  if (r.phase == kernel::WritePhase::kept) return std::nullopt;
  const bool again = r.phase == kernel::WritePhase::create_again;
  if (r.error != 0) return again ? std::optional(kernel::EventType::destroy) : std::nullopt;
  // What was a copy nobody has heard of yet.
  return r.phase == kernel::WritePhase::update && r.op != kernel::WriteOp::adopt ? kernel::EventType::update
                                                                                 : kernel::EventType::new_;
}

}  // namespace

std::uint32_t commit_timeout(std::uint32_t configured, std::uint32_t timeout, std::uint32_t age) {
  if (configured != 0) return configured;
  return timeout > age ? timeout - age : kLeastTimeout;
}

void make_kernel_flow(FlowRecord& out, const FlowRecord& record) {
  const Flow& from = record.flow;
  Flow& f = out.flow;
  f = from;
  const Tuple plain = inverse(from.orig);
  f.reply_src = from.knows(has::kDnat) ? from.reply_src : plain.src;
  f.reply_dst = from.knows(has::kSnat) ? from.reply_dst : plain.dst;
  const bool ports = !is_icmp(from.orig.l4);
  f.reply_src_port = ports && from.knows(has::kDnatPort) ? from.reply_src_port : plain.src_port;
  f.reply_dst_port = ports && from.knows(has::kSnatPort) ? from.reply_dst_port : plain.dst_port;
  f.present = (from.present & ~has::kNat) | has::kReply | has::kStatus;
  f.status = status::of_new_entry(from.status);
  copy_extra(out.extra, record.extra, from.present);
}

CommitJob::CommitJob(const Context& context, Scope scope, OnDone on_done)
    : c_(context), scope_(scope), on_done_(std::move(on_done)), started_(c_.clock.now()) {
  if (!scope_.flows) phase_ = Phase::expectations;
}

CommitJob::~CommitJob() {
  if (phase_ != Phase::done && !c_.adopts)
    c_.log.warning("the commit is cut short after {} entries: the daemon stops", committed_);
  outcome_.whole = phase_ == Phase::done;
  on_done_(outcome_);
}

Job::State CommitJob::step(TimePoint budget_end) {
  if (c_.adopts && !c_.read_events()) return State::more;
  const bool finished = phase_ == Phase::expectations ? step_expectations(budget_end)
                        : phase_ == Phase::orphans    ? step_orphans(budget_end)
                                                      : step_flows(budget_end);
  if (c_.only != nullptr) c_.writer.finish(*this);  // before a packet, or a peer, can make it out of date
  if (finished) next_phase();
  return phase_ == Phase::done ? State::done : State::more;
}

bool CommitJob::step_flows(TimePoint budget_end) {
  const bool related = phase_ == Phase::related_flows;
  const auto& flows = c_.external.flows();
  std::uint32_t looked_at = 0;
  for (next_ = wanted_from(next_); next_ < flows.end_id(); next_ = wanted_from(next_)) {
    const auto& slot = flows.slot(next_);
    if (c_.external.shows(slot) && has_complete_master(slot.flow) == related) write_flow(next_);
    ++next_;
    if (++looked_at % 32 == 0 && c_.clock.now() >= budget_end) return false;
  }
  c_.writer.finish(*this);
  return true;
}

table::FlowId CommitJob::wanted_from(table::FlowId id) const {
  return c_.only == nullptr ? id : c_.only->next(id, table::kNoFlow);
}

// In rounds: as long as some find their master, those that do not may find it in the next round.
bool CommitJob::step_orphans(TimePoint budget_end) {
  while (next_ < retried_.size()) {
    const auto id = retried_[next_];
    if (c_.external.shows(c_.external.flows().slot(id))) write_flow(id);
    if (++next_ % 32 == 0 && c_.clock.now() >= budget_end) return false;
  }
  c_.writer.finish(*this);
  next_ = 0;
  last_round_ = last_round_ || orphans_.size() == retried_.size() || ++rounds_ == kOrphanRounds - 1;
  retried_ = std::exchange(orphans_, {});
  return retried_.empty();
}

void CommitJob::write_flow(table::FlowId id) {
  const auto& flows = c_.external.flows();
  const auto& peers = flows.slot(id);
  // Whether the kernel has the flow, not further on, as far as the internal cache knows. It costs the kernel less then.
  bool replaces = false;
  if (const auto own_id = c_.internal.find(peers.flow.orig); own_id != table::kNoFlow) {
    const auto& own = c_.internal.slot(own_id);
    if (own.queue == table::Queue::young) c_.met_young(own_id);
    if (is_live(own.state) && is_as_committed(own, peers)) {
      ++committed_;
      return;
    }
    replaces = is_live(own.state) && same_nat(own.flow, peers.flow) && !further_on(own.flow, peers.flow);
  }
  flows.copy_to(id, record_);
  Flow& f = record_.flow;
  if (f.knows(has::kTimeout) || c_.configured_timeout != 0) {
    f.timeout = commit_timeout(c_.configured_timeout, f.timeout, age(peers.updated));
    f.present |= has::kTimeout;
  }
  if (++written_flows_ == c_.many) c_.on_many();
  const bool copy = c_.external.is_copy(id);
  if (c_.external.set_committed(id, true)) c_.writer.write(kernel::WriteOp::destroy, record_, id, *this);
  const auto op = copy ? kernel::WriteOp::adopt : replaces ? kernel::WriteOp::replace : kernel::WriteOp::create;
  c_.writer.write(op, record_, id, *this);
}

// The kernel has the flow as it was committed or further on, for as long as it would get now. (A packet that has passed
// since has made its time longer. And what passed at a peer meanwhile the peer has told.)
bool CommitJob::is_as_committed(const table::FlowSlot& own, const table::FlowSlot& peers) const {
  return peers.committed && c_.internal_is_whole && c_.configured_timeout == 0 && same_nat(own.flow, peers.flow) &&
         (progress_of(peers.flow) & ~progress_of(own.flow)) == 0 && !closed_before(own.flow, peers.flow);
}

void CommitJob::on_written(const kernel::WriteResult& result, const FlowRecord& record) {
  if (result.op == kernel::WriteOp::destroy) return;
  if (const auto type = change_of(result); type && c_.flow_written) {
    make_kernel_flow(written_, record);
    c_.flow_written(*type, written_);
  }
  if (result.error == 0) {
    ++committed_;
    return;
  }
  if (const auto id = static_cast<table::FlowId>(result.cookie); c_.external.shows(c_.external.flows().slot(id))) {
    c_.external.set_committed(id, false);
  }
  if (result.error == ENOENT && record.flow.knows(has::kMaster) && !last_round_) {
    orphans_.push_back(static_cast<table::FlowId>(result.cookie));
    return;
  }
  if (++failed_ > kDetailedFailures) return;
  std::string entry;
  flow_text_.append(entry, record, {.show_timeout = true});
  log_failure(result, entry);
}

void CommitJob::log_failure(const kernel::WriteResult& result, const std::string& entry) {
  const char* what = result.phase == kernel::WritePhase::destroy ? "commit-destroy" : "commit-create";
  c_.log.error("{}: {}", what, std::strerror(result.error));
  c_.log.write_entry(Level::error, entry);
  if (failed_ == kDetailedFailures) c_.log.warning("further entries that can't be committed are only counted");
}

bool CommitJob::step_expectations(TimePoint budget_end) {
  const auto* expectations = c_.external.expectations();
  if (expectations == nullptr) return true;
  while (next_ < expectations->end_id()) {
    if (c_.external.shows(expectations->slot(next_))) write_expectation(next_);
    if (++next_ % 16 == 0 && c_.clock.now() >= budget_end) break;
  }
  return next_ >= expectations->end_id();
}

void CommitJob::write_expectation(std::uint32_t id) {
  const auto& slot = c_.external.expectations()->slot(id);
  Expectation e = slot.expect;
  e.timeout = e.knows(expect_has::kTimeout) ? commit_timeout(c_.configured_timeout, e.timeout, age(slot.updated))
                                            : commit_timeout(c_.configured_timeout, 0, 0);
  e.present |= expect_has::kTimeout;
  const auto result = c_.writer.write_expectation(kernel::WriteOp::create, e);
  if (const auto type = change_of(result); type && c_.expectation_written) c_.expectation_written(*type, e);
  if (result.error == 0) {
    ++committed_;
    return;
  }
  if (++failed_ > kDetailedFailures) return;
  std::string entry;
  expectation_text_.append(entry, e, {.show_timeout = true});
  log_failure(result, entry);
}

void CommitJob::next_phase() {
  next_ = 0;
  switch (phase_) {
    case Phase::plain_flows:
      phase_ = Phase::related_flows;
      return;
    case Phase::related_flows:
      phase_ = Phase::orphans;
      retried_ = std::exchange(orphans_, {});
      return;
    case Phase::orphans:
      report("entries", outcome_.flows);
      phase_ = scope_.expectations ? Phase::expectations : Phase::done;
      return;
    case Phase::expectations:
      report("expectations", outcome_.expectations);
      phase_ = Phase::done;
      return;
    case Phase::done:
      return;
  }
}

void CommitJob::report(const char* things, std::uint64_t& total) {
  if (phase_ == Phase::orphans) committed_ += c_.already;
  total = committed_;
  outcome_.failed += failed_;
  if (c_.adopts) return;
  c_.log.notice("Committed {} new {}", committed_, things);
  if (failed_ != 0) c_.log.notice("{} {} can't be committed", failed_, things);
  const auto taken = std::chrono::duration_cast<std::chrono::microseconds>(c_.clock.now() - started_).count();
  c_.log.notice("commit has taken {}.{:06} seconds", taken / 1'000'000, taken % 1'000'000);
  committed_ = failed_ = 0;
  started_ = c_.clock.now();
}

std::uint32_t CommitJob::age(std::uint32_t updated) const { return seconds_of(c_.clock.now()) - updated; }

}  // namespace ctsync::node
