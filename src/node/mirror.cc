// SPDX-License-Identifier: GPL-2.0-or-later
#include "mirror.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "ctsync/flow/progress.h"
#include "injected_copies.h"

namespace ctsync::node {

using table::FlowId;
using table::kNoFlow;

namespace {

// While the kernel's table is full.
constexpr Duration kLongPause = std::chrono::seconds(5);
constexpr Duration kRefreshTick = std::chrono::milliseconds(500);
// Each copy is refreshed so many times before it would run out.
constexpr int kRefreshes = 3;
constexpr std::uint32_t kBetweenLooks = 16;  // at the clock: flows

}  // namespace

class Mirror::WriteJob final : public Job {
 public:
  explicit WriteJob(Mirror& mirror) : mirror_(mirror) { mirror_.writing_ = true; }
  ~WriteJob() override { mirror_.writing_ = false; }
  WriteJob(const WriteJob&) = delete;
  WriteJob& operator=(const WriteJob&) = delete;
  State step(TimePoint budget_end) override { return mirror_.work(budget_end) ? State::done : State::more; }

 private:
  Mirror& mirror_;
};

Mirror::Mirror(Context context)
    : c_(std::move(context)), writer_(c_.kernel.writer(kernel::Origin::inject)), removing_(c_.external.hash()) {}

// --- What the external cache tells ---

void Mirror::changed(FlowId id) {
  unwritten_.insert(id);
  later_.erase(id);
  due_.insert(id);
  write_soon();
}

void Mirror::leaving(FlowId id) {
  unwritten_.erase(id);
  later_.erase(id);
  due_.erase(id);
  if (!mirrored_.erase(id)) return;
  const Tuple& orig = c_.external.slot(id).flow.orig;
  ended_.push_back(orig);
  removing_[orig] = 1;
  write_soon();
}

bool Mirror::committed(FlowId id, bool well) {
  mirrored_.erase(id);
  due_.erase(id);
  const Tuple& orig = c_.external.slot(id).flow.orig;
  const bool in_the_way = removing_.find(orig) != nullptr;
  removing_.erase(orig);
  well ? unwritten_.erase(id) : unwritten_.insert(id);
  return in_the_way;
}

// --- What becomes of the kernel's entries ---

bool Mirror::contains(const Tuple& orig) {
  const auto id = c_.external.find(orig);
  return (id != kNoFlow && mirrored_.contains(id)) || removing_.find(orig) != nullptr;
}

void Mirror::touched(const Tuple& orig) {
  removing_.erase(orig);
  if (const auto id = c_.external.find(orig); id != kNoFlow && mirrored_.erase(id)) unwritten_.insert(id);
  if (!some_untouched_) return;
  if (const auto id = c_.internal.find(orig); id != kNoFlow) c_.internal.slot(id).untouched = false;
}

// A copy that ran out, or was deleted, is written again with the next round: at once, what deletes it might do so without
// end. What was there at the start, or came by a commit, may be a copy still if a peer says that it has the flow. Its end here
// is told nevertheless: two nodes would keep each other's copies for ever.
bool Mirror::ended(const Tuple& orig) {
  const auto id = c_.external.find(orig);
  if (id == kNoFlow) return false;
  if (mirrored_.contains(id)) {
    if (c_.kernel.get(orig, scratch_).value_or(false)) return true;  // it was written again since
    mirrored_.erase(id);
    unwritten_.insert(id);
    later_.insert(id);
    return true;
  }
  if (!c_.shows(c_.external.slot(id))) return false;
  unwritten_.insert(id);
  const auto own = some_untouched_ ? c_.internal.find(orig) : kNoFlow;
  if (own == kNoFlow || !c_.internal.slot(own).untouched) return false;
  changed(id);
  return false;
}

void Mirror::flushed(const Tuple& orig) {
  const auto id = c_.external.find(orig);
  if (id != kNoFlow && !mirrored_.contains(id) && c_.shows(c_.external.slot(id))) changed(id);
}

void Mirror::taken_over(const Tuple& orig) {
  const auto id = c_.internal.find(orig);
  if (id == kNoFlow) return;
  c_.internal.slot(id).untouched = true;
  some_untouched_ = true;
}

bool Mirror::has_changed(const Flow& f) {
  const auto id = c_.external.find(f.orig);
  if (id == kNoFlow || !mirrored_.contains(id) || unwritten_.contains(id)) return false;
  const Flow& as_written = c_.external.slot(id).flow;
  if (as_written.knows(has::kMark)) return !InjectedCopies::same(as_written, f);
  Flow unmarked = f;
  unmarked.present &= ~has::kMark;
  return !InjectedCopies::same(as_written, unmarked);
}

bool Mirror::lives_here(const Tuple& orig) const {
  const auto id = c_.internal.find(orig);
  return id != kNoFlow && is_live(c_.internal.slot(id).state);
}

// --- Time ---

void Mirror::write_soon() {
  if (!write_at_ && !writing_) write_at_ = c_.clock.now() + kPause;
}

std::optional<TimePoint> Mirror::next_deadline() const { return earlier(write_at_, refresh_at_); }

void Mirror::on_timer() {
  const auto now = c_.clock.now();
  if (refresh_at_ && *refresh_at_ <= now) refresh_some();
  if (!refresh_at_ && (!mirrored_.empty() || !later_.empty())) refresh_at_ = now + kRefreshTick;
  if (!write_at_ || *write_at_ > now) return;
  write_at_.reset();
  phase_ = Phase::ends;
  next_ = 0;
  c_.jobs.add(std::make_unique<WriteJob>(*this));
}

// A part of the table at a time, so that a round lasts as long as it should.
void Mirror::refresh_some() {
  refresh_at_.reset();
  const auto end = c_.external.end_id();
  const auto round = std::chrono::duration_cast<Duration>(std::chrono::seconds(c_.timeout)) / kRefreshes;
  const auto part = static_cast<std::uint32_t>(end * kRefreshTick / std::max(round, kRefreshTick)) + 1;
  const auto to = std::min(end, refreshed_ + part);
  for (; refreshed_ < to; ++refreshed_) {
    if (later_.erase(refreshed_) || mirrored_.contains(refreshed_)) due_.insert(refreshed_);
  }
  if (refreshed_ >= end) refreshed_ = 0;
  if (!due_.empty()) write_soon();
}

// --- Writing ---

bool Mirror::work(TimePoint budget_end) {
  if (!read_events()) return false;
  if (!knows_what_lives_here()) {
    write_at_ = c_.clock.now() + kPause;
    return true;
  }
  const bool through = step(budget_end);
  writer_.finish(*this);
  if (!through) return false;
  next_ = 0;
  if (phase_ != Phase::orphans) {
    phase_ = static_cast<Phase>(static_cast<int>(phase_) + 1);
    return false;
  }
  orphans_.clear();
  const bool full = std::exchange(full_, false);
  if (!due_.empty() || !ended_.empty()) write_at_ = c_.clock.now() + (full ? kLongPause : kPause);
  return true;
}

bool Mirror::step(TimePoint budget_end) {
  if (phase_ == Phase::ends) return step_ends(budget_end);
  return phase_ == Phase::orphans ? step_orphans(budget_end) : step_flows(budget_end);
}

bool Mirror::step_ends(TimePoint budget_end) {
  std::uint32_t n = 0;
  for (auto left = ended_.size(); left > 0 && !ended_.empty(); --left) {
    record_.flow = {};
    record_.flow.orig = ended_.front();
    ended_.pop_front();
    if (removing_.find(record_.flow.orig) == nullptr) continue;  // a packet has passed
    if (lives_here(record_.flow.orig)) {
      removing_.erase(record_.flow.orig);
    } else {
      writer_.write(kernel::WriteOp::destroy, record_, 0, *this);
    }
    if (++n % kBetweenLooks == 0 && c_.clock.now() >= budget_end) return ended_.empty();
  }
  return true;
}

bool Mirror::step_flows(TimePoint budget_end) {
  const bool related = phase_ == Phase::related_flows;
  std::uint32_t n = 0;
  for (next_ = due_.next(next_, kNoFlow); next_ != kNoFlow; next_ = due_.next(next_, kNoFlow)) {
    if (full_) return true;
    const auto id = next_++;
    const Flow& f = c_.external.slot(id).flow;
    // (What is in the way of it is removed first, the next time.)
    if (has_complete_master(f) == related && removing_.find(f.orig) == nullptr) {
      due_.erase(id);
      write(id);
    }
    if (++n % kBetweenLooks == 0 && c_.clock.now() >= budget_end) return false;
  }
  return true;
}

// Once more: the master may have come after them in the table. (next_ counts those that were taken up.)
bool Mirror::step_orphans(TimePoint budget_end) {
  while (next_ < orphans_.size()) {
    write(orphans_[next_]);
    if (++next_ % kBetweenLooks == 0 && c_.clock.now() >= budget_end) return false;
  }
  return true;
}

void Mirror::write(FlowId id) {
  const auto& slot = c_.external.slot(id);
  if (!c_.shows(slot) || lives_here(slot.flow.orig)) return;
  c_.external.copy_to(id, record_);
  record_.flow.timeout = c_.timeout;
  record_.flow.present |= has::kTimeout;
  const auto op = mirrored_.contains(id) ? kernel::WriteOp::replace : kernel::WriteOp::create_only;
  writer_.write(op, record_, id, *this);
}

void Mirror::on_written(const kernel::WriteResult& r, const FlowRecord& record) {
  if (r.op == kernel::WriteOp::destroy) {
    if (r.error != 0 && r.error != ENOENT) return ended_.push_back(record.flow.orig);  // it is there still
    removing_.erase(record.flow.orig);
    return wrote(record.flow.orig);
  }
  const auto id = static_cast<FlowId>(r.cookie);
  wrote(record.flow.orig);
  if (r.error != 0) return failed(id, r, record);
  mirrored_.insert(id);
  if (r.phase != kernel::WritePhase::kept) unwritten_.erase(id);
}

// A copy may be there still: it is updated, or made anew, the next time.
void Mirror::failed(FlowId id, const kernel::WriteResult& r, const FlowRecord& record) {
  unwritten_.insert(id);
  if (r.error == ENOENT && record.flow.knows(has::kMaster) && phase_ == Phase::related_flows) {
    orphans_.push_back(id);
    return;
  }
  if (r.error == ENOMEM) full_ = true;
  later_.insert(id);
  if (r.op == kernel::WriteOp::create_only && r.error == EEXIST) return;  // it lives here, though nobody has told yet
  ++failures_;
  if (!limit_.allow(c_.clock.now())) return;
  std::string entry;
  flow_text_.append(entry, record, {.show_timeout = true});
  c_.log.warning("WarmStandby: can't write a connection of a peer into the kernel: {}", std::strerror(r.error));
  c_.log.write_entry(Level::warning, entry);
  if (const auto n = limit_.held_back(); n != 0) c_.log.warning("{} more connections could not be written", n);
}

text::MirrorNumbers Mirror::numbers() const {
  return {.mirrored = mirrored_.size(), .waiting = due_.size() + ended_.size(), .failed = failures_};
}

}  // namespace ctsync::node
