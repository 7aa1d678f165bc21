// SPDX-License-Identifier: GPL-2.0-or-later
// Whole nodes under random faults, many seeds: when the faults are over, the external cache of each node equals the
// internal caches of the others, field for field, and the internal cache equals the kernel. A failure names its seed;
// CTSYNC_SIM_SEED=<n> runs that one alone, with CTSYNC_SIM_TRACE=1 every message is shown. CTSYNC_SIM_SEEDS=<n> sets how
// many. For very many: tests/sim/soak.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "ctsync/flow/progress.h"
#include "world.h"

namespace ctsync::sim {
namespace {

using node::AskAtStart;
using node::Command;
using node::Form;
using node::Mode;
using node::Side;
using node::Verb;
using node::What;
using std::chrono::milliseconds;
using std::chrono::seconds;

#ifdef NDEBUG
constexpr std::uint64_t kDefaultSeeds = 1000;
#else
constexpr std::uint64_t kDefaultSeeds = 10;  // with sanitizers it is up to a hundred times slower
#endif

std::string test_name() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  return fmt::format("{}.{}", info->test_suite_name(), info->name());
}

struct Trial {
  std::uint64_t seed;
  Tally tally;
};

constexpr std::size_t kMostShown = 200;  // lines of a trace

void show_trace(const Tally& tally) {
  const auto& lines = tally.trace();
  const std::size_t skipped = lines.size() > kMostShown && !tally.verbose() ? lines.size() - kMostShown : 0;
  if (skipped != 0) fmt::print("... {} lines\n", skipped);
  for (std::size_t i = skipped; i < lines.size(); ++i) fmt::print("{}\n", lines[i]);
  std::fflush(stdout);
}

// For tests/sim/soak: a line for each seed that is over.
void report(const Trial& run, bool failed) {
  static const char* const path = std::getenv("CTSYNC_SIM_REPORT");
  if (path == nullptr) return;
  static std::FILE* const file = std::fopen(path, "a");
  std::string faults;
  for (std::size_t i = 0; i < kFaultNames.size(); ++i) {
    if (const auto n = run.tally.faults()[i]; n != 0) {
      faults += fmt::format("{}\"{}\": {}", faults.empty() ? "" : ", ", kFaultNames[i], n);
    }
  }
  const auto ms = [](Duration d) { return d / milliseconds(1); };
  fmt::print(file, "{{\"seed\": {}, \"failed\": {}, \"agreed_ms\": {}, \"believed_ms\": {}, \"faults\": {{{}}}}}\n",
             run.seed, failed, ms(run.tally.slowest()), ms(run.tally.wrong_belief()), faults);
  std::fflush(file);
}

// `share`: only one in so many, for what takes long; not if it is said where to begin.
void for_each_seed(const std::function<void(Trial&)>& body, std::uint64_t share = 1) {
  const char* one = std::getenv("CTSYNC_SIM_SEED");
  const char* many = std::getenv("CTSYNC_SIM_SEEDS");
  const std::uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  std::uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : one != nullptr ? 1 : kDefaultSeeds;
  if (one == nullptr) count = (count + share - 1) / share;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    Trial run{seed, {}};
    run.tally.set_verbose(std::getenv("CTSYNC_SIM_TRACE") != nullptr);
    body(run);
    const bool failed = testing::Test::HasFailure();
    report(run, failed);
    if (failed || run.tally.verbose()) show_trace(run.tally);
    if (failed) {
      ADD_FAILURE() << "seed " << seed << "; replay with: CTSYNC_SIM_SEED=" << seed
                    << " sim_convergence_test --gtest_filter=" << test_name();
      return;
    }
  }
}

// Commands that change nothing of what nodes have to agree on.
constexpr Command kHarmless[] = {
    {.verb = Verb::dump, .side = Side::internal},
    {.verb = Verb::dump, .side = Side::external, .form = Form::xml},
    {.verb = Verb::list_resend_queue},
    {.verb = Verb::bulk_send},
    {.verb = Verb::request_resync},
    {.verb = Verb::resync_kernel},
};

// Those, and commands that empty caches, and kernels.
constexpr Command kAny[] = {
    kHarmless[0],
    kHarmless[1],
    kHarmless[2],
    kHarmless[3],
    kHarmless[4],
    kHarmless[5],
    {.verb = Verb::commit},
    {.verb = Verb::commit},
    {.verb = Verb::flush_caches, .side = Side::internal},
    {.verb = Verb::flush_caches, .side = Side::external},
    {.verb = Verb::flush_caches, .side = Side::both},
    {.verb = Verb::flush_kernel},
    {.verb = Verb::schedule_purge},
    {.verb = Verb::take_over},
    {.verb = Verb::hand_over},
};

node::NodeOptions options_for(Mode mode, Random& r) {
  static constexpr std::uint32_t kWindows[] = {1, 2, 5, 20, 300};
  static constexpr std::size_t kSizes[] = {512, 1472, 1472, 8972};
  node::NodeOptions o;
  o.mode = mode;
  o.table_limit = 4096;
  o.ack_window = kWindows[r.below(5)];
  o.buffer_size = kSizes[r.below(4)];
  o.event_limit = 1 + r.below(100);
  o.refresh_time = 5;
  o.cache_timeout = seconds(20);
  o.purge_timeout = seconds(1);
  o.overrun_resync = seconds(1);
  if (o.event_limit % 2 != 0) o.large_commit = o.event_limit % 40;
  return o;
}

// What nodes keep back of what they have to tell (SyncMinAge, SyncCoalesce).
struct KeepBack {
  Duration min_age{};
  bool established_at_once = false;
  Duration coalesce{};

  void set(node::NodeOptions& o) const {
    o.min_age = min_age;
    o.established_at_once = established_at_once;
    o.coalesce = coalesce;
  }
};

// Something of both, of one, or of the other; by the seed alone, so that everything else is as it would be without.
KeepBack keep_back(const Trial& run) {
  Random r(~run.seed);
  KeepBack k;
  const auto which = r.below(3);
  if (which != 0) k.min_age = seconds(1 + r.below(3));
  k.established_at_once = r.chance(0.5);
  if (which != 1) k.coalesce = milliseconds(1 + r.below(1000));
  return k;
}

