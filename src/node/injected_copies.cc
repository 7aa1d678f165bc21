// SPDX-License-Identifier: GPL-2.0-or-later
#include "injected_copies.h"

#include "ctsync/flow/progress.h"

namespace ctsync::node {

using kernel::WriteOp;
using kernel::WritePhase;

InjectedCopies::Copy* InjectedCopies::find(const Tuple& orig) {
  const auto key = key_of(orig);
  auto& part = part_of(key);
  const auto it = part.find(key);
  return it == part.end() ? nullptr : &it->second;
}

bool InjectedCopies::contains(const Tuple& orig) {
  const auto* c = find(orig);
  return c != nullptr && !c->touched;
}

bool InjectedCopies::written(const kernel::WriteResult& r, const Flow& f) {
  if (r.op == WriteOp::destroy) {
    forget(f.orig);
    return true;
  }
  const bool kept = r.phase == WritePhase::kept;
  const bool in_place = r.phase == WritePhase::update;
  auto* c = find(f.orig);
  Picture picture = picture_of(f);
  if (c != nullptr && in_place && !f.knows(has::kMark)) picture.mark = c->picture.mark;
  // An update says that the peer's node has seen packets of the flow: it lives over there, after a take-over above all.
  // What a creation left as it is, or updated, is whatever it was before: a copy, or a live flow of this node.
  if (r.op == WriteOp::update || !(kept || in_place)) {
    give(f.orig, picture, kept);
    return true;
  }
  if (c != nullptr && !c->touched && in_place) give(f.orig, picture, false);
  return false;
}

void InjectedCopies::given(const Flow& f) { give(f.orig, picture_of(f), false); }

void InjectedCopies::give(const Tuple& orig, const Picture& picture, bool kept) {
  const Copy copy{.look = look_, .picture = picture, .kept = kept, .touched = false};
  if (auto* c = find(orig)) {
    *c = copy;
  } else if (size_ < most_) {
    const auto key = key_of(orig);
    part_of(key).emplace(key, copy);
    ++size_;
  }
}

void InjectedCopies::forget(const Tuple& orig) {
  const auto key = key_of(orig);
  size_ -= part_of(key).erase(key);
}

void InjectedCopies::touched(const Tuple& orig) {
  if (auto* c = find(orig)) c->touched = true;
}

bool InjectedCopies::was_touched(const Tuple& orig) {
  const auto* c = find(orig);
  return c != nullptr && c->touched;
}

// If the peer gave it again since the last look at the events, the event may be of the one before, and the copy still
// there.
bool InjectedCopies::ended(const Tuple& orig) {
  const auto* c = find(orig);
  if (c == nullptr) return false;
  const bool copy = !c->touched;
  const bool given_again = copy && c->look == look_ && kernel_.get(orig, scratch_).value_or(false);
  if (!given_again) forget(orig);
  return copy;
}

bool InjectedCopies::is_known(const Flow& f) {
  const auto* c = find(f.orig);
  return c != nullptr && c->picture == picture_of(f);
}

bool InjectedCopies::has_changed(const Flow& f) {
  const auto* c = find(f.orig);
  return c != nullptr && !c->touched && !c->kept && !(c->picture == picture_of(f));
}

bool InjectedCopies::is_another(const Flow& f) {
  const auto* c = find(f.orig);
  return c != nullptr && !c->touched && f.knows(has::kStatus) && (c->picture.progress & ~progress_of(f)) != 0;
}

InjectedCopies::Picture InjectedCopies::picture_of(const Flow& f) {
  return {.mark = f.knows(has::kMark) ? f.mark : 0,
          .progress = progress_of(f),
          .state = established_untold(f)       ? kTcpEstablished
                   : f.knows(has::kProtoState) ? f.proto_state
                                               : std::uint8_t{0}};
}

}  // namespace ctsync::node
