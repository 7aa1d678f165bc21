// SPDX-License-Identifier: GPL-2.0-or-later
#include "state.h"

#include <fmt/format.h>

namespace ctsync::sim {

FlowState state_of(const Flow& f, const FlowExtra* extra) {
  FlowState s;
  s.status = f.knows(has::kStatus) ? f.status : 0;
  s.mark = f.knows(has::kMark) ? f.mark : 0;
  s.proto_state = f.knows(has::kProtoState) ? f.proto_state : std::uint8_t{0};
  const auto nat = nat_of(f);
  if (nat.snat) s.snat = f.reply_dst;
  if (nat.dnat) s.dnat = f.reply_src;
  if (nat.snat_port) s.snat_port = f.reply_dst_port;
  if (nat.dnat_port) s.dnat_port = f.reply_src_port;
  if (extra != nullptr && f.knows(has::kLabels)) s.labels = extra->labels;
  return s;
}

namespace {

// The first field that differs.
std::string field(const FlowState& seen, const FlowState& expected) {
  if (seen.mark != expected.mark) return fmt::format("mark {}, not {}", seen.mark, expected.mark);
  if (seen.status != expected.status) return fmt::format("status {:x}, not {:x}", seen.status, expected.status);
  if (seen.proto_state != expected.proto_state)
    return fmt::format("state {}, not {}", seen.proto_state, expected.proto_state);
  if (seen.labels != expected.labels) return fmt::format("label {}, not {}", seen.labels[0], expected.labels[0]);
  return "another NAT";
}

}  // namespace

std::string name_of(const Tuple& t) {
  return fmt::format("{}{}:{}", t.l4 == kTcp ? "tcp " : "udp ", to_string(IpAddress{t.family, t.src}), t.src_port);
}

State state_of(const table::FlowTable& t) {
  State s;
  for (table::FlowId id = 0; id < t.end_id(); ++id) {
    const auto& slot = t.slot(id);
    if (is_live(slot.state)) s.emplace(slot.flow.orig, state_of(slot.flow, t.extra(id)));
  }
  return s;
}

State state_of(const node::test::FakeKernel& k) {
  State s;
  for (const auto& [tuple, record] : k.flows) s.emplace(tuple, state_of(record.flow, &record.extra));
  return s;
}

std::string difference(const State& seen, const State& expected) {
  std::string s;
  for (const auto& [tuple, flow] : seen) {
    const auto it = expected.find(tuple);
    if (it == expected.end()) {
      s += fmt::format(" stale {} (mark {});", name_of(tuple), flow.mark);
    } else if (!(it->second == flow)) {
      s += fmt::format(" {} has {};", name_of(tuple), field(flow, it->second));
    }
  }
  for (const auto& [tuple, flow] : expected) {
    if (!seen.contains(tuple)) s += fmt::format(" missing {} (mark {});", name_of(tuple), flow.mark);
  }
  return s;
}

void count_difference(Difference& d, const State& seen, const State& expected) {
  for (const auto& [tuple, flow] : seen) {
    const auto it = expected.find(tuple);
    if (it == expected.end()) ++d.ghosts;
    if (it != expected.end() && !(it->second == flow)) ++d.wrong;
  }
  for (const auto& [tuple, flow] : expected) d.missing += seen.contains(tuple) ? 0 : 1;
}

}  // namespace ctsync::sim
