// SPDX-License-Identifier: GPL-2.0-or-later
#include "commit_job.h"

#include <fstream>
#include <regex>
#include <sstream>

#include "fixture.h"

namespace ctsync::node::test {
namespace {

using kernel::EventType;
using kernel::WriteOp;

FlowRecord with_snat(FlowRecord r, std::uint8_t last) {
  r.flow.reply_dst = {192, 0, 2, last};
  if (r.flow.knows(has::kReply)) {
    r.flow.status |= status::kSrcNat | status::kSrcNatDone;
  } else {
    r.flow.present |= has::kSnat;
  }
  return r;
}

class CommitTest : public testing::Test {
 protected:
  void peer_has(const FlowRecord& r) { external_.insert(r, clock_.now()); }
  void peer_has(const Expectation& e) { external_expectations_.insert(e, clock_.now()); }

  CommitJob::Context context() {
    return {.internal = internal_,
            .external = cache_,
            .writer = kernel_.writer(kernel::Origin::commit),
            .clock = clock_,
            .log = log_,
            .internal_is_whole = whole_,
            .configured_timeout = configured_,
            .flow_written =
                [this](EventType type, FlowRecord& r) {
                  told_.push_back(fmt::format("{} {}", static_cast<int>(type), r.flow.orig.src_port));
                  EXPECT_TRUE(r.flow.knows(has::kReply));
                  EXPECT_EQ(r.flow.status & status::kLocal, 0U);
                },
            .expectation_written =
                [this](EventType type, Expectation& e) {
                  told_.push_back(fmt::format("e{} {}", static_cast<int>(type), e.expected.dst_port));
                }};
  }

  // Runs the job to its end; the number of its turns.
  int commit(Scope scope = {}) {
    done_ = 0;
    CommitJob job(context(), scope, [this](const CommitJob::Outcome& o) {
      ++done_;
      outcome_ = o;
    });
    int turns = 1;
    while (job.step(clock_.now() + Duration(1)) != Job::State::done) {
      EXPECT_EQ(done_, 0);
      if (++turns > 100000) break;
    }
    return turns;
  }
  std::vector<int> order() const {
    std::vector<int> ports;
    for (const auto& [op, r] : kernel_.written) ports.push_back(r.flow.orig.src_port);
    return ports;
  }
  std::uint32_t kernel_timeout(std::uint16_t n) { return kernel_.flows.at(wire_flow(n).flow.orig).flow.timeout; }
  // The log without the line that names the time it took.
  std::vector<std::string> log_without_time() const {
    auto lines = log_.lines;
    for (auto& l : lines) l = std::regex_replace(l, std::regex("[0-9]+\\.[0-9]{6}"), "T");
    return lines;
  }