Faults random_faults(Random& r) {
  Faults f;
  f.loss = r.below(4) * 0.1;
  f.duplicate = r.below(3) * 0.1;
  f.reorder = r.below(3) * 0.1;
  f.max_delay = milliseconds(1 + r.below(200));
  if (r.chance(0.2)) f.burst = 0.01;
  f.longest_burst = milliseconds(1 + r.below(1000));
  if (r.chance(0.2)) f.delay = milliseconds(r.below(100));
  return f;
}

State others_internal(World& w, std::size_t but) {
  State s;
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (i != but) s.merge(w.node(i).internal());
  }
  return s;
}

std::string disagreement(World& w) {
  std::string s;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const auto d = difference(w.node(i).external(), others_internal(w, i));
    if (!d.empty()) s += fmt::format("external cache of node {}:{}\n", i, d);
  }
  return s;
}

// What holds of every node when all is quiet.
void expect_order(World& w) {
  // The acknowledgements of each second may be on their way at this very moment.
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (w.node(i).node().unacknowledged() > 4) w.run_for(milliseconds(100));
  }
  for (std::size_t i = 0; i < w.size(); ++i) {
    auto& n = w.node(i);
    EXPECT_EQ(difference(n.internal(), n.in_kernel()), "") << "internal cache of node " << i;
    EXPECT_TRUE(n.clients().empty()) << "clients of node " << i << " wait for their answers";
    EXPECT_LE(n.node().unacknowledged(), 4U) << "node " << i;
    EXPECT_EQ(n.node().internal_flows().total(), n.node().internal_flows().live()) << "dead flows stay in node " << i;
    for (const auto& q : n.node().snapshot().queues) EXPECT_LE(q.elements, 4U) << q.name << " of node " << i;
  }
}

// Nothing that lives has been taken out of a kernel.
void expect_no_flow_lost(World& w) {
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_EQ(w.node(i).kernel().lost_flows(), "") << "node " << i;
}

void expect_agreement(World& w) {
  EXPECT_EQ(disagreement(w), "");
  expect_order(w);
}

std::string text_of(const Faults& f) {
  const auto ms = [](Duration d) { return d / milliseconds(1); };
  return fmt::format(
      "loss {:.1f}, bursts {:.2f} up to {} ms, duplicates {:.1f}, late {:.1f} up to {} ms, damaged {:.2f}, delay {} ms",
      f.loss, f.burst, ms(f.longest_burst), f.duplicate, f.reorder, ms(f.max_delay), f.corrupt, ms(f.delay));
}

void set_faults(World& w, const Faults& f) {
  w.network().set_faults(f);
  w.tally().note(w.now(), text_of(f));
}

void set_cut(World& w, std::size_t node, bool on) {
  if (on) w.tally().note(w.now(), fmt::format("{} is cut off", node));
  w.network().cut(node, on);
}

void set_congested(World& w, std::size_t node, bool on) {
  if (on) w.tally().add(Fault::congestion);
  if (on) w.tally().note(w.now(), fmt::format("the transport of {} is full", node));
  w.node(node).set_congested(on);
}

// Faults of all kinds while flows come and go, with partitions of one node, full transports and curious operators.
void trouble(World& w, Duration how_long, std::span<const Command> commands = kHarmless) {
  const TimePoint end = w.now() + how_long;
  w.set_traffic(milliseconds(5 + w.random().below(50)));
  if (w.random().chance(0.5) && !commands.empty()) w.set_commands(commands, milliseconds(50 + w.random().below(1000)));
  while (w.now() < end) {
    set_faults(w, random_faults(w.random()));
    set_cut(w, 0, w.random().chance(0.2));
    for (std::size_t i = 0; i < w.size(); ++i) {
      const bool full = w.random().chance(0.1);
      set_congested(w, i, full && !w.has_stock());  // stock takes no notice
    }
    w.run_for(milliseconds(200 + w.random().below(2000)));
    for (std::size_t i = 0; i < w.size(); ++i) w.node(i).expect_bounds();
  }
}

void end_faults(World& w) {
  w.tally().note(w.now(), "the faults end");
  w.network().mend_all();
  w.set_traffic(std::nullopt);
  w.set_commands({}, std::nullopt);
  w.set_expiry(std::nullopt);
  for (std::size_t i = 0; i < w.size(); ++i) w.node(i).set_congested(false);
}

void peace(World& w, Duration how_long) {
  end_faults(w);
  w.run_for(how_long);
}

// As long as a peer that lacks something may have to wait for the bulk that brings it.
constexpr Duration kHealed = seconds(30);

// Whether a node says of all others that they are in sync, though its external cache is otherwise.
bool believes_wrongly(World& w) {
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (w.node(i).believes_in_sync().size() != w.size() - 1) continue;
    if (!difference(w.node(i).external(), others_internal(w, i)).empty()) return true;
  }
  return false;
}

// Peace in which all come to agree, by themselves: how long that takes is taken down.
void heal(World& w, Duration within = kHealed) {
  end_faults(w);
  const TimePoint start = w.now();
  const TimePoint end = start + within;
  std::optional<TimePoint> agreed;
  Duration believed{};
  while (w.now() < end) {
    const bool agree = disagreement(w).empty();
    if (!agree) {
      agreed.reset();
      if (believes_wrongly(w)) believed = w.now() - start;
    } else if (!agreed) {
      agreed = w.now();
      w.tally().note(w.now(), "all agree");
    }
    w.run_for(std::min<Duration>(agreed ? seconds(1) : milliseconds(100), end - w.now()));
  }
  if (agreed) w.tally().agreed_after(*agreed - start);
  w.tally().believed_wrongly(believed);
}

// As operators do when they do not trust what they see: forget what the peers told, and ask them anew.
void ask_anew(World& w, std::size_t node) {
  w.command(node, Verb::flush_caches, Side::external);
  w.command(node, Verb::request_resync);
}

