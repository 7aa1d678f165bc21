// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/table/flow_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace ctsync::table {
namespace {

TimePoint at(std::int64_t seconds) { return TimePoint(std::chrono::seconds(seconds)); }

Tuple tuple(std::uint32_t n, std::uint16_t zone = 0) {
  Tuple t;
  t.family = Family::ipv4;
  t.l4 = kTcp;
  t.src = {10, 0, static_cast<std::uint8_t>(n >> 24), static_cast<std::uint8_t>(n >> 16)};
  t.dst = {10, 77, 2, 2};
  t.src_port = static_cast<std::uint16_t>(n);
  t.dst_port = 443;
  t.zone = zone;
  return t;
}

FlowRecord record(const Tuple& t) {
  FlowRecord r;
  r.flow.orig = t;
  r.flow.present = has::kPorts | has::kStatus | has::kTimeout;
  r.flow.status = status::kConfirmed;
  r.flow.timeout = 120;
  return r;
}

FlowRecord labelled(const Tuple& t, std::uint32_t word) {
  auto r = record(t);
  r.flow.present |= has::kLabels;
  r.extra.labels = {word, 0, 0, 0};
  return r;
}

TEST(FlowTable, InsertsFindsAndReleases) {
  FlowTable table(10, 0, 1);
  EXPECT_EQ(table.find(tuple(1)), kNoFlow);
  const auto id = table.insert(record(tuple(1)), at(100));
  ASSERT_NE(id, kNoFlow);
  EXPECT_EQ(table.find(tuple(1)), id);
  EXPECT_EQ(table.find(tuple(2)), kNoFlow);
  const auto& s = table.slot(id);
  EXPECT_EQ(s.state, FlowState::new_);
  EXPECT_EQ(s.queue, Queue::none);
  EXPECT_EQ(s.created, 100U);
  EXPECT_EQ(s.updated, 100U);
  EXPECT_EQ(s.generation, 0);
  EXPECT_EQ(s.flow.timeout, 120U);
  EXPECT_EQ(table.extra(id), nullptr);
  EXPECT_EQ(table.live(), 1U);
  EXPECT_EQ(table.end_id(), 1U);
  table.release(id);
  EXPECT_EQ(table.find(tuple(1)), kNoFlow);
  EXPECT_EQ(table.slot(id).state, FlowState::free);
  EXPECT_EQ(table.total(), 0U);
  EXPECT_EQ(table.stats().created, 1U);
  EXPECT_EQ(table.stats().destroyed, 1U);
}

TEST(FlowTable, ReleasedSlotsAreUsedAgainLastFirstAndComeBackClean) {
  FlowTable table(10, 0, 1);
  for (std::uint32_t n = 0; n < 4; ++n) table.insert(labelled(tuple(n), 1), at(0));
  table.slot(2).queue = Queue::resend;
  table.slot(2).link = {7, 8, 9};
  table.slot(2).generation = 5;
  table.slot(2).queue = Queue::none;
  table.release(1);
  table.release(2);
  EXPECT_EQ(table.insert(record(tuple(10)), at(3)), 2U);
  EXPECT_EQ(table.slot(2).link.seq, 0U);
  EXPECT_EQ(table.slot(2).link.next, 0U);
  EXPECT_EQ(table.slot(2).generation, 0);
  EXPECT_EQ(table.extra(2), nullptr);
  EXPECT_EQ(table.insert(record(tuple(11)), at(3)), 1U);
  EXPECT_EQ(table.insert(record(tuple(12)), at(3)), 4U);
  EXPECT_EQ(table.end_id(), 5U);
}

TEST(FlowTable, UpdateMergesAndKeepsWhatIsNotTold) {
  FlowTable table(10, 0, 1);
  auto r = record(tuple(1));
  r.flow.present |= has::kMark;
  r.flow.mark = 77;
  const auto id = table.insert(r, at(100));
  auto u = record(tuple(1));
  u.flow.present |= has::kProtoState;
  u.flow.proto_state = 3;
  u.flow.timeout = 432000;
  table.update(id, u, at(105));
  const auto& s = table.slot(id);
  EXPECT_EQ(s.state, FlowState::alive);
  EXPECT_EQ(s.created, 100U);
  EXPECT_EQ(s.updated, 105U);
  EXPECT_EQ(s.flow.mark, 77U);
  EXPECT_EQ(s.flow.timeout, 432000U);
  EXPECT_TRUE(s.flow.knows(has::kMark | has::kProtoState));
  EXPECT_EQ(table.stats().updated, 1U);
  EXPECT_EQ(table.stats().created, 1U);
}

TEST(FlowTable, UpdateBringsTheSideRecordAndMergesIt) {
  FlowTable table(10, 0, 1);
  const auto id = table.insert(record(tuple(1)), at(0));
  table.update(id, labelled(tuple(1), 0x20), at(1));
  ASSERT_NE(table.extra(id), nullptr);
  EXPECT_EQ(table.extra(id)->labels[0], 0x20U);
  auto helper = record(tuple(1));
  helper.flow.present |= has::kHelper;
  helper.extra.helper = {'f', 't', 'p'};
  table.update(id, helper, at(2));
  EXPECT_EQ(table.extra(id)->labels[0], 0x20U);
  EXPECT_STREQ(table.extra(id)->helper.data(), "ftp");
  EXPECT_TRUE(table.slot(id).flow.knows(has::kLabels | has::kHelper));
  FlowRecord copy;
  table.copy_to(id, copy);
  EXPECT_EQ(copy.flow.present, table.slot(id).flow.present);
  EXPECT_EQ(copy.extra.labels[0], 0x20U);
  EXPECT_STREQ(copy.extra.helper.data(), "ftp");
}

// A sender must be able to tell that labels were cleared; a flow that never had any must not carry such a note.
TEST(FlowTable, ClearedLabelsAreKnownOnlyWhereThereWereSome) {
  FlowTable table(10, 0, 1);
  const auto without = table.insert(labelled(tuple(1), 0), at(0));
  EXPECT_FALSE(table.slot(without).flow.knows(has::kLabels));
  EXPECT_EQ(table.extra(without), nullptr);
  table.update(without, labelled(tuple(1), 0), at(1));
  EXPECT_FALSE(table.slot(without).flow.knows(has::kLabels));

  const auto with = table.insert(labelled(tuple(2), 4), at(0));
  table.update(with, labelled(tuple(2), 0), at(1));
  EXPECT_TRUE(table.slot(with).flow.knows(has::kLabels));
  EXPECT_EQ(table.extra(with)->labels[0], 0U);
}

// What replaces an entry is another picture of it, or another flow: nothing stays but that labels are known to be gone,
// of which a peer that has them must be told.
TEST(FlowTable, AReplacedFlowStillKnowsThatItsLabelsWereCleared) {
  FlowTable table(10, 0, 1);
  const auto id = table.insert(labelled(tuple(1), 4), at(0));
  table.replace(id, labelled(tuple(1), 0), at(1));
  ASSERT_TRUE(table.slot(id).flow.knows(has::kLabels));
  EXPECT_EQ(table.extra(id)->labels, (std::array<std::uint32_t, kLabelWords>{}));
  table.replace(id, labelled(tuple(1), 0), at(2));
  EXPECT_TRUE(table.slot(id).flow.knows(has::kLabels)) << "until somebody says otherwise";
  table.replace(id, record(tuple(1)), at(3));
  EXPECT_FALSE(table.slot(id).flow.knows(has::kLabels)) << "nothing is known of them";
  EXPECT_EQ(table.extra(id), nullptr);
  table.replace(id, labelled(tuple(1), 0), at(4));
  EXPECT_FALSE(table.slot(id).flow.knows(has::kLabels)) << "there were none";
}

TEST(FlowTable, ARenewedFlowIsAnotherOneUnderTheSameId) {
  FlowTable table(1, 0, 1);
  const auto id = table.insert(labelled(tuple(1), 4), at(0));
  table.update(id, labelled(tuple(1), 5), at(1));
  auto& slot = table.slot(id);
  slot.link = {7, 8, 9};
  slot.generation = 5;
  slot.told = slot.committed = slot.untouched = slot.succeeds = true;
  EXPECT_TRUE(table.renew(id, record(tuple(1)), at(2)));
  EXPECT_EQ(table.find(tuple(1)), id);
  EXPECT_EQ(slot.state, FlowState::new_);
  EXPECT_EQ(slot.created, seconds_of(at(2)));
  EXPECT_EQ(slot.link.seq, 0U);
  EXPECT_EQ(slot.generation, 0);
  EXPECT_FALSE(slot.told || slot.committed || slot.untouched || slot.succeeds);
  EXPECT_EQ(table.extra(id), nullptr);
  EXPECT_FALSE(slot.flow.knows(has::kLabels));
  EXPECT_TRUE(table.renew(id, labelled(tuple(1), 6), at(3)));
  EXPECT_EQ(table.extra(id)->labels[0], 6U);
  EXPECT_EQ(table.stats().created, 3U);
  EXPECT_EQ(table.stats().destroyed, 2U);
  EXPECT_EQ(table.live(), 1U);
}

TEST(FlowTable, DeadFlowsAreFoundAndCountUntilReleased) {
  FlowTable table(2, 0, 1);
  const auto id = table.insert(record(tuple(1)), at(0));
  table.mark_dead(id);
  EXPECT_EQ(table.find(tuple(1)), id);
  EXPECT_EQ(table.slot(id).state, FlowState::dead);
  EXPECT_EQ(table.live(), 0U);
  EXPECT_EQ(table.total(), 1U);
  EXPECT_EQ(table.stats().destroyed, 1U);
  table.release(id);
  EXPECT_EQ(table.total(), 0U);
  EXPECT_EQ(table.stats().destroyed, 1U);  // once
}

TEST(FlowTable, LimitCountsDeadFlowsAndIsCounted) {
  FlowTable table(3, 0, 1);
  EXPECT_EQ(table.limit(), 3U);
  for (std::uint32_t n = 0; n < 3; ++n) ASSERT_NE(table.insert(record(tuple(n)), at(0)), kNoFlow);
  table.mark_dead(0);
  EXPECT_EQ(table.insert(record(tuple(9)), at(0)), kNoFlow);
  EXPECT_EQ(table.insert(record(tuple(9)), at(0)), kNoFlow);
  EXPECT_EQ(table.stats().create_failed, 2U);
  EXPECT_EQ(table.stats().create_no_space, 2U);
  EXPECT_EQ(table.stats().create_no_memory, 0U);
  EXPECT_EQ(table.stats().created, 3U);
  table.release(0);
  EXPECT_NE(table.insert(record(tuple(9)), at(0)), kNoFlow);
}

TEST(FlowTable, LimitOfZeroTakesNothing) {
  FlowTable table(0, 1024, 1);
  EXPECT_EQ(table.insert(record(tuple(1)), at(0)), kNoFlow);
  EXPECT_EQ(table.find(tuple(1)), kNoFlow);
}

TEST(FlowTable, EveryPartOfTheTupleIsKey) {
  FlowTable table(100, 0, 1);
  std::vector<Tuple> different(8, tuple(1));
  different[1].zone = 9;
  different[2].src[3] = 200;
  different[3].dst[0] = 11;
  different[4].src_port = 1000;
  different[5].dst_port = 80;
  different[6].l4 = kUdp;
  different[7].family = Family::ipv6;
  for (const auto& t : different) {
    ASSERT_EQ(table.find(t), kNoFlow);
    ASSERT_NE(table.insert(record(t), at(0)), kNoFlow);
  }
  for (std::uint32_t i = 0; i < different.size(); ++i) EXPECT_EQ(table.find(different[i]), i);
}

TEST(FlowTable, SlotsStayWhereTheyAre) {
  FlowTable table(100'000, 0, 1);
  const auto id = table.insert(record(tuple(0)), at(0));
  const auto* before = &table.slot(id);
  for (std::uint32_t n = 1; n < 50'000; ++n) table.insert(record(tuple(n)), at(0));
  EXPECT_EQ(&table.slot(id), before);
}

// The budget of the design: 145 bytes per flow.
TEST(FlowTable, HundredThousandIpv4FlowsFitTheMemoryBudget) {
  for (const std::uint32_t buckets : {0U, 32768U, 131072U}) {
    FlowTable table(262'144, buckets, 42);
    for (std::uint32_t n = 0; n < 100'000; ++n) ASSERT_NE(table.insert(record(tuple(n)), at(0)), kNoFlow);
    EXPECT_LE(table.memory_bytes(), 145U * 100'000) << "starting with " << buckets;
    EXPECT_GE(table.memory_bytes(), 128U * 100'000);
  }
}

TEST(FlowTable, MemoryDoesNotGrowWhenFlowsComeAndGo) {
  FlowTable table(1000, 0, 1);
  for (std::uint32_t n = 0; n < 500; ++n) table.insert(labelled(tuple(n), 1), at(0));
  const auto before = table.memory_bytes();
  for (std::uint32_t n = 500; n < 100'000; ++n) {
    table.release(table.find(tuple(n - 500)));
    ASSERT_NE(table.insert(labelled(tuple(n), 1), at(0)), kNoFlow);
  }
  EXPECT_EQ(table.memory_bytes(), before);
  EXPECT_EQ(table.end_id(), 500U);
}

// What the table should hold, kept the plain way.
struct Model {
  struct Entry {
    FlowId id;
    bool dead;
    std::uint32_t present;
    std::uint32_t mark;
    std::uint32_t label;
  };
  std::unordered_map<std::uint64_t, Entry> entries;
};

void random_model(std::uint64_t seed, std::uint32_t keys, std::uint32_t limit, int operations) {
  std::mt19937_64 random(seed);
  FlowTable table(limit, 0, random());
  Model model;
  CacheStats expected;
  std::uint32_t live = 0;
  for (int i = 0; i < operations; ++i) {
    const auto n = static_cast<std::uint32_t>(random() % keys);
    const auto zone = static_cast<std::uint16_t>(random() % 2);
    const auto t = tuple(n, zone);
    const auto key = std::uint64_t{n} << 16 | zone;
    const auto id = table.find(t);
    const auto entry = model.entries.find(key);
    ASSERT_EQ(id, entry == model.entries.end() ? kNoFlow : entry->second.id);

    auto r = record(t);
    if (random() % 2 == 0) {
      r.flow.present |= has::kMark;
      r.flow.mark = static_cast<std::uint32_t>(random());
    }
    if (random() % 4 == 0) {
      r.flow.present |= has::kLabels;
      r.extra.labels = {static_cast<std::uint32_t>(random() | 1), 0, 0, 0};
    }
    if (id == kNoFlow) {
      const auto made = table.insert(r, at(i));
      ASSERT_EQ(made == kNoFlow, model.entries.size() >= limit);
      if (made == kNoFlow) {
        ++expected.create_failed;
        continue;
      }
      ++expected.created;
      ++live;
      const bool labels = r.flow.knows(has::kLabels);
      model.entries[key] = {made, false, r.flow.present, r.flow.mark, labels ? r.extra.labels[0] : 0};
    } else if (random() % 3 == 0 && !entry->second.dead) {
      auto& e = entry->second;
      table.update(id, r, at(i));
      ++expected.updated;
      e.present |= r.flow.present;
      if (r.flow.knows(has::kMark)) e.mark = r.flow.mark;
      if (r.flow.knows(has::kLabels)) e.label = r.extra.labels[0];
    } else if (random() % 4 == 0 && !entry->second.dead) {
      auto& e = entry->second;
      ASSERT_TRUE(table.renew(id, r, at(i)));
      ++expected.created;
      ++expected.destroyed;
      e.present = r.flow.present;
      e.mark = r.flow.mark;
      e.label = r.flow.knows(has::kLabels) ? r.extra.labels[0] : 0;
    } else if (random() % 3 == 0 && !entry->second.dead) {
      table.mark_dead(id);
      entry->second.dead = true;
      --live;
      ++expected.destroyed;
    } else if (random() % 2 == 0) {
      if (!entry->second.dead) {
        --live;
        ++expected.destroyed;
      }
      table.release(id);
      model.entries.erase(entry);
    } else {
      const auto& e = entry->second;
      const auto& s = table.slot(id);
      ASSERT_EQ(s.flow.orig, t);
      ASSERT_EQ(s.state == FlowState::dead, e.dead);
      ASSERT_EQ(s.flow.present, e.present);
      ASSERT_EQ(s.flow.mark, e.mark);
      ASSERT_EQ(table.extra(id) != nullptr, (e.present & has::kExtra) != 0);
      if (e.present & has::kLabels) {
        ASSERT_EQ(table.extra(id)->labels[0], e.label);
      }
    }
    ASSERT_EQ(table.total(), model.entries.size());
    ASSERT_EQ(table.live(), live);
  }
  EXPECT_EQ(table.stats().created, expected.created);
  EXPECT_EQ(table.stats().create_no_space, expected.create_failed);
  EXPECT_EQ(table.stats().updated, expected.updated);
  EXPECT_EQ(table.stats().destroyed, expected.destroyed);
  std::size_t used = 0;
  for (FlowId id = 0; id < table.end_id(); ++id) used += table.slot(id).state != FlowState::free;
  EXPECT_EQ(used, model.entries.size());
}

TEST(FlowTable, RandomOperationsAgreeWithAModel) { random_model(11, 20'000, 1'000'000, 400'000); }
TEST(FlowTable, RandomOperationsAtTheLimitAgreeWithAModel) { random_model(12, 2'000, 900, 200'000); }

}  // namespace
}  // namespace ctsync::table