  ManualClock clock_;
  RecordingLog log_;
  FakeKernel kernel_;
  table::FlowTable internal_{1000, 0, 1};
  table::FlowTable external_{100000, 0, 2};
  table::ExpectationTable external_expectations_{1000, 3};
  ExternalCache cache_{external_, &external_expectations_, Picture::whole, std::nullopt, clock_};
  std::uint32_t configured_ = 0;
  bool whole_ = false;
  std::vector<std::string> told_;
  int done_ = 0;
  CommitJob::Outcome outcome_;
};

TEST_F(CommitTest, MastersFirstThenRelatedThenExpectations) {
  const auto master = wire_flow(1);
  peer_has(related(wire_flow(3), wire_flow(2)));  // its master is a related flow itself
  peer_has(related(wire_flow(2), master));
  peer_has(master);
  peer_has(wire_flow(4));
  peer_has(expectation(1, 20));
  commit({.flows = true, .expectations = true});
  EXPECT_EQ(kernel_.flows.size(), 4U);
  EXPECT_EQ(kernel_.expectations.size(), 1U);
  const auto ports = order();
  ASSERT_EQ(ports.size(), 5U) << "the first attempt of 3 came before 2";
  EXPECT_EQ(ports, (std::vector{1, 4, 3, 2, 3}));
  EXPECT_EQ(told_, (std::vector<std::string>{"0 1", "0 4", "0 2", "0 3", "e0 20"}));
  EXPECT_EQ(log_without_time(),
            (std::vector<std::string>{"[notice] Committed 4 new entries", "[notice] commit has taken T seconds",
                                      "[notice] Committed 1 new expectations", "[notice] commit has taken T seconds"}));
  EXPECT_EQ(done_, 1);
  EXPECT_TRUE(outcome_.whole);
  EXPECT_EQ(outcome_.flows, 4U);
  EXPECT_EQ(outcome_.expectations, 1U);
  EXPECT_EQ(outcome_.failed, 0U);
}

// A peer sent each flow before its master: every round could write only the last of them.
TEST_F(CommitTest, AChainInTheWorstOrderDoesNotMakeTheCommitEndless) {
  constexpr std::uint16_t kFlows = 500;
  for (std::uint16_t n = 1; n < kFlows; ++n) peer_has(related(wire_flow(n), wire_flow(n + 1)));
  peer_has(wire_flow(kFlows));
  commit();
  EXPECT_LT(kernel_.written.size(), 10U * kFlows);
  EXPECT_GE(kernel_.flows.size(), 8U) << "as deep as chains really are";
  EXPECT_EQ(log_.lines[log_.lines.size() - 3], fmt::format("[notice] Committed {} new entries", kernel_.flows.size()));
  EXPECT_EQ(log_.lines[log_.lines.size() - 2],
            fmt::format("[notice] {} entries can't be committed", kFlows - kernel_.flows.size()));
}

// Done, not failed, and nothing has changed: no event is made up, nothing is logged but the count.
TEST_F(CommitTest, EntryThatIsFurtherOnInTheKernelIsLeftAlone) {
  auto live = kernel_flow(1);
  live.flow.status |= status::kSeenReply | status::kAssured;
  live.flow.mark = 7;
  kernel_.put(live);
  auto older = wire_flow(1);
  older.flow.status &= ~status::kAssured;
  peer_has(older);
  commit();
  EXPECT_EQ(kernel_.flows.at(live.flow.orig).flow.mark, 7U);
  EXPECT_TRUE(told_.empty());
  EXPECT_EQ(log_without_time(),
            (std::vector<std::string>{"[notice] Committed 1 new entries", "[notice] commit has taken T seconds"}));
}

TEST_F(CommitTest, WhatWasCommittedAndNotToldOfSinceIsLeftAlone) {
  whole_ = true;
  peer_has(wire_flow(1));
  commit();
  ASSERT_EQ(kernel_.written.size(), 1U);
  const auto id = internal_.insert(kernel_flow(1), clock_.now());
  commit();
  EXPECT_EQ(kernel_.written.size(), 1U);
  EXPECT_EQ(log_.lines[2], "[notice] Committed 1 new entries");
  whole_ = false;
  commit();
  EXPECT_EQ(kernel_.written.size(), 2U) << "it may have ended unheard";
  whole_ = true;
  cache_.take(wire::MsgType::flow_update, wire_flow(1));
  commit();
  EXPECT_EQ(kernel_.written.size(), 3U) << "packets may have passed over there";
  configured_ = 77;
  commit();
  EXPECT_EQ(kernel_.written.size(), 4U) << "it gets its time anew";
  configured_ = 0;
  internal_.release(id);
  commit();
  EXPECT_EQ(kernel_.written.size(), 5U) << "it has ended";
  kernel_.fault = [](auto, const Flow&) { return ENOMEM; };
  cache_.take(wire::MsgType::flow_update, wire_flow(1));
  commit();
  internal_.insert(kernel_flow(1), clock_.now());
  commit();
  EXPECT_EQ(kernel_.written.size(), 7U) << "it was not written";
}

TEST_F(CommitTest, ScopeIsKept) {
  peer_has(wire_flow(1));
  kernel_.put(kernel_flow(2));
  peer_has(expectation(2, 20));
  commit({.flows = false, .expectations = true});
  EXPECT_EQ(kernel_.flows.size(), 1U);
  EXPECT_EQ(kernel_.expectations.size(), 1U);
  EXPECT_EQ(log_.lines.front(), "[notice] Committed 1 new expectations");
}

// conntrackd sends the bits of a flow table; the flow is in none of this node's.
TEST_F(CommitTest, WhatAPeerHadOffloadedIsNotSoHere) {
  auto r = wire_flow(1);
  r.flow.present |= has::kStatus;
  r.flow.status |= status::kOffload | status::kHwOffload;
  peer_has(r);
  commit();
  EXPECT_EQ(told_, (std::vector<std::string>{"0 1"}));
}

// Lines and their order as in the recorded run of conntrackd; there the master was gone.
TEST_F(CommitTest, FailureIsReportedAsConntrackdDoes) {
  auto r = wire_flow(60858);
  r.flow.orig.dst_port = 41739;
  r.flow.timeout = 432000;
  peer_has(related(r, wire_flow(47496)));
  commit({.flows = true, .expectations = true});
  std::ifstream file(CTSYNC_TEST_DATA "/outputs/1.4.9-commit-error.txt");
  std::vector<std::string> wanted;
  bool found = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find("shutdown received") != std::string::npos) found = false;
    if (found) {
      line = std::regex_replace(line, std::regex("^\\[.*\\] \\(pid=[0-9]+\\) "), "");
      line = std::regex_replace(line, std::regex("^.*\t(?=tcp)"), "");
      wanted.push_back(std::regex_replace(line, std::regex("[0-9]+\\.[0-9]{6}"), "T"));
    }
    if (line.find("committing all external caches") != std::string::npos) found = true;
  }
  ASSERT_EQ(wanted.size(), 7U);
  EXPECT_EQ(log_without_time(), wanted);
}