// Without a restart FT-FW needs no help: what was lost is asked for.
TEST(FtFwSimulation, LossDuplicationReorderAndPartition) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));  // the hello
    trouble(w, seconds(10));
    heal(w, seconds(6));
    expect_agreement(w);
  });
}

// A node that restarts with StartupResync learns everything anew, also when its request or its hello is lost.
TEST(FtFwSimulation, TheReceiverRestarts) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));
    trouble(w, seconds(4));
    w.restart(1, AskAtStart::at_once);
    w.network().set_faults({.loss = 0.3});
    w.run_for(seconds(4));
    trouble(w, seconds(4));
    heal(w);
    EXPECT_EQ(difference(w.node(1).external(), w.node(0).internal()), "");
    expect_order(w);
  });
}

// The sender restarts: what it had not told about the ends of flows is gone with it (spec replication.md 9, 24), and yet
// all is well again without anybody's help.
TEST(FtFwSimulation, TheSenderRestarts) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));
    trouble(w, seconds(3));
    w.restart(0, AskAtStart::never);
    trouble(w, seconds(3));
    if (r.chance(0.5)) w.restart(1, AskAtStart::never);
    trouble(w, seconds(3));
    heal(w);
    EXPECT_EQ(difference(w.node(1).external(), w.node(0).internal()), "");
    // And what happens from now on arrives by itself.
    w.set_traffic(milliseconds(20));
    w.run_for(seconds(1));
    peace(w, seconds(3));
    EXPECT_EQ(difference(w.node(1).external(), w.node(0).internal()), "");
    expect_order(w);
  });
}

// A node boots and speaks from another address, and nothing of the first bulk that it sends arrives: what the earlier
// process told from the old address goes nevertheless.
TEST(FtFwSimulation, ComesBackElsewhereUnheard) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));
    trouble(w, seconds(2));
    w.network().set_faults({});
    w.network().cut_way(1, 0, true);
    w.set_traffic(milliseconds(100));  // so little is missing that it is repaired
    w.kill(1, true);
    w.link_failed(0, 0, true);
    w.link_failed(0, 1, true);
    w.start(1);
    w.run_for(milliseconds(r.below(4000)));
    heal(w);
    expect_agreement(w);
  });
}

// Damaged numbers, cut datagrams, noise: numbers find each other again, nothing stays queued, and contents that are wrong
// are found and mended.
TEST(FtFwSimulation, Corruption) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));
    w.set_traffic(milliseconds(5 + r.below(50)));
    w.network().set_faults({.loss = 0.05, .corrupt = 0.1});
    w.run_for(seconds(8));
    heal(w);
    expect_agreement(w);
  });
}

// Operators empty caches and kernels, commit and purge while flows come and go, and kernels refuse writes. What a commit has
// made peers are told of when they ask. An external cache that was emptied stays so for a while; then all is well.
TEST(FtFwSimulation, CommandsInBetween) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    for (std::size_t i = 0; i < 2; ++i) w.node(i).kernel().refused = r.below(3) * 0.1;
    peace(w, seconds(4));
    w.set_commands(kAny, milliseconds(20 + r.below(300)));
    w.set_traffic(milliseconds(5 + r.below(50)));
    w.run_for(seconds(3));
    trouble(w, seconds(6), kAny);
    peace(w, seconds(6));
    for (std::size_t i = 0; i < 2; ++i) w.command(i, Verb::resync_kernel);  // what was flushed
    w.run_for(seconds(1));
    for (std::size_t i = 0; i < 2; ++i) w.command(i, Verb::request_resync);
    heal(w, seconds(60) + kHealed);
    expect_agreement(w);
  });
}

// Kernel events are lost, again and again. A second after the last loss the node reads the kernel anew, and its peer is
// told the difference.
TEST(FtFwSimulation, KernelOverrun) {
  std::uint64_t lost = 0;
  for_each_seed([&lost](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));
    for (std::size_t i = 0; i < 2; ++i) w.node(i).kernel().most_events = 1 + r.below(5);
    trouble(w, seconds(8));
    heal(w, seconds(8));
    expect_agreement(w);
    for (std::size_t i = 0; i < 2; ++i) lost += w.node(i).kernel().lost_events();
  });
  EXPECT_GT(lost, 0U);
}

// Nothing is done after a loss, as if nobody had told of it: the comparison with the kernel mends it.
TEST(FtFwSimulation, EventsLostUnseen) {
  std::uint64_t mended = 0;
  for_each_seed([&mended](Trial& run) {
    Random r(run.seed);
    auto o = options_for(Mode::ftfw, r);
    o.overrun_resync.reset();
    o.kernel_compare = seconds(1 + r.below(3));
    World w(2, o, r.next(), run.tally);
    peace(w, seconds(4));
    for (std::size_t i = 0; i < 2; ++i) w.node(i).kernel().most_events = 1 + r.below(5);
    trouble(w, seconds(8));
    peace(w, seconds(10));
    expect_agreement(w);
    for (std::size_t i = 0; i < 2; ++i) {
      const auto n = w.node(i).node().snapshot().comparison.value();
      mended += n.missing + n.left_over + n.differed;
    }
  });
  EXPECT_GT(mended, 0U);
}

// What is on its way is no difference, however slow a node is. (Our own hand can make one: a commit may change a flow whose
// first event waits, and what that tells then hides the change, which comparing mends. One flow that a flush of the kernel
// has ended may be counted as left over.)
TEST(FtFwSimulation, ComparingFindsNothingWhereNothingWasLost) {
  static constexpr Command kMoves[] = {kHarmless[0], kHarmless[3]};
  std::uint64_t done = 0;
  for_each_seed([&done](Trial& run) {
    Random r(run.seed);
    auto o = options_for(Mode::ftfw, r);
    o.kernel_compare = milliseconds(100 + r.below(400));
    World w(2, o, r.next(), run.tally);
    for (std::size_t i = 0; i < 2; ++i) {
      w.node(i).kernel().dump_part = 1 + r.below(20);
      w.node(i).set_slowness(std::chrono::microseconds(r.below(400)));
    }
    peace(w, seconds(4));
    w.set_traffic(milliseconds(1 + r.below(10)));
    w.set_commands(kMoves, milliseconds(50 + r.below(500)));
    w.run_for(seconds(3));
    peace(w, seconds(6));
    for (std::size_t i = 0; i < 2; ++i) {
      const auto n = w.node(i).node().snapshot().comparison.value();
      EXPECT_EQ(fmt::format("{} missing, {} left over, {} that differed", n.missing, n.left_over, n.differed),
                "0 missing, 0 left over, 0 that differed");
      done += n.done;
    }
    expect_order(w);
  });
  EXPECT_GT(done, 0U);
}

