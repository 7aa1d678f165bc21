// SPDX-License-Identifier: GPL-2.0-or-later
#include "role_switch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mirror.h"

namespace ctsync::node {

namespace {

void say(const Client& client, int status, const std::string& text) { client.write(outcome_text(status, text)); }

}  // namespace

void answer(const Client& client, int status, const std::string& text) {
  say(client, status, text);
  client.finish();
}

RoleSwitch::~RoleSwitch() {
  if (committing_) c_.log.warning("the commit did not begin: the daemon stops");  // it waits for a flush
  for (const auto& h : hand_overs_) answer(h.client, 1, "the daemon stops");
}

void RoleSwitch::commit(const Command& command, const Client& client) {
  c_.log.notice("committing {}", command.what == What::all     ? "all external caches"
                                 : command.what == What::flows ? "conntrack cache"
                                                               : "expectation cache");
  const Scope scope{.flows = command.flows(), .expectations = command.expectations() && c_.options.expectations};
  const auto answer = std::make_shared<Answer>(client);
  const auto tell = [answer, wanted = command.outcome](int status, const std::string& text) {
    if (wanted) answer->last_words = outcome_text(status, text);
  };
  tell(1, "the commit is cut short: the daemon stops");
  const auto done = [this, tell, began = c_.clock.now()](const CommitJob::Outcome& o) {
    if (!o.whole) return;
    const auto took = std::chrono::duration<double>(c_.clock.now() - began).count();
    tell(o.failed == 0 ? 0 : 1,
         fmt::format("committed {} connections and {} expectations, {} entries failed, in {:.3f} seconds", o.flows,
                     o.expectations, o.failed, took));
  };
  if (!start_commit(scope, First::peers, done)) tell(1, "a commit is under way already");
}

void RoleSwitch::count(const CommitJob::Outcome& outcome, Duration taken) {
  if (!outcome.whole) return;
  commits_.durations.add(taken);
  commits_.committed += outcome.flows + outcome.expectations;
  commits_.failed += outcome.failed;
}

bool RoleSwitch::start_commit(Scope scope, First first, OnDone on_done) {
  role_ = text::Role::primary;
  if (c_.kernel_side.stop_purge()) {  // it would delete what is about to be committed
    c_.log.notice("the scheduled flush of the kernel conntrack table is stopped");
  }
  if (c_.peer_side.cache() == nullptr || (!scope.flows && !scope.expectations)) {
    on_done({.whole = true});
    return true;
  }
  if (committing_) {
    c_.log.notice("commit already in progress, skipping");
    return false;
  }
  committing_ = true;
  c_.kernel_side.when_flushed([this, scope, first, began = c_.clock.now(), on_done = std::move(on_done)] {
    c_.kernel_side.commit_begins();
    auto context = commit_context();
    std::size_t flows = context.external.flows().live();
    if (const Mirror* mirror = context.external.mirror()) {
      context.only = &mirror->unwritten();
      context.already = flows - std::min(flows, mirror->unwritten().size());
      flows = mirror->unwritten().size();
    }
    const bool unheard = first == First::users || !c_.peer_side.hears_anybody(kPeersSilent);
    if (unheard && flows >= c_.options.large_commit) {
      context.many = c_.options.large_commit / 10 + 1;
      context.on_many = [this] { c_.kernel_side.commit_is_large(); };
    }
    const auto done = [this, scope, began, on_done](const CommitJob::Outcome& outcome) {
      committing_ = false;
      c_.kernel_side.commit_ended();
      count(outcome, c_.clock.now() - began);
      if (outcome.whole && scope.flows) adopt(scope);
      on_done(outcome);
      if (outcome.whole) run_waiters();
    };
    c_.jobs.add(std::make_unique<CommitJob>(context, scope, done));
  });
  return true;
}

CommitJob::Context RoleSwitch::commit_context() {
  return {.internal = c_.internal,
          .external = *c_.peer_side.cache(),
          .writer = c_.kernel.writer(kernel::Origin::commit),
          .clock = c_.clock,
          .log = c_.log,
          .internal_is_whole = c_.kernel_side.is_whole(),
          .configured_timeout = c_.options.commit_timeout,
          .flow_written = c_.kernel_side.written(kernel::Origin::commit),
          .expectation_written = c_.kernel_side.expectation_written(kernel::Origin::commit),
          .met_young = [this](table::FlowId id) { c_.peer_side.met_young(id); }};
}

// The kernel has them: users wait for nothing. But they would run out as copies do, and the internal cache has yet to know
// them.
void RoleSwitch::adopt(Scope scope) {
  auto context = commit_context();
  const Mirror* mirror = context.external.mirror();
  if (mirror == nullptr || mirror->mirrored().empty()) return;
  if (adopting_) {
    adopt_again_ = true;
    return;
  }
  context.only = &mirror->mirrored();
  context.adopts = true;
  context.read_events = [this] { return !c_.kernel_side.read_events().more; };
  scope.expectations = false;
  adopting_ = true;
  c_.jobs.add(std::make_unique<CommitJob>(context, scope, [this, scope](const CommitJob::Outcome& outcome) {
    adopting_ = false;
    if (!outcome.whole) return;
    if (outcome.failed != 0) {
      c_.log.warning("{} connections of the peers could not be made this node's", outcome.failed);
    }
    if (std::exchange(adopt_again_, false)) adopt(scope);
    run_waiters();
  }));
}

bool RoleSwitch::takes_over() const {
  const auto* cache = c_.peer_side.cache();
  return cache != nullptr && cache->mirror() != nullptr && (committing_ || adopting_);
}

void RoleSwitch::when_adopted(std::function<void()> then) {
  takes_over() ? after_adoption_.push_back(std::move(then)) : then();
}

void RoleSwitch::run_waiters() {
  if (takes_over()) return;
  for (const auto& then : std::exchange(after_adoption_, {})) then();
}

void RoleSwitch::take_over(const Client& client) {
  c_.log.notice("taking over");
  const TimePoint began = c_.clock.now();
  const auto finish = std::make_shared<Answer>(client);
  const auto done = [this, finish, began](const CommitJob::Outcome& o) {
    const auto took = std::chrono::duration<double>(c_.clock.now() - began).count();
    auto text = fmt::format("took over: {} connections and {} expectations are committed, in {:.3f} seconds", o.flows,
                            o.expectations, took);
    if (o.failed != 0) text += fmt::format("; {} entries can't be committed (see the log)", o.failed);
    if (!o.whole) return say(finish->client, 1, "the take-over is cut short: the daemon stops");
    say(finish->client, 0, text);
    finish->finish();
    when_adopted([this] { after_take_over(); });
  };
  if (!start_commit({.flows = true, .expectations = c_.options.expectations}, First::users, done)) {
    say(client, 0, "a commit is under way already");
  }
}

// The peers learn that the connections live here now; what they told before is old. The internal cache is right but for
// what no event has told.
void RoleSwitch::after_take_over() {
  c_.peer_side.flush_store({.flows = true, .expectations = c_.options.expectations}, [] {});
  c_.peer_side.bulk_send();
  c_.kernel_side.read_again();
}

void RoleSwitch::stand_by(const Client& client) {
  c_.log.notice("standing by");
  schedule_purge();
  c_.peer_side.request_resync();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(c_.options.purge_timeout).count();
  answer(
      client, 0,
      fmt::format("standing by: the kernel's connections are deleted in {} seconds, unless this node takes over again",
                  seconds));
}

void RoleSwitch::schedule_purge() {
  role_ = text::Role::backup;
  c_.peer_side.tell_all_now();
  c_.kernel_side.schedule_purge();
}

void RoleSwitch::ended_at_peer(const Tuple& orig) {
  if (!c_.kernel_side.purge_is_scheduled()) return;
  const auto id = c_.internal.find(orig);
  if (id == table::kNoFlow || !is_live(c_.internal.slot(id).state)) return;
  c_.internal.copy_to(id, left_behind_);
  auto& writer = c_.kernel.writer(kernel::Origin::flush);
  writer.write(kernel::WriteOp::destroy, left_behind_, 0, *this);
  writer.finish(*this);
}

// The peers have it of this node as well, and would commit it when the service moves again.
void RoleSwitch::on_written(const kernel::WriteResult& result, const FlowRecord&) {
  if (result.error == 0) c_.kernel_side.ended(left_behind_);
}

// --- Before the service moves by plan ---

void RoleSwitch::hand_over(const Client& client) {
  c_.log.notice("handing over");
  if (!c_.peer_side.hears_anybody(replication::FtFw::kPeerGone))
    return answer(client, 1, "nobody is there to hand over to");
  c_.peer_side.tell_all_now();
  hand_overs_.push_back({.client = client, .until = c_.clock.now() + kHandOverTime, .told = {}});
}

bool RoleSwitch::is_handed_over(HandOver& h) const {
  const auto& engine = c_.peer_side.engine();
  if (!h.told && engine.transmit_length() == 0 && engine.kept_back() == 0 && !engine.bulk_waits()) {
    h.told = engine.next_sequence();
  }
  if (!h.told) return false;
  const auto* ftfw = c_.peer_side.ftfw();
  return ftfw == nullptr || ftfw->is_acknowledged_before(*h.told);
}

std::optional<TimePoint> RoleSwitch::next_deadline() const {
  std::optional<TimePoint> first;
  for (const auto& h : hand_overs_) first = earlier(first, h.until);
  return first;
}

void RoleSwitch::end_turn() {
  if (hand_overs_.empty()) return;
  const auto now = c_.clock.now();
  std::erase_if(hand_overs_, [&](HandOver& h) {
    if (is_handed_over(h)) {
      answer(h.client, 0,
             c_.peer_side.ftfw() != nullptr ? "the peers have all that this node has told"
                                            : "all is told; in this mode no peer acknowledges it");
    } else if (h.until <= now) {
      answer(h.client, 1,
             fmt::format("the peers have not acknowledged everything within {} seconds",
                         std::chrono::duration_cast<std::chrono::seconds>(kHandOverTime).count()));
    } else {
      return !h.client.connected();
    }
    return true;
  });
}

}  // namespace ctsync::node