TEST_F(CommitTest, ManyFailuresDoNotFloodTheLog) {
  for (std::uint16_t n = 1; n <= 1000; ++n) peer_has(wire_flow(n));
  kernel_.fault = [](FakeKernel::Step, const Flow& f) { return f.orig.src_port % 2 == 0 ? EOPNOTSUPP : 0; };
  commit();
  EXPECT_EQ(kernel_.flows.size(), 500U);
  EXPECT_LT(log_.lines.size(), 50U);
  const auto lines = log_without_time();
  EXPECT_EQ(lines[lines.size() - 3], "[notice] Committed 500 new entries");
  EXPECT_EQ(lines[lines.size() - 2], "[notice] 500 entries can't be committed");
}

// --- Timeout, spec replication.md 5.3 ---

TEST(CommitTimeout, Rule) {
  EXPECT_EQ(commit_timeout(180, 432000, 5), 180U);
  EXPECT_EQ(commit_timeout(180, 0, 0), 180U);
  EXPECT_EQ(commit_timeout(0, 100, 40), 60U);
  EXPECT_EQ(commit_timeout(0, 432000, 100), 431900U);
  EXPECT_EQ(commit_timeout(0, 30, 30), 60U);
  EXPECT_EQ(commit_timeout(0, 30, 31), 60U);
  EXPECT_EQ(commit_timeout(0, 0xffffffff, 1), 0xfffffffeU);
}

TEST_F(CommitTest, TimeoutIsWhatIsLeft) {
  peer_has(wire_flow(1));
  auto untold = wire_flow(2);
  untold.flow.present &= ~has::kTimeout;
  peer_has(untold);
  clock_.advance(std::chrono::seconds(1000));
  commit();
  EXPECT_EQ(kernel_timeout(1), 431000U);
  EXPECT_FALSE(kernel_.flows.at(untold.flow.orig).flow.knows(has::kTimeout)) << "the writer knows the default";
  configured_ = 77;
  done_ = 0;
  commit();
  EXPECT_EQ(kernel_timeout(1), 77U);
  EXPECT_EQ(kernel_timeout(2), 77U);
}