// What a stranger slips in between, or a fault of our own would: entries that are wrong, missing or made up, of which no
// number tells. When nothing else happens it is mended within three seconds of the peer's next message that is heard.
TEST(FtFwSimulation, SilentDamage) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(2, options_for(Mode::ftfw, r), r.next(), run.tally);
    w.set_traffic(milliseconds(5 + r.below(20)));
    w.run_for(seconds(3));
    peace(w, seconds(6));
    expect_agreement(w);
    w.forge(0, 1);
    w.run_for(seconds(6));  // two seconds' messages pass for old
    EXPECT_EQ(disagreement(w), "");
    w.set_traffic(milliseconds(5 + r.below(20)));
    for (int i = 0; i < 20; ++i) {
      const std::size_t as = r.below(2);
      w.forge(as, 1 - as);
      w.run_for(milliseconds(r.below(500)));
    }
    heal(w);
    expect_agreement(w);
  });
}

// Nobody asks for anything: whatever restarts, is cut off or falls out of a small resend queue, in the end every external
// cache has what the others have, no more and no less.
void heals_by_itself(Trial& run, std::size_t nodes, const KeepBack& keep = {}) {
  Random r(run.seed);
  auto o = options_for(Mode::ftfw, r);
  keep.set(o);
  if (r.chance(0.5)) o.resend_queue_size = 100 + r.below(300);
  World w(nodes, o, r.next(), run.tally);
  peace(w, seconds(4));
  for (std::uint32_t i = 0, rounds = 1 + r.below(nodes == 2 ? 4 : 2); i < rounds; ++i) {
    trouble(w, seconds(4));
    if (r.chance(0.5)) w.restart(r.below(static_cast<std::uint32_t>(nodes)), AskAtStart::never);
    if (r.chance(0.2)) {
      const std::size_t away = r.below(static_cast<std::uint32_t>(nodes));
      w.network().cut(away, true);
      w.run_for(seconds(1 + r.below(20)));
      w.network().cut(away, false);
    }
  }
  trouble(w, seconds(3));
  heal(w);
  expect_agreement(w);
}

TEST(FtFwSimulation, TwoNodesHealByThemselves) {
  for_each_seed([](Trial& run) { heals_by_itself(run, 2); });
}

TEST(FtFwSimulation, ManyNodesHealByThemselves) {
  for_each_seed([](Trial& run) { heals_by_itself(run, 3 + run.seed % 3); }, 10);
}

// Three nodes on one group: without faults nothing is lost between them either.
TEST(FtFwSimulation, ThreeNodes) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    World w(3, options_for(Mode::ftfw, r), r.next(), run.tally);
    peace(w, seconds(4));
    trouble(w, seconds(5));
    if (r.chance(0.3)) w.restart(r.below(3), AskAtStart::at_once);
    trouble(w, seconds(3));
    heal(w);
    expect_agreement(w);
    const auto lost = [&w] {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < 3; ++i) sum += w.node(i).node().snapshot().network.lost;
      return sum;
    };
    const auto lost_before = lost();
    w.set_traffic(milliseconds(20));
    w.run_for(seconds(2));
    peace(w, seconds(3));
    expect_agreement(w);
    EXPECT_EQ(lost(), lost_before);
  });
}

// After a take-over two kernels have the same connections for as long as the copies live, and a third node can hold them of
// one only. It does not take them from one for the other, again and again.
TEST(FtFwSimulation, TwoWithTheSameFlowsAreRepairedAFewTimes) {
  for_each_seed(
      [](Trial& run) {
        Random r(run.seed);
        World w(3, options_for(Mode::ftfw, r), r.next(), run.tally);
        peace(w, seconds(4));
        w.set_traffic(milliseconds(10));
        w.run_for(seconds(2));
        peace(w, seconds(4));
        w.command(1, Verb::commit, Side::external);
        w.run_for(seconds(2));
        for (std::size_t i = 0; i < 2; ++i) w.command(i, Verb::bulk_send);
        w.run_for(std::chrono::minutes(10));
        std::uint64_t repairs = 0;
        for (const auto& p : w.node(2).node().snapshot().peers) repairs += p.repairs;
        EXPECT_LE(repairs, 120U) << "one in five seconds, of which the link would carry 25";
      },
      10);
}

// --- Everything at once ---

// Those that change nothing but by what they bring to the other kernels.
constexpr Command kWithCommits[] = {
    kHarmless[0], kHarmless[1], kHarmless[2], kHarmless[3], kHarmless[4], kHarmless[5], {.verb = Verb::commit},
};

class Chaos {
 public:
  Chaos(Trial& run, std::size_t nodes, const KeepBack& keep = {})
      : r_(run.seed),
        keep_(keep),
        flushes_(r_.chance(0.3)),
        small_tables_(nodes > 2 && r_.chance(0.25)),
        w_(
            nodes, [this](std::size_t) { return NodeKind{options()}; }, r_.next(), run.tally, first_wall()) {
    for (std::size_t i = 0; i < nodes; ++i) {
      auto& k = w_.node(i).kernel();
      k.filters_events = r_.chance(0.8);
      if (r_.chance(0.3)) k.refused = 0.02 + r_.below(3) * 0.1;
    }
  }

