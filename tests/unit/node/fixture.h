// SPDX-License-Identifier: GPL-2.0-or-later
// What the tests of the node's parts share: flows by number.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>

#include "ctsync/flow/expectation.h"
#include "fake_clock.h"
#include "fake_kernel.h"
#include "recording_log.h"

namespace ctsync::node::test {

using ctsync::test::ManualClock;

// TCP 10.77.1.2:n -> 10.77.2.2:80, established, as the kernel tells it; id 1000 + n.
inline FlowRecord kernel_flow(std::uint16_t n) {
  FlowRecord r;
  Flow& f = r.flow;
  f.orig.family = Family::ipv4;
  f.orig.l4 = kTcp;
  f.orig.src = {10, 77, 1, 2};
  f.orig.dst = {10, 77, 2, 2};
  f.orig.src_port = n;
  f.orig.dst_port = 80;
  const auto reply = inverse(f.orig);
  f.reply_src = reply.src;
  f.reply_dst = reply.dst;
  f.reply_src_port = reply.src_port;
  f.reply_dst_port = reply.dst_port;
  f.present = has::kPorts | has::kReply | has::kStatus | has::kTimeout | has::kProtoState | has::kId;
  f.status = status::kConfirmed | status::kSeenReply | status::kAssured;
  f.timeout = 432000;
  f.proto_state = 3;
  f.id = 1000U + n;
  return r;
}

// The same, as it comes over the wire.
inline FlowRecord wire_flow(std::uint16_t n) {
  auto r = kernel_flow(n);
  r.flow.reply_src = r.flow.reply_dst = {};
  r.flow.reply_src_port = r.flow.reply_dst_port = 0;
  r.flow.id = 0;
  r.flow.present &= ~(has::kReply | has::kId);
  return r;
}

inline FlowRecord with_mark(FlowRecord r, std::uint32_t mark) {
  r.flow.mark = mark;
  r.flow.present |= has::kMark;
  return r;
}

inline FlowRecord related(FlowRecord r, const FlowRecord& master) {
  r.flow.present |= has::kMaster | has::kMasterPorts;
  r.extra.master = master.flow.orig;
  return r;
}

// The master is kernel_flow(master); the expected connection goes to port n.
inline Expectation expectation(std::uint16_t master, std::uint16_t n) {
  Expectation e;
  e.master = kernel_flow(master).flow.orig;
  e.expected = e.master;
  e.expected.src_port = 0;
  e.expected.dst_port = n;
  e.mask = e.expected;
  e.mask.src = e.mask.dst = {255, 255, 255, 255};
  e.mask.dst_port = 0xffff;
  e.timeout = 300;
  std::snprintf(e.helper.data(), e.helper.size(), "ftp");
  e.present = expect_has::kMaster | expect_has::kMasterPorts | expect_has::kExpected | expect_has::kExpectedPorts |
              expect_has::kMask | expect_has::kMaskPorts | expect_has::kTimeout | expect_has::kHelper;
  return e;
}

}  // namespace ctsync::node::test
