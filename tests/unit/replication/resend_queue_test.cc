// SPDX-License-Identifier: GPL-2.0-or-later
// The queue of unacknowledged messages: look-up by number.
#include "ctsync/replication/resend_queue.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ctsync/replication/sequence.h"
#include "driver.h"

namespace ctsync::replication_test {
namespace {

// A queue like this one as a plain list, compared after each of many random changes.
TEST(ResendQueue, FindsNumbersAsAPlainListDoes) {
  constexpr std::uint32_t kFlows = 600;
  table::FlowTable flows(kFlows, 0, 1);
  Nodes nodes(&flows, nullptr);
  ResendQueue q(nodes);
  std::vector<NodeRef> idle;
  for (std::uint32_t i = 0; i < kFlows; ++i) {
    idle.push_back({NodeRef::Kind::flow, flows.insert(flow_record(i), TimePoint{})});
  }
  std::vector<std::pair<std::uint32_t, NodeRef>> model;
  std::uint32_t seq = 0xfffff000U;  // wraps on the way
  std::uint64_t state = 1;
  const auto random = [&state](std::size_t below) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state >> 33) % below;
  };
  for (int step = 0; step < 20000; ++step) {
    const bool filling = step / 2000 % 2 == 0;
    if (!idle.empty() && random(10) < (filling ? 8U : 3U)) {
      seq += static_cast<std::uint32_t>(1 + random(5));
      q.push_back(idle.back(), seq);
      model.emplace_back(seq, idle.back());
      idle.pop_back();
    } else if (!model.empty()) {
      const std::size_t at = random(3) == 0 ? 0 : random(model.size());
      q.remove(model[at].second);
      idle.push_back(model[at].second);
      model.erase(model.begin() + static_cast<std::ptrdiff_t>(at));
    }
    ASSERT_EQ(q.length(), model.size());
    EXPECT_LE(q.runs(), 2 * q.length() / ResendQueue::kRun + 1);
    const std::uint32_t wanted = seq + 3 - static_cast<std::uint32_t>(random(3000));
    const auto found = std::ranges::find_if(model, [&](const auto& e) { return !is_before(e.first, wanted); });
    ASSERT_EQ(q.first_from(wanted), found == model.end() ? NodeRef() : found->second) << step;
    ASSERT_EQ(q.count_before(wanted), static_cast<std::uint32_t>(found - model.begin())) << step;
  }
}

}  // namespace
}  // namespace ctsync::replication_test