  void run() {
    w_.run_for(milliseconds(r_.below(2000)));
    w_.set_traffic(milliseconds(5 + r_.below(60)));
    const std::span<const Command> commands = flushes_ ? std::span<const Command>(kAny) : kWithCommits;
    if (r_.chance(0.7)) w_.set_commands(commands, milliseconds(100 + r_.below(2000)));
    for (std::uint32_t slices = 5 + r_.below(15); slices > 0; --slices) {
      trouble();
      w_.run_for(milliseconds(100 + r_.below(1500)));
      expect_invariants();
    }
    end();
    heal(w_, kAllHealed);
    expect_invariants();
    expect_agreement(w_);
    for (std::size_t i = 0; i < w_.size(); ++i) {
      EXPECT_EQ(w_.node(i).believes_in_sync().size(), w_.size() - 1) << "node " << i << " knows not that all is well:\n"
                                                                     << peers_of(w_.node(i));
    }
  }

 private:
  static constexpr Duration kAllHealed = seconds(240);

  static std::string peers_of(Node& n) {
    std::string s;
    for (const auto& p : n.node().snapshot().peers) {
      s += fmt::format("{} {}: {} for {} s, heard {} s ago, {} held\n", p.name, p.software, to_string(p.state), p.since,
                       p.heard, p.held);
    }
    return s;
  }

  node::NodeOptions options() {
    auto o = options_for(Mode::ftfw, r_);
    if (r_.chance(0.5)) o.resend_queue_size = 20 + r_.below(300);
    if (small_tables_) o.table_limit = kSmallTable + r_.below(100);
    if (r_.chance(0.3)) o.resync_at_start = AskAtStart::at_once;
    keep_.set(o);
    return o;
  }
  // Half of them where numbers are about to wrap.
  std::uint32_t first_wall() {
    constexpr std::uint32_t kUptime = 100;
    return r_.chance(0.5) ? World::kWallStart : 0U - kUptime - r_.below(2000);
  }
  std::size_t any() { return r_.below(static_cast<std::uint32_t>(w_.size())); }
  std::size_t any_but(std::size_t i) {
    return (i + 1 + r_.below(static_cast<std::uint32_t>(w_.size() - 1))) % w_.size();
  }

  // The state of everything for the next second or so.
  void trouble() {
    auto f = random_faults(r_);
    if (r_.chance(0.2)) f.corrupt = 0.05;
    if (r_.chance(0.2)) f = {};
    w_.network().mend_all();
    set_faults(w_, f);
    const std::size_t one = any();
    const std::size_t other = any_but(one);
    if (r_.chance(0.15)) set_cut(w_, one, true);
    if (r_.chance(0.15)) {
      w_.tally().add(Fault::one_way_cut);
      w_.tally().note(w_.now(), fmt::format("nothing of {} reaches {}", one, other));
      w_.network().cut_way(one, other, true);
    }
    if (r_.chance(0.15)) {
      w_.link_failed(static_cast<std::uint8_t>(r_.below(Network::kLinks)), any(), r_.chance(0.8));
    }
    for (std::size_t i = 0; i < w_.size(); ++i) {
      set_congested(w_, i, r_.chance(0.1));
      const bool slow = r_.chance(0.1);
      if (slow) w_.tally().add(Fault::slow_peer);
      w_.node(i).set_cost(slow ? milliseconds(1 + r_.below(30)) : Duration{});
      w_.node(i).kernel().most_events = r_.chance(0.1) ? 1 + r_.below(5) : 1000;
      if (!w_.node(i).is_up() && r_.chance(0.5)) start(i);
    }
    if (r_.chance(0.1)) w_.stop(any(), milliseconds(100 + r_.below(12000)));
    if (r_.chance(0.15)) death();
    if (r_.chance(0.1)) {
      const std::size_t from = any();
      w_.take_over(from, any_but(from));
    }
    w_.set_expiry(r_.chance(0.3) ? std::optional<Duration>(milliseconds(20 + r_.below(500))) : std::nullopt);
  }

  void death() {
    const std::size_t who = any();
    if (!w_.node(who).is_up()) return;
    w_.kill(who, r_.chance(0.3));
    if (r_.chance(0.5)) start(who);
  }

  void start(std::size_t i) {
    static constexpr std::int32_t kSteps[] = {-86400, -3600, -5, 5, 3600, 86400};
    if (r_.chance(0.3)) {
      w_.tally().add(Fault::clock_jump);
      w_.node(i).step_wall_clock(kSteps[r_.below(6)]);
    }
    w_.start(i);
  }

  void expect_invariants() {
    for (std::size_t i = 0; i < w_.size(); ++i) w_.node(i).expect_bounds();
    if (!flushes_) expect_no_flow_lost(w_);
  }

  // The faults end. Copies that no packet touches run out, and where operators have emptied caches they see to it that
  // these are filled again.
  void end() {
    end_faults(w_);
    for (std::size_t i = 0; i < w_.size(); ++i) {
      auto& n = w_.node(i);
      n.set_cost({});
      n.kernel().refused = 0;
      n.kernel().most_events = 1000;
      if (!n.is_up()) w_.start(i);
    }
    w_.run_for(seconds(14));                                                         // who stands still, and purges
    for (int i = 0; i < 100 && is_any_served(); ++i) w_.run_for(milliseconds(200));  // a commit would make copies again
    if (small_tables_) w_.shrink(kSmallTable / w_.size());
    w_.expire_copies();
    if (!flushes_) return;
    w_.run_for(seconds(4));
    for (std::size_t i = 0; i < w_.size(); ++i) w_.command(i, Verb::resync_kernel);
    w_.run_for(seconds(1));
    for (std::size_t i = 0; i < w_.size(); ++i) w_.command(i, Verb::request_resync);
  }

  bool is_any_served() {
    for (std::size_t i = 0; i < w_.size(); ++i) {
      if (!w_.node(i).clients().empty()) return true;
    }
    return false;
  }

  static constexpr std::uint32_t kSmallTable = 80;

  Random r_;
  KeepBack keep_;
  bool flushes_;
  bool small_tables_;
  World w_;
};

// 2 to 5 nodes; faults of every kind, restarts, take-overs, operators.
TEST(FtFwSimulation, EverythingAtOnce) {
  for_each_seed([](Trial& run) { Chaos(run, 2 + run.seed % 4).run(); }, 5);
}