// --- Entries that the kernel has ---

TEST_F(CommitTest, UpdatedInPlaceOnlyWithTheSameTranslation) {
  const auto op_for = [this](const FlowRecord& own, const FlowRecord& peers) {
    kernel_.written.clear();
    const auto id = internal_.insert(own, clock_.now());
    const auto from_peer = external_.insert(peers, clock_.now());
    done_ = 0;
    commit();
    internal_.release(id);
    external_.release(from_peer);
    return kernel_.written.at(0).first;
  };
  EXPECT_EQ(op_for(kernel_flow(1), wire_flow(1)), WriteOp::replace);
  EXPECT_EQ(op_for(with_snat(kernel_flow(1), 1), with_snat(wire_flow(1), 1)), WriteOp::replace);
  EXPECT_EQ(op_for(with_snat(kernel_flow(1), 1), with_snat(wire_flow(1), 2)), WriteOp::create);
  EXPECT_EQ(op_for(with_snat(kernel_flow(1), 1), wire_flow(1)), WriteOp::create);
  EXPECT_EQ(op_for(kernel_flow(1), with_snat(wire_flow(1), 1)), WriteOp::create);
  EXPECT_EQ(op_for(kernel_flow(2), wire_flow(1)), WriteOp::create);
}

// The kernel would take an established connection back without a word; a creation is refused, and the entry judged.
TEST_F(CommitTest, WhatTheInternalCacheHasFurtherOnIsNotOverwritten) {
  const auto tcp = [](FlowRecord r, std::uint8_t state) {
    r.flow.orig.l4 = kTcp;
    r.flow.status |= status::kSeenReply | status::kAssured;
    r.flow.proto_state = state;
    r.flow.present |= has::kStatus | has::kProtoState;
    return r;
  };
  internal_.insert(tcp(kernel_flow(1), 4), clock_.now());  // FIN_WAIT
  internal_.insert(tcp(kernel_flow(2), 3), clock_.now());
  internal_.insert(tcp(kernel_flow(3), 7), clock_.now());  // TIME_WAIT: ports used again
  for (const std::uint16_t n : std::vector<std::uint16_t>{1, 2, 3}) peer_has(tcp(wire_flow(n), 3));
  commit();
  ASSERT_EQ(kernel_.written.size(), 3U);
  EXPECT_EQ(kernel_.written[0].first, WriteOp::create);
  EXPECT_EQ(kernel_.written[1].first, WriteOp::replace);
  EXPECT_EQ(kernel_.written[2].first, WriteOp::replace);
}

TEST_F(CommitTest, TellsWhetherAnEntryIsNewOrUpdated) {
  internal_.insert(kernel_flow(1), clock_.now());
  for (const std::uint16_t n : std::vector<std::uint16_t>{1, 2}) kernel_.put(kernel_flow(n));
  for (const std::uint16_t n : std::vector<std::uint16_t>{1, 2, 3}) peer_has(wire_flow(n));
  commit();
  EXPECT_EQ(told_, (std::vector<std::string>{"1 1", "0 2", "0 3"}));
}

// The events of our own sockets are hidden: nobody else would tell that the old entry is gone.
TEST_F(CommitTest, TellsThatAnEntryWasDestroyedAndCouldNotBeCreatedAgain) {
  kernel_.put(kernel_flow(1));
  peer_has(wire_flow(1));
  peer_has(wire_flow(2));
  kernel_.fault = [](FakeKernel::Step s, const Flow&) { return s == FakeKernel::Step::create ? ENOMEM : 0; };
  commit();
  EXPECT_TRUE(kernel_.flows.empty());
  EXPECT_EQ(told_, std::vector<std::string>{"2 1"});
  EXPECT_EQ(log_.lines[0], "[ERROR] commit-create: Cannot allocate memory");
}

