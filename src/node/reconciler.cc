// SPDX-License-Identifier: GPL-2.0-or-later
#include "reconciler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

#include "ctsync/text/render_flow.h"

namespace ctsync::node {
namespace {

std::string difference(const FlowRecord& before, const FlowRecord& after) {
  const Flow& a = before.flow;
  const Flow& b = after.flow;
  std::string s;
  const auto add = [&s](bool differs, std::string_view what) {
    if (!differs) return;
    if (!s.empty()) s += ", ";
    s += what;
  };
  add(a.knows(has::kProtoState) != b.knows(has::kProtoState) || a.proto_state != b.proto_state, "state");
  add(a.status != b.status, "status");
  add(a.knows(has::kMark) != b.knows(has::kMark) || a.mark != b.mark, "mark");
  add(!same_nat(a, b), "NAT");
  return s.empty() ? "other attributes" : s;
}

std::uint64_t number_of(const FlowRecord* r) { return r == nullptr ? 0 : print_of(r->flow, &r->extra, true).number; }

}  // namespace

Reconciler::Side& Reconciler::side(replication::PeerId peer) {
  const auto& p = c_.engine.peers()[peer];
  auto& s = sides_[peer];
  if (s && s->owner == p.owner && s->session == p.session) return *s;
  if (s) end_repair(*s);
  const Numbers numbers = this->numbers(peer);
  s = std::make_unique<Side>();
  s->owner = p.owner;
  s->session = p.session;
  s->numbers = numbers;
  return *s;
}

bool Reconciler::may_compare(const Side& s) const {
  const auto now = c_.clock.now();
  if (s.sweeping_until && now < *s.sweeping_until) return false;
  if (!flushed_at_ || (s.told_at && *s.told_at > *flushed_at_)) return true;
  return now - *flushed_at_ >= kAfterFlush;
}

void Reconciler::sums_heard(replication::PeerId peer, const wire::Sums& sums) {
  Side& s = side(peer);
  if (!may_compare(s)) return;
  if (sums.of_buckets) {
    if (sums.first + sums.count <= static_cast<int>(table::FlowSums::kBuckets)) buckets_heard(s, sums);
  } else if (sums.first + sums.count <= static_cast<int>(kGroups)) {
    groups_heard(peer, s, sums);
  }
}

void Reconciler::groups_heard(replication::PeerId peer, Side& s, const wire::Sums& sums) {
  const auto now = c_.clock.now();
  const auto* held = c_.cache.sums_of(s.owner);
  std::uint64_t differ = 0;
  std::uint64_t compared = 0;
  std::uint64_t quiet = 0;
  for (std::uint32_t i = 0; i < sums.count; ++i) {
    const std::uint32_t group = sums.first + i;
    const auto bit = std::uint64_t{1} << group;
    compared |= bit;
    const auto by = sums.sums[i] - (held == nullptr ? 0 : held->group(group));
    if (by != 0) {
      differ |= bit;
      if (by == s.quiet[group].by && now < s.quiet[group].until) quiet |= bit;
    } else {
      forget_tries(s, group);
    }
  }
  s.numbers.compared += sums.count;
  s.numbers.differed += static_cast<std::uint64_t>(std::popcount(differ));
  s.compared |= compared;
  s.compared_at = now;
  s.differ = (s.differ & ~compared) | differ;
  if (s.differ != 0) {
    s.in_step_since.reset();
  } else if (!s.in_step_since && s.compared == ~std::uint64_t{0}) {
    s.in_step_since = now;
    c_.engine.found_in_step(peer);
    if (!is_contested(s.tries_of_all)) s.tries_of_all = {};
  }
  if (s.until) {
    if (now < *s.until) return;
    end_repair(s);
  }
  const std::uint64_t wanted = differ & ~quiet;
  if (wanted == 0) return;
  if (std::popcount(wanted) > kMostGroups) return ask_for_everything(peer, s);
  s.to_ask = wanted;
  s.until = now + kPatience;
  s.request = {};
  for (std::uint32_t part = 0; part < s.parts.size(); ++part) {
    s.parts[part] = (wanted >> (part / kPartsOfGroup) & 1) != 0;
  }
  anything_to_ask_ = true;
}

void Reconciler::buckets_heard(Side& s, const wire::Sums& sums) {
  const std::size_t part = sums.first / wire::Sums::kMost;
  if (!s.until || s.ready || sums.first % wire::Sums::kMost != 0 || !s.parts.test(part)) return;
  s.parts.reset(part);
  const auto now = c_.clock.now();
  const auto* held = c_.cache.sums_of(s.owner);
  const std::uint32_t group = sums.first / table::FlowSums::kBucketsOfGroup;
  auto& quiet = s.quiet[group];
  if (part % kPartsOfGroup == 0) quiet = {.by = 0, .until = TimePoint::max()};
  for (std::uint32_t i = 0; i < sums.count; ++i) {
    const auto bucket = static_cast<std::uint16_t>(sums.first + i);
    const auto by = sums.sums[i] - (held == nullptr ? 0 : held->bucket(bucket));
    const auto t = s.tries.find(bucket);
    if (by == 0) {
      if (t != s.tries.end() && !is_contested(t->second)) s.tries.erase(t);
    } else if (t != s.tries.end() && now < t->second.until) {
      quiet.by += by;
      quiet.until = std::min(quiet.until, t->second.until);
    } else if (s.request.count < wire::RepairRequest::kMost) {
      s.by[s.request.count] = by;
      s.request.buckets[s.request.count++] = bucket;
    }
  }
  if (s.parts.any()) return;
  if (s.request.count == 0) return end_repair(s);  // nothing differs any more
  s.ready = true;
  anything_to_ask_ = true;
}

void Reconciler::ask_for_everything(replication::PeerId peer, Side& s) {
  if (c_.clock.now() < s.tries_of_all.until) return;
  if (!try_again(s.tries_of_all)) return leave_alone(peer, s.tries_of_all.pause);
  s.until = c_.clock.now() + kPatienceForAll;
  s.request = {};
  s.ready = true;
  anything_to_ask_ = true;
}

void Reconciler::forget_tries(Side& s, std::uint32_t group) {
  const auto first = static_cast<std::uint16_t>(group * table::FlowSums::kBucketsOfGroup);
  const auto end = s.tries.lower_bound(first + table::FlowSums::kBucketsOfGroup);
  for (auto it = s.tries.lower_bound(first); it != end;) {
    it = is_contested(it->second) ? std::next(it) : s.tries.erase(it);
  }
}

void Reconciler::moved(std::uint32_t owner, std::uint32_t bucket) {
  for (const auto& s : sides_) {
    if (!s || s->owner != owner) continue;
    s->tries_of_all.contested_at = s->tries[static_cast<std::uint16_t>(bucket)].contested_at = c_.clock.now();
    return;
  }
}

// That it is the same now means little then.
bool Reconciler::is_contested(const Try& t) const {
  return t.contested_at && c_.clock.now() - *t.contested_at < kContested;
}

// Whether one more repair is worth it.
bool Reconciler::try_again(Try& t) const {
  if (t.count++ < kTries) return true;
  t.count = 0;
  t.pause = std::max(kFirstPause, 2 * t.pause);
  t.until = c_.clock.now() + t.pause;
  return false;
}

void Reconciler::leave_alone(replication::PeerId peer, Duration pause) {
  c_.log.warning("flows of peer {} differ from the external cache again and again: left as they are for {} s",
                 c_.name_of(peer), pause / std::chrono::seconds(1));
}

void Reconciler::begin_repair(replication::PeerId peer, Side& s) {
  s.ready = false;
  if (s.request.count != 0) {
    auto buckets = std::make_shared<table::Buckets>();
    wire::RepairRequest request;
    Duration pause{};
    for (std::uint32_t i = 0; i < s.request.count; ++i) {
      const auto b = s.request.buckets[i];
      if (Try& t = s.tries[b]; !try_again(t)) {
        pause = std::max(pause, t.pause);
        continue;
      }
      s.by[request.count] = s.by[i];
      request.buckets[request.count++] = b;
      buckets->set(b);
    }
    if (pause != Duration{}) leave_alone(peer, pause);
    if (request.count == 0) return end_repair(s);
    s.request = request;
    s.repaired = std::move(buckets);
    s.until = c_.clock.now() + kPatience;
    c_.cache.watch(s.owner, s.repaired,
                   [this, peer](const FlowRecord* before, const FlowRecord* after) { changed(peer, before, after); });
  }
  s.request.number = ++requests_;
  ++s.numbers.repairs;
  c_.engine.ask_repair(peer, s.request);
}

// A stranger can cause as many repairs as it likes.
bool Reconciler::may_name() {
  constexpr Duration kWindow = std::chrono::seconds(10);
  constexpr std::uint32_t kMost = 20;
  const auto now = c_.clock.now();
  if (!named_since_ || now - *named_since_ >= kWindow) {
    named_since_ = now;
    named_ = 0;
  }
  return named_++ < kMost;
}

void Reconciler::changed(replication::PeerId peer, const FlowRecord* before, const FlowRecord* after) {
  const auto by = number_of(after) - number_of(before);
  if (!sides_[peer] || by == 0) return;
  Side& s = *sides_[peer];
  if (s.changes.size() == kMostChanges) {
    ++s.more_changes;
    return;
  }
  const FlowRecord& shown = after != nullptr ? *after : *before;
  std::string line;
  text::FlowRenderer().append(line, shown);
  const std::string what = before == nullptr  ? "it was missing"
                           : after == nullptr ? "it had ended there"
                                              : difference(*before, *after) + " differed";
  s.changes.push_back({.bucket = static_cast<std::uint16_t>(bucket_of(shown.flow.orig)),
                       .by = by,
                       .line = fmt::format("mended from peer {}: {}: {}", c_.name_of(peer), what, line)});
}

// A change that is news looks the same as one that mends something. But where one makes up for all that differed in a bucket, the
// others there were news.
void Reconciler::tell_mended(Side& s) {
  for (std::uint32_t i = 0; i < s.request.count; ++i) {
    const auto is_here = [bucket = s.request.buckets[i]](const Side::Change& c) { return c.bucket == bucket; };
    const auto all = std::ranges::find_if(s.changes, [&](const auto& c) { return is_here(c) && c.by == s.by[i]; });
    if (all == s.changes.end()) continue;
    auto mended = std::move(*all);
    std::erase_if(s.changes, is_here);
    s.changes.insert(s.changes.begin(), std::move(mended));
  }
  s.numbers.mended += s.changes.size() + s.more_changes;
  std::uint32_t named = 0;
  for (const auto& c : s.changes) {
    if (named++ == kMostNamed || !may_name()) break;
    c_.log.notice("{}", c.line);
  }
  s.changes.clear();
  s.more_changes = 0;
}

void Reconciler::repair_ended(replication::PeerId peer, std::uint32_t number, std::uint32_t first) {
  Side& s = side(peer);
  if (!s.repaired || s.request.number != number) return;
  s.sweeping_until = c_.clock.now() + kPatienceForAll;
  c_.sweep({.from = {.owner = s.owner, .session = s.session, .seq = first}, .buckets = s.repaired});
}

void Reconciler::bulk_ended(replication::PeerId peer) {
  Side& s = side(peer);
  s.told_at = c_.clock.now();
  s.sweeping_until = *s.told_at + kPatienceForAll;
  if (!s.repaired) end_repair(s);
}

void Reconciler::swept(std::uint32_t owner) {
  for (const auto& s : sides_) {
    if (!s || s->owner != owner) continue;
    s->sweeping_until.reset();
    if (s->repaired) end_repair(*s);
  }
}

void Reconciler::end_repair(Side& s) {
  if (s.repaired && c_.cache.watched_owner() == s.owner) c_.cache.watch(0, nullptr, {});
  tell_mended(s);
  s.until.reset();
  s.to_ask = 0;
  s.parts.reset();
  s.ready = false;
  s.repaired.reset();
}

void Reconciler::end_turn() {
  if (!std::exchange(anything_to_ask_, false)) return;
  for (replication::PeerId peer = 0; peer < sides_.size(); ++peer) {
    if (!sides_[peer]) continue;
    Side& s = *sides_[peer];
    if (const auto groups = std::exchange(s.to_ask, 0); groups != 0) c_.engine.ask_sums(peer, groups);
    if (s.ready) begin_repair(peer, s);
  }
}

Reconciler::Numbers Reconciler::numbers(replication::PeerId peer) const {
  const auto& s = sides_[peer];
  return s && s->owner == c_.engine.peers()[peer].owner ? s->numbers : Numbers{};
}

std::optional<TimePoint> Reconciler::in_step_since(replication::PeerId peer) const {
  const auto& s = sides_[peer];
  if (!s || s->owner != c_.engine.peers()[peer].owner || s->session != c_.engine.peers()[peer].session) return {};
  return c_.clock.now() - s->compared_at < kLately ? s->in_step_since : std::nullopt;
}

}  // namespace ctsync::node
