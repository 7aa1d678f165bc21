// SPDX-License-Identifier: GPL-2.0-or-later
// What a cache, or a kernel, knows of its flows, as far as nodes have to agree: compared field for field.
#pragma once

#include <array>
#include <map>
#include <string>

#include "ctsync/table/flow_table.h"
#include "fake_kernel.h"

namespace ctsync::sim {

struct FlowState {
  std::uint32_t status = 0;
  std::uint32_t mark = 0;
  std::uint8_t proto_state = 0;
  // Where the addresses and ports are translated to; zero if they are not.
  Address snat{};
  Address dnat{};
  std::uint16_t snat_port = 0;
  std::uint16_t dnat_port = 0;
  std::array<std::uint32_t, kLabelWords> labels{};  // none are as good as no bit set

  bool operator==(const FlowState&) const = default;
};

using State = std::map<Tuple, FlowState, node::test::TupleLess>;

FlowState state_of(const Flow& f, const FlowExtra* extra);
State state_of(const table::FlowTable& t);
State state_of(const node::test::FakeKernel& k);

std::string name_of(const Tuple& t);

// In numbers.
struct Difference {
  std::uint64_t missing = 0;
  std::uint64_t ghosts = 0;
  std::uint64_t wrong = 0;
};
void count_difference(Difference& d, const State& seen, const State& expected);

// How `seen` differs from what it should be, as text; empty if it does not.
std::string difference(const State& seen, const State& expected);

}  // namespace ctsync::sim