// Without external cache what a peer tells goes into the kernel at once. Whatever happens on the way, no flow that is alive
// at the peer is taken out of the kernel, wherever its packets pass, and in the end all are there.
void injection_ends_no_live_flow(Trial& run, const KeepBack& keep = {}) {
  Random r(run.seed);
  auto options = options_for(Mode::ftfw, r);
  options.external_cache = false;
  keep.set(options);
  if (r.chance(0.5)) options.resend_queue_size = 100 + r.below(300);
  World w(2, options, r.next(), run.tally);
  const auto expect_no_loss = [&w] {
    EXPECT_EQ(w.wrongly_deleted(), "");
    expect_no_flow_lost(w);
  };
  bool restarted = false;
  peace(w, seconds(4));
  for (int i = 0; i < 4; ++i) {
    w.set_expiry(milliseconds(20 + r.below(200)));
    trouble(w, seconds(2));
    if (r.chance(0.2)) {
      w.restart(r.below(2), AskAtStart::never);
      restarted = true;
    }
    peace(w, seconds(2));
    expect_no_loss();
    w.set_expiry(milliseconds(20 + r.below(200)));
    w.run_for(seconds(1));
    for (std::size_t n = 0; n < 10; ++n) w.move_flow(n % 2, 1 - n % 2);
    peace(w, seconds(3));
    expect_no_loss();
  }
  trouble(w, seconds(4));
  peace(w, kHealed);
  expect_no_loss();
  for (std::size_t i = 0; i < 2; ++i) {
    w.command(i, Verb::bulk_send);  // what ran out is made anew
  }
  w.run_for(seconds(3));
  for (std::size_t i = 0; i < 2; ++i) {
    const auto there = w.node(1 - i).in_kernel();
    for (const auto& [tuple, flow] : w.node(i).in_kernel()) {
      if (!w.node(i).owns(tuple)) continue;
      const auto copy = there.find(tuple);
      ASSERT_NE(copy, there.end()) << name_of(tuple) << " of node " << i << " is missing in the other kernel";
      // What is further on in a kernel is left alone, unless it is known for a copy: the node that a flow has left may have
      // seen more of it than the one that it went to. After a restart nobody knows whose a flow is until a packet passes.
      const bool further =
          (copy->second.status & ~flow.status & kProgress) != 0 || copy->second.proto_state > flow.proto_state;
      const bool kept = restarted || (further && !w.node(i).kernel().begins(tuple));
      EXPECT_TRUE(kept || copy->second.mark == flow.mark)
          << name_of(tuple) << " of node " << i << " is old in the other kernel";
    }
  }
}

TEST(FtFwSimulation, InjectionEndsNoLiveFlow) {
  for_each_seed([](Trial& run) { injection_ends_no_live_flow(run); });
}

// --- WarmStandby ---

// The kernel of a node has what lives there and, as the external cache has it, what lives at the others; the internal cache
// only the former.
void expect_mirrored(World& w, std::size_t i) {
  auto& n = w.node(i);
  const auto internal = n.internal();
  const auto external = n.external();
  const auto there = n.in_kernel();
  std::string s;
  for (const auto& [tuple, flow] : external) {
    const auto it = there.find(tuple);
    if (it == there.end()) {
      s += name_of(tuple) + " is missing; ";
    } else if (!internal.contains(tuple) &&
               (it->second.mark != flow.mark || it->second.proto_state != flow.proto_state ||
                it->second.labels != flow.labels || it->second.snat != flow.snat ||
                it->second.snat_port != flow.snat_port)) {
      s += fmt::format("{} has mark {} state {}, not {} {}; ", name_of(tuple), it->second.mark, it->second.proto_state,
                       flow.mark, flow.proto_state);
    }
  }
  for (const auto& [tuple, flow] : there) {
    if (!internal.contains(tuple) && !external.contains(tuple)) s += name_of(tuple) + " is left; ";
  }
  for (const auto& [tuple, flow] : internal) {
    const auto it = there.find(tuple);
    if (it == there.end()) {
      s += name_of(tuple) + " of the internal cache is not there; ";
    } else {
      s += difference({{tuple, flow}}, {*it});
    }
    if (!n.owns(tuple)) s += name_of(tuple) + " does not live here; ";
  }
  EXPECT_EQ(s, "") << "node " << i;
}

// What the peers have is in each kernel, whatever happens: copies run out there, writes are refused, flows end and begin
// again. Nobody is told of what happens to copies, and none takes the place of a live flow.
TEST(FtFwSimulation, WarmStandbyHasInTheKernelWhatThePeersHave) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    auto options = options_for(Mode::ftfw, r);
    options.mirror_timeout = 5;
    const std::size_t nodes = 2 + r.below(2);
    const bool refuses = r.chance(0.5);  // then what is made anew may be missing for a while
    World w(nodes, options, r.next(), run.tally);
    const auto expect_no_loss = [&w, refuses] {
      EXPECT_EQ(refuses ? "" : w.wrongly_deleted(), "");
      expect_no_flow_lost(w);
    };
    for (std::size_t i = 0; i < nodes && refuses; ++i) w.node(i).kernel().refused = 0.1 + r.below(2) * 0.1;
    peace(w, seconds(4));
    for (int i = 0; i < 3; ++i) {
      w.set_expiry(milliseconds(20 + r.below(200)));
      trouble(w, seconds(3));
      peace(w, seconds(2));
      expect_no_loss();
    }
    for (std::size_t i = 0; i < nodes; ++i) w.node(i).kernel().refused = 0;
    heal(w);
    EXPECT_EQ(disagreement(w), "");
    for (std::size_t i = 0; i < nodes; ++i) expect_mirrored(w, i);
    w.expire_copies();
    w.run_for(seconds(4));
    for (std::size_t i = 0; i < nodes; ++i) expect_mirrored(w, i);
    EXPECT_EQ(disagreement(w), "");
    expect_no_loss();
  });
}