TEST_F(CommitTest, EntryThatCannotBeDestroyedStays) {
  kernel_.put(kernel_flow(1));
  peer_has(wire_flow(1));
  kernel_.fault = [](FakeKernel::Step s, const Flow&) { return s == FakeKernel::Step::destroy ? EBUSY : 0; };
  commit();
  EXPECT_TRUE(told_.empty());
  EXPECT_EQ(log_.lines[0], "[ERROR] commit-destroy: Device or resource busy");
}

TEST_F(CommitTest, ExpectationThatCouldNotBeCreatedAgainIsTold) {
  kernel_.put(kernel_flow(1));
  kernel_.expectations.push_back(expectation(1, 20));
  peer_has(expectation(1, 20));
  peer_has(expectation(1, 21));
  kernel_.expectation_fault = [](FakeKernel::Step s, const Expectation& e) {
    return s == FakeKernel::Step::create && e.expected.dst_port == 20 ? ENOMEM : 0;
  };
  commit({.flows = false, .expectations = true});
  EXPECT_EQ(told_, (std::vector<std::string>{"e2 20", "e0 21"}));
}

TEST_F(CommitTest, EntryAsTheKernelHasIt) {
  FlowRecord out;
  auto r = with_snat(wire_flow(1), 9);
  r.flow.status |= status::kExpected | status::kDying;
  make_kernel_flow(out, r);
  EXPECT_EQ(out.flow.reply_dst, (Address{192, 0, 2, 9}));
  EXPECT_EQ(out.flow.reply_src, r.flow.orig.dst);
  EXPECT_EQ(out.flow.reply_src_port, 80);
  EXPECT_EQ(out.flow.reply_dst_port, 1);
  EXPECT_FALSE(out.flow.knows(has::kSnat));
  EXPECT_EQ(out.flow.status & (status::kExpected | status::kDying | status::kConfirmed), status::kConfirmed);
}

// --- Slices ---

TEST_F(CommitTest, WorksInSlicesAndTheCacheMayChange) {
  for (std::uint16_t n = 1; n <= 1000; ++n) peer_has(wire_flow(n));
  CommitJob job(context(), {}, [this](const CommitJob::Outcome& o) {
    ++done_;
    outcome_ = o;
  });
  EXPECT_EQ(job.step(TimePoint::min()), Job::State::more);
  external_.release(external_.find(wire_flow(1000).flow.orig));
  peer_has(wire_flow(2000));
  int turns = 1;
  while (job.step(TimePoint::min()) != Job::State::done) ++turns;
  EXPECT_GT(turns, 20);
  EXPECT_EQ(kernel_.flows.size(), 1000U);
  EXPECT_FALSE(kernel_.has_flow(wire_flow(1000)));
  EXPECT_EQ(done_, 0);
}

// Every second flow: none of the others must be counted.
TEST_F(CommitTest, WritesNoMoreInATurnWhereOnlySomeAreMeant) {
  for (std::uint16_t n = 1; n <= 2000; ++n) peer_has(wire_flow(n));
  for (std::uint32_t parity = 0; parity < 2; ++parity) {
    IdSet only;
    for (auto id = parity; id < external_.end_id(); id += 2) only.insert(id);
    kernel_.flows.clear();
    auto c = context();
    c.only = &only;
    CommitJob job(c, {}, [](const CommitJob::Outcome&) {});
    clock_.tick = std::chrono::microseconds(1);
    std::size_t before = 0;
    do {
      EXPECT_LE(kernel_.flows.size() - before, 64U);
      before = kernel_.flows.size();
    } while (job.step(clock_.now() + Duration(1)) != Job::State::done);
    EXPECT_EQ(kernel_.flows.size(), 1000U);
    clock_.tick = {};
  }
}

}  // namespace
}  // namespace ctsync::node::test
