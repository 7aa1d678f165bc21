// SPDX-License-Identifier: GPL-2.0-or-later
#include "conflict.h"

#include <cstring>

#include "ctsync/flow/progress.h"

namespace ctsync::kernel {
namespace {

bool tells_nat(const Flow& f) {
  const auto v = nat_of(f);
  return v.snat || v.dnat || v.snat_port || v.dnat_port;
}

// Whether the entry has what only a creation can write.
bool can_be_updated(const FlowRecord& there, const FlowRecord& ours) {
  if (!same_nat(there.flow, ours.flow)) return false;
  if (ours.flow.knows(has::kMaster) && !there.flow.knows(has::kMaster)) return false;
  if (!ours.flow.knows(has::kHelper)) return true;
  return there.flow.knows(has::kHelper) && std::strcmp(there.extra.helper.data(), ours.extra.helper.data()) == 0;
}

}  // namespace

Verdict judge(const FlowRecord& there, const FlowRecord& ours) {
  // A look-up also finds an entry whose reply tuple is the one asked for.
  if (!(there.flow.orig == ours.flow.orig) || closed_before(there.flow, ours.flow)) return Verdict::replace;
  const bool same = same_nat(there.flow, ours.flow) || !tells_nat(ours.flow);
  if (same && further_on(there.flow, ours.flow)) return Verdict::keep;
  return can_be_updated(there, ours) ? Verdict::merge : Verdict::replace;
}

std::uint32_t merged_status(const Flow& there, const Flow& ours) {
  return ((ours.status & ~status::kExpected) | progress_of(there)) | (there.status & status::kExpected);
}

bool may_be_refused(const Flow& ours) { return ours.knows(has::kStatus) && progress_of(ours) != kProgress; }

}  // namespace ctsync::kernel