// Take-overs, restarts and losses of power in between, and a commit that a user waits for has only the rest to write.
TEST(FtFwSimulation, WarmStandbyTakesOver) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    auto options = options_for(Mode::ftfw, r);
    options.mirror_timeout = 5;
    const bool purges = r.chance(0.5);
    World w(2, options, r.next(), run.tally);
    const auto expect_no_loss = [&w, purges] {
      if (!purges) expect_no_flow_lost(w);
    };
    peace(w, seconds(4));
    for (int i = 0; i < 3; ++i) {
      trouble(w, seconds(2));
      peace(w, seconds(3));
      const std::size_t from = r.below(2);
      if (r.chance(0.3)) {
        w.restart(from, AskAtStart::never);
        w.run_for(seconds(2));
      }
      w.take_over(from, 1 - from);
      w.set_traffic(milliseconds(5 + r.below(50)));
      w.run_for(milliseconds(r.below(2000)));
      expect_no_loss();
      if (purges) w.command(from, Verb::schedule_purge);
      if (r.chance(0.3)) w.command(1 - from, Verb::flush_caches, Side::external);
      w.run_for(seconds(2));
      if (r.chance(0.3)) {
        w.kill(from, true);
        w.run_for(milliseconds(r.below(3000)));
        w.start(from);
      }
    }
    peace(w, seconds(2));
    for (std::size_t i = 0; i < 2; ++i) w.command(i, Verb::request_resync);  // of a flush nobody is told
    heal(w);
    expect_no_loss();
    EXPECT_EQ(disagreement(w), "");
    // What lived here once may have run out since: it is a copy as soon as the peer says again that it has it.
    w.expire_copies();
    w.run_for(seconds(1));
    heal(w);
    for (std::size_t i = 0; i < 2; ++i) w.command(i, Verb::bulk_send);
    w.run_for(seconds(4));
    for (std::size_t i = 0; i < 2; ++i) expect_mirrored(w, i);
    EXPECT_EQ(disagreement(w), "");
    expect_no_loss();
  });
}

// --- With stock nodes ---

constexpr std::uint64_t kMany = 100;  // seeds, of which a sum says something

// What is wrong in the external caches of two nodes after faults of all kinds and restarts: [0] what node 0 told node 1.
std::array<Difference, 2> pair_after_trouble(Trial& run, bool first_is_stock, bool restarts) {
  Random r(run.seed);
  auto options = options_for(Mode::ftfw, r);
  options.ack_window =
      std::max(options.ack_window, 5U);  // with less two stock nodes acknowledge each other without end
  const auto setup = [&](std::size_t i) { return NodeKind{options, i == 1 || first_is_stock}; };
  World w(2, setup, r.next(), run.tally);
  peace(w, seconds(4));
  for (int i = 0; i < 3; ++i) {
    trouble(w, seconds(4), {});
    if (restarts && r.chance(0.4)) w.restart(r.below(2), AskAtStart::never);
    if (r.chance(0.3)) {
      set_cut(w, 0, true);
      w.run_for(seconds(1 + r.below(10)));
    }
  }
  peace(w, kHealed);
  std::array<Difference, 2> d;
  for (std::size_t i = 0; i < 2; ++i) count_difference(d[i], w.node(1 - i).external(), w.node(i).internal());
  return d;
}

// What a sum that is `n` at one time may be at another, when other messages are lost.
std::uint64_t by_chance(std::uint64_t n) { return n + n / 10 + 20; }

// A pair of one of ours and a stock one is no worse than two stock ones after the same faults: no more is missing, has ended
// long ago, or is in a wrong state. In sums over many seeds: in each other messages are lost. Loss alone leaves nothing wrong.
void is_no_worse_with_stock(bool restarts) {
  std::array<Difference, 2> mixed;
  std::array<Difference, 2> stock;
  std::uint64_t seeds = 0;
  const auto add = [](std::array<Difference, 2>& to, const std::array<Difference, 2>& d) {
    for (std::size_t i = 0; i < 2; ++i) {
      to[i].missing += d[i].missing;
      to[i].ghosts += d[i].ghosts;
      to[i].wrong += d[i].wrong;
    }
  };
  const auto both = [&](Trial& run) {
    ++seeds;
    add(mixed, pair_after_trouble(run, false, restarts));
    Trial other{run.seed, {}};
    add(stock, pair_after_trouble(other, true, restarts));
  };
  for_each_seed(both, 2);
  for (std::size_t i = 0; i < 2; ++i) {
    fmt::print("{}: missing {} ghosts {} wrong {}, stock with stock: missing {} ghosts {} wrong {}\n",
               i == 0 ? "ours to stock" : "stock to ours", mixed[i].missing, mixed[i].ghosts, mixed[i].wrong,
               stock[i].missing, stock[i].ghosts, stock[i].wrong);
    if (seeds < kMany) continue;
    if (!restarts) {
      EXPECT_EQ(mixed[i].missing + mixed[i].ghosts + mixed[i].wrong, 0U);
    }
    EXPECT_LE(mixed[i].missing, by_chance(stock[i].missing));
    EXPECT_LE(mixed[i].ghosts, by_chance(stock[i].ghosts));
    EXPECT_LE(mixed[i].wrong, by_chance(stock[i].wrong));
  }
}

TEST(WithStockSimulation, ALossyLinkIsNoWorseThanBetweenTwoStockNodes) { is_no_worse_with_stock(false); }

TEST(WithStockSimulation, RestartsAreNoWorseThanBetweenTwoStockNodes) { is_no_worse_with_stock(true); }

// Two of ours and a stock one on one group, whose acknowledgements and hellos mean everybody: ours agree all the same.
TEST(WithStockSimulation, OursAgreeInAMixedGroup) {
  const auto mixed = [](Trial& run) {
    Random r(run.seed);
    auto options = options_for(Mode::ftfw, r);
    if (r.chance(0.5)) options.resend_queue_size = 100 + r.below(300);
    const auto setup = [&](std::size_t i) { return NodeKind{options, i == 2}; };
    World w(3, setup, r.next(), run.tally);
    peace(w, seconds(4));
    for (std::uint32_t i = 0, rounds = 1 + r.below(3); i < rounds; ++i) {
      trouble(w, seconds(4));
      if (r.chance(0.5)) w.restart(r.below(3), AskAtStart::never);
    }
    trouble(w, seconds(3));
    peace(w, kHealed);
    for (std::size_t i = 0; i < 2; ++i) {
      State told;
      for (const auto& [tuple, flow] : w.node(i).external()) {
        if (w.node(1 - i).kernel().begins(tuple)) told.emplace(tuple, flow);
      }
      EXPECT_EQ(difference(told, w.node(1 - i).internal()), "") << "node " << i;
    }
  };
  for_each_seed(mixed, 2);
}

