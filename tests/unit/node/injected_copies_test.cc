// SPDX-License-Identifier: GPL-2.0-or-later
#include "injected_copies.h"

#include "fixture.h"

namespace ctsync::node::test {
namespace {

using kernel::WriteOp;
using kernel::WritePhase;

class CopiesTest : public testing::Test {
 protected:
  bool write(WriteOp op, WritePhase phase, const FlowRecord& r) {
    return copies_.written({.cookie = 0, .op = op, .phase = phase, .error = 0}, r.flow);
  }
  bool contains(std::uint16_t n) { return copies_.contains(kernel_flow(n).flow.orig); }
  bool ended(std::uint16_t n) { return copies_.ended(kernel_flow(n).flow.orig); }

  FakeKernel kernel_;
  InjectedCopies copies_{kernel_, 7, 3};
};

FlowRecord not_assured(FlowRecord r) {
  r.flow.status &= ~status::kAssured;
  return r;
}

TEST_F(CopiesTest, WhatIsMadeForAPeerIsACopyUntilItEnds) {
  EXPECT_TRUE(write(WriteOp::create, WritePhase::create, wire_flow(1)));
  EXPECT_TRUE(write(WriteOp::update, WritePhase::create_instead, wire_flow(2)));
  EXPECT_TRUE(write(WriteOp::create, WritePhase::create_again, wire_flow(3)));
  for (std::uint16_t n = 1; n <= 3; ++n) EXPECT_TRUE(contains(n)) << n;
  EXPECT_TRUE(write(WriteOp::destroy, WritePhase::destroy, wire_flow(1)));
  EXPECT_FALSE(contains(1));
  EXPECT_TRUE(ended(2));
  EXPECT_FALSE(ended(2));
}

// After a take-over a flow's packets pass at the peer. What was this node's flow is a copy from then on.
TEST_F(CopiesTest, AFlowIsThePeersOnceItUpdatesIt) {
  EXPECT_TRUE(write(WriteOp::update, WritePhase::update, wire_flow(1)));
  EXPECT_TRUE(write(WriteOp::update, WritePhase::kept, wire_flow(2)));
  EXPECT_TRUE(contains(1) && contains(2));
}

TEST_F(CopiesTest, ACreationSaysNothingOfAFlowThatIsThere) {
  EXPECT_FALSE(write(WriteOp::create, WritePhase::update, wire_flow(1)));
  EXPECT_FALSE(write(WriteOp::create, WritePhase::kept, wire_flow(1)));
  EXPECT_FALSE(contains(1));
}

TEST_F(CopiesTest, WhatPacketsTouchIsNoCopy) {
  copies_.given(kernel_flow(1).flow);
  copies_.touched(kernel_flow(1).flow.orig);
  EXPECT_FALSE(contains(1));
  EXPECT_TRUE(copies_.was_touched(kernel_flow(1).flow.orig));
  EXPECT_FALSE(ended(1));
  EXPECT_FALSE(copies_.was_touched(kernel_flow(1).flow.orig)) << "remembered no longer than it lasts";
  copies_.touched(kernel_flow(2).flow.orig);
  EXPECT_FALSE(copies_.was_touched(kernel_flow(2).flow.orig)) << "never was a copy";
}

TEST_F(CopiesTest, ThePeersLastWordIsNoNews) {
  write(WriteOp::update, WritePhase::create_instead, with_mark(wire_flow(1), 7));
  EXPECT_TRUE(copies_.is_known(with_mark(wire_flow(1), 7).flow));
  EXPECT_FALSE(copies_.is_known(with_mark(wire_flow(1), 8).flow));
  EXPECT_FALSE(copies_.is_known(not_assured(with_mark(wire_flow(1), 7)).flow));
  copies_.touched(wire_flow(1).flow.orig);
  EXPECT_TRUE(copies_.is_known(with_mark(wire_flow(1), 7).flow));
  EXPECT_FALSE(copies_.is_known(with_mark(wire_flow(2), 7).flow));
}

TEST_F(CopiesTest, ACopyThatHasChangedWasTouched) {
  write(WriteOp::create, WritePhase::create, not_assured(with_mark(wire_flow(1), 7)));
  EXPECT_FALSE(copies_.has_changed(not_assured(with_mark(kernel_flow(1), 7)).flow));
  EXPECT_TRUE(copies_.has_changed(with_mark(kernel_flow(1), 7).flow));
  write(WriteOp::update, WritePhase::update, wire_flow(1));  // a mark that is not named stays
  EXPECT_FALSE(copies_.has_changed(with_mark(kernel_flow(1), 7).flow));
  EXPECT_TRUE(copies_.has_changed(with_mark(kernel_flow(1), 8).flow));
  write(WriteOp::update, WritePhase::kept, not_assured(wire_flow(1)));  // what the kernel has is not known
  EXPECT_FALSE(copies_.has_changed(with_mark(kernel_flow(1), 8).flow));
  write(WriteOp::create, WritePhase::update, wire_flow(1));
  EXPECT_TRUE(copies_.has_changed(with_mark(kernel_flow(1), 8).flow));
}

TEST_F(CopiesTest, WhatHasNotComeAsFarIsAnotherFlow) {
  write(WriteOp::create, WritePhase::create, wire_flow(1));
  EXPECT_TRUE(copies_.is_another(not_assured(wire_flow(1)).flow));
  EXPECT_FALSE(copies_.is_another(with_mark(wire_flow(1), 7).flow));
  EXPECT_FALSE(copies_.is_another(not_assured(wire_flow(2)).flow));
  copies_.touched(wire_flow(1).flow.orig);
  EXPECT_FALSE(copies_.is_another(not_assured(wire_flow(1)).flow)) << "it lives here";
}

TEST_F(CopiesTest, NoMoreAreRememberedThanIsSaid) {
  for (std::uint16_t n = 1; n <= 4; ++n) copies_.given(kernel_flow(n).flow);
  EXPECT_TRUE(contains(1) && contains(2) && contains(3));
  EXPECT_FALSE(contains(4));
  EXPECT_TRUE(ended(2));
  copies_.given(kernel_flow(4).flow);
  EXPECT_TRUE(contains(4));
}

}  // namespace
}  // namespace ctsync::node::test