// NOTRACK repairs nothing by itself; a resync into an emptied cache does.
void notrack_converges(Trial& run, const KeepBack& keep = {}) {
  Random r(run.seed);
  auto o = options_for(Mode::notrack, r);
  keep.set(o);
  World w(2, o, r.next(), run.tally);
  trouble(w, seconds(5));
  if (r.chance(0.5)) w.restart(r.below(2), AskAtStart::at_once);
  trouble(w, seconds(2));
  peace(w, seconds(2));
  for (std::size_t i = 0; i < 2; ++i) ask_anew(w, i);
  peace(w, seconds(3));
  expect_agreement(w);
}

TEST(NotrackSimulation, ConvergesAfterResync) {
  for_each_seed([](Trial& run) { notrack_converges(run); });
}

// NOTRACK without caches: a node's kernel holds copies of its peer's flows, which no packet touches. That they run out
// there must not end the live flows here, whatever the operators do, and wherever the packets of a flow pass.
TEST(NotrackSimulation, CopiesThatRunOutEndNoLiveFlow) {
  for_each_seed([](Trial& run) {
    Random r(run.seed);
    auto options = options_for(Mode::notrack, r);
    options.internal_cache = options.external_cache = false;
    World w(2, options, r.next(), run.tally);
    static constexpr Command kCommands[] = {{.verb = Verb::dump, .side = Side::internal},
                                            {.verb = Verb::bulk_send},
                                            {.verb = Verb::request_resync},
                                            {.verb = Verb::resync_kernel},
                                            {.verb = Verb::commit},
                                            {.verb = Verb::flush_caches, .side = Side::both}};
    for (int i = 0; i < 4; ++i) {
      w.set_expiry(milliseconds(20 + r.below(200)));
      trouble(w, seconds(2), kCommands);
      peace(w, seconds(1));
      w.set_expiry(milliseconds(20 + r.below(200)));
      w.run_for(seconds(1));
      for (std::size_t n = 0; n < 10; ++n) w.move_flow(n % 2, 1 - n % 2);
      peace(w, seconds(1));
      expect_no_flow_lost(w);
    }
    for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(w.node(i).clients().empty()) << "node " << i;
  });
}

// ALARM heals itself: repetitions bring what was lost, expiry takes what nobody repeats.
void alarm_converges(Trial& run, const KeepBack& keep = {}) {
  Random r(run.seed);
  auto o = options_for(Mode::alarm, r);
  keep.set(o);
  World w(2, o, r.next(), run.tally);
  trouble(w, seconds(8));
  if (r.chance(0.5)) w.restart(r.below(2), AskAtStart::never);
  trouble(w, seconds(4));
  heal(w, seconds(25));  // RefreshTime 5, CacheTimeout 20
  expect_agreement(w);
}

TEST(AlarmSimulation, ConvergesAfterRefreshAndExpiry) {
  for_each_seed([](Trial& run) { alarm_converges(run); });
}

// --- Not everything is told at once ---

// The sums are of what was told, so that nothing is found to differ where nothing was lost; and what ends young is told to
// nobody.
TEST(KeepingBackSimulation, ComparingFindsNothingWhereNothingWasLost) {
  std::uint64_t compared = 0;
  std::size_t untold = 0;
  for_each_seed([&](Trial& run) {
    Random r(run.seed);
    auto o = options_for(Mode::ftfw, r);
    keep_back(run).set(o);
    World w(2, o, r.next(), run.tally);
    peace(w, seconds(4));
    w.set_traffic(milliseconds(1 + r.below(50)));
    for (int i = 0; i < 20; ++i) {
      w.run_for(milliseconds(500));
      for (std::size_t n = 0; n < 2; ++n) {
        const auto announced = w.node(n).node().snapshot().peers.at(0).announced;
        if (announced < w.node(n).internal().size()) ++untold;
      }
    }
    peace(w, seconds(6));
    for (std::size_t n = 0; n < 2; ++n) {
      const auto peer = w.node(n).node().snapshot().peers.at(0);
      EXPECT_EQ(fmt::format("{} differed, {} repairs", peer.differed, peer.repairs), "0 differed, 0 repairs");
      compared += peer.compared;
    }
    expect_agreement(w);
  });
  EXPECT_GT(compared, 0U);
  EXPECT_GT(untold, 0U);
}

TEST(KeepingBackSimulation, TwoNodesHealByThemselves) {
  for_each_seed([](Trial& run) { heals_by_itself(run, 2, keep_back(run)); }, 2);
}

TEST(KeepingBackSimulation, ManyNodesHealByThemselves) {
  for_each_seed([](Trial& run) { heals_by_itself(run, 3 + run.seed % 3, keep_back(run)); }, 20);
}

TEST(KeepingBackSimulation, EverythingAtOnce) {
  for_each_seed([](Trial& run) { Chaos(run, 2 + run.seed % 4, keep_back(run)).run(); }, 10);
}

TEST(KeepingBackSimulation, InjectionEndsNoLiveFlow) {
  for_each_seed([](Trial& run) { injection_ends_no_live_flow(run, keep_back(run)); }, 4);
}

TEST(KeepingBackSimulation, NotrackConvergesAfterResync) {
  for_each_seed([](Trial& run) { notrack_converges(run, keep_back(run)); }, 4);
}

TEST(KeepingBackSimulation, AlarmConvergesAfterRefreshAndExpiry) {
  for_each_seed([](Trial& run) { alarm_converges(run, keep_back(run)); }, 4);
}

}  // namespace
}  // namespace ctsync::sim
