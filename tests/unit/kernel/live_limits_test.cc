// SPDX-License-Identifier: GPL-2.0-or-later
// Many entries, errors among them, lost answers, lost events.
#include <dirent.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <set>

#include "live.h"
#include "netlink_message.h"

namespace ctsync::kernel::test {
namespace {

using LiveLimits = LiveTest;

// The descriptor of the socket with that netlink port.
int find_socket(std::uint32_t port_id) {
  for (int fd = 3; fd < 256; ++fd) {
    sockaddr_nl address{};
    socklen_t size = sizeof address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) continue;
    if (address.nl_family == AF_NETLINK && address.nl_pid == port_id) return fd;
  }
  return -1;
}

void write_mixture(Injector& injector, Written& written, std::uint32_t count, std::uint32_t every_bad) {
  for (std::uint32_t i = 0; i < count; ++i) {
    auto r = make_tcp(i);
    if (i % every_bad == 1) {
      r.extra.master = make_tcp(99999).flow.orig;  // not in the kernel
      r.flow.present |= has::kMaster | has::kMasterPorts;
    }
    injector.write(WriteOp::create, r, i, written);
  }
  injector.finish(written);
}

TEST_F(LiveLimits, OneMissingMasterAmongAHundredIsToldApart) {
  auto& table = open_table();
  Injector injector({});
  ASSERT_TRUE(injector.open());
  Written written;
  write_mixture(injector, written, 100, 1000);
  ASSERT_EQ(100U, written.results.size());
  EXPECT_EQ(1U, written.failures());
  EXPECT_EQ(ENOENT, written.of(1).error);
  EXPECT_EQ(WritePhase::create, written.of(1).phase);
  Entries entries;
  dump_all(table, entries);
  EXPECT_EQ(99U, entries.flows.size());
}

TEST_F(LiveLimits, BatchesFullOfErrors) {
  open_table();
  for (const std::uint32_t batch : {1U, 7U, 128U, 256U}) {
    SCOPED_TRACE(batch);
    Injector injector({.be_liberal = true, .batch = batch});
    ASSERT_TRUE(injector.open());
    Written written;
    write_mixture(injector, written, 600, 2);
    ASSERT_EQ(600U, written.results.size());
    for (std::uint32_t i = 0; i < 600; ++i) ASSERT_EQ(i % 2 == 1 ? ENOENT : 0, written.of(i).error) << i;
    Written removed;
    for (std::uint32_t i = 0; i < 600; ++i) injector.write(WriteOp::destroy, make_tcp(i), i, removed);
    injector.finish(removed);
    for (std::uint32_t i = 0; i < 600; ++i) ASSERT_EQ(i % 2 == 1 ? ENOENT : 0, removed.of(i).error) << i;
  }
}

TEST_F(LiveLimits, AnswersThatDoNotFitTheSocketAreAskedForAgain) {
  auto& table = open_table();
  Injector injector({});
  ASSERT_TRUE(injector.open());
  const int fd = find_socket(injector.port_id());
  ASSERT_GE(fd, 0);
  const int tiny = 1;
  ASSERT_EQ(0, ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny));
  for (int round = 0; round < 2; ++round) {  // the second one meets existing entries
    Written written;
    write_mixture(injector, written, 300, 2);
    ASSERT_EQ(300U, written.results.size());
    for (std::uint32_t i = 0; i < 300; ++i) ASSERT_EQ(i % 2 == 1 ? ENOENT : 0, written.of(i).error) << i;
  }
  Entries entries;
  dump_all(table, entries);
  EXPECT_EQ(150U, entries.flows.size());
}

// As above, with look-ups: entries that are further on, some of them without an answer.
TEST_F(LiveLimits, LookUpsThatDoNotFitTheSocketAreAskedForAgain) {
  auto& table = open_table();
  Injector injector({});
  ASSERT_TRUE(injector.open());
  const auto write_all = [&](std::uint32_t status, WriteOp op) {
    Written written;
    for (std::uint32_t i = 0; i < 300; ++i) {
      auto r = make_tcp(i);
      r.flow.status = status;
      injector.write(op, r, i, written);
    }
    injector.finish(written);
    return written;
  };
  write_all(make_tcp(0).flow.status, WriteOp::create);
  const int tiny = 1;
  ASSERT_EQ(0, ::setsockopt(find_socket(injector.port_id()), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny));
  for (const auto op : {WriteOp::create, WriteOp::update}) {
    const auto written = write_all(status::kConfirmed, op);
    ASSERT_EQ(300U, written.results.size());
    for (const auto& r : written.results) {
      ASSERT_EQ(0, r.error) << r.cookie;
      ASSERT_EQ(WritePhase::kept, r.phase) << r.cookie;
    }
  }
  Entries entries;
  dump_all(table, entries);
  EXPECT_EQ(300U, entries.flows.size());
}

TEST_F(LiveLimits, OperationsOnOneFlowKeepTheirOrder) {
  auto& table = open_table();
  auto& writer = table.writer(Origin::inject);
  Written written;
  const auto r = make_tcp(1);
  for (std::uint64_t i = 0; i < 50; ++i) {
    writer.write(WriteOp::create, r, i * 3, written);  // in the way of the next one: needs a second round
    writer.write(WriteOp::create, r, i * 3 + 1, written);
    writer.write(WriteOp::destroy, r, i * 3 + 2, written);
  }
  writer.finish(written);
  EXPECT_EQ(150U, written.results.size());
  EXPECT_EQ(0U, written.failures());
  FlowRecord got;
  EXPECT_FALSE(table.get(r.flow.orig, got).value());
}

TEST_F(LiveLimits, FlowWithoutFamilyNeverReachesTheKernel) {
  auto& table = open_table();
  Written written;
  auto& writer = table.writer(Origin::commit);
  writer.write(WriteOp::create, make_tcp(1), 1, written);
  FlowRecord empty;
  writer.write(WriteOp::destroy, empty, 2, written);  // without a tuple it would flush the table
  writer.write(WriteOp::create, empty, 3, written);
  writer.finish(written);
  EXPECT_EQ(EINVAL, written.of(2).error);
  EXPECT_EQ(EINVAL, written.of(3).error);
  EXPECT_EQ(EINVAL, writer.write_expectation(WriteOp::destroy, {}).error);
  FlowRecord got;
  EXPECT_TRUE(table.get(make_tcp(1).flow.orig, got).value());
  EXPECT_FALSE(table.get(Tuple{}, got).value());
}

TEST_F(LiveLimits, OverrunIsToldOnceAndTheBufferGrows) {
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({.buffer_size = 8192, .buffer_size_max = 40000}));
  EXPECT_EQ(8192U, table.event_stats().buffer_size);
  Written written;
  auto& writer = table.writer(Origin::commit);
  for (std::uint32_t i = 0; i < 1000; ++i) writer.write(WriteOp::create, make_tcp(i), i, written);
  writer.finish(written);
  Events events;
  for (int i = 0; i < 100; ++i) table.read_events(100, events);
  ASSERT_EQ(1U, events.overruns.size());
  EXPECT_EQ(BufferGrowth::doubled, events.overruns[0].first);
  EXPECT_EQ(16384U, events.overruns[0].second);
  EXPECT_EQ(16384U, table.event_stats().buffer_size);
  EXPECT_EQ(1U, table.event_stats().overruns);
  EXPECT_EQ(1U, table.event_stats().catch_failed);
  EXPECT_FALSE(events.flows.empty());
  EXPECT_LT(events.flows.size(), 1000U);
  // Twice more: 32768, and then the ceiling.
  for (std::uint32_t round = 1; round < 3; ++round) {
    for (std::uint32_t i = 0; i < 1000; ++i) writer.write(WriteOp::create, make_tcp(round * 1000 + i), i, written);
    writer.finish(written);
    for (int i = 0; i < 100; ++i) table.read_events(100, events);
  }
  ASSERT_EQ(3U, events.overruns.size());
  EXPECT_EQ(32768U, events.overruns[1].second);
  EXPECT_EQ(BufferGrowth::refused, events.overruns[2].first);
  EXPECT_EQ(32768U, table.event_stats().buffer_size);
}

TEST_F(LiveLimits, BufferSizeAboveTheMaximumIsNotUsed) {
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({.buffer_size = 8192, .buffer_size_max = 0}));
  EXPECT_NE(8192U, table.event_stats().buffer_size);
  auto& second = open_table();
  ASSERT_TRUE(second.open_events({.buffer_size = 2097152, .buffer_size_max = 8388608}));
  EXPECT_EQ(2097152U, second.event_stats().buffer_size);
}

TEST_F(LiveLimits, ReliableEventsReportNoOverrun) {
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({.buffer_size = 8192, .buffer_size_max = 8192, .reliable = true}));
  Written written;
  auto& writer = table.writer(Origin::commit);
  for (std::uint32_t i = 0; i < 1000; ++i) writer.write(WriteOp::create, make_tcp(i), i, written);
  writer.finish(written);
  Events events;
  for (int i = 0; i < 100; ++i) table.read_events(100, events);
  EXPECT_TRUE(events.overruns.empty());
  EXPECT_EQ(0U, table.event_stats().overruns);
}

TEST_F(LiveLimits, ReadStopsAtTheLimit) {
  auto& table = open_table();
  ASSERT_TRUE(table.open_events({.buffer_size = 1U << 20, .buffer_size_max = 1U << 20}));
  Written written;
  auto& writer = table.writer(Origin::commit);
  for (std::uint32_t i = 0; i < 200; ++i) writer.write(WriteOp::create, make_tcp(i), i, written);
  writer.finish(written);
  Events events;
  table.read_events(10, events);
  EXPECT_EQ(10U, events.flows.size());
  table.read_events(100, events);
  EXPECT_EQ(110U, events.flows.size());
  table.read_events(100, events);
  EXPECT_EQ(200U, events.flows.size());
  EXPECT_TRUE(events.flows[199].record.flow.orig == make_tcp(199).flow.orig);
}

// What the record has no place for is in the kernel's own attributes.
TEST_F(LiveLimits, DumpHandsOverTheKernelsAttributes) {
  run("sysctl -qw net.netfilter.nf_conntrack_acct=1");  // of this namespace alone
  auto& table = open_table();
  Written written;
  auto& writer = table.writer(Origin::commit);
  writer.write(WriteOp::create, make_tcp(1), 1, written);
  writer.finish(written);
  Entries plain;
  dump_all(table, plain);
  ASSERT_EQ(1U, plain.flows.size());
  EXPECT_FALSE(plain.flows[0].flow.present & has::kCounters);
  std::set<unsigned> types;
  EXPECT_TRUE(for_each_attribute(plain.attributes, [&](const Attribute& a) { return types.insert(a.type).second; }));
  for (const unsigned type : {CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_COUNTERS_ORIG, CTA_USE})
    EXPECT_TRUE(types.contains(type)) << type;
}

double rate(const char* what, std::uint32_t count, std::chrono::steady_clock::time_point start) {
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const double r = count / took.count();
  std::printf("  %-34s %9.0f/s\n", what, r);
  return r;
}

struct Counting final : WriteHandler {
  void on_written(const WriteResult& r, const FlowRecord&) override { (r.error == 0 ? good : bad) += 1; }
  std::uint32_t good = 0;
  std::uint32_t bad = 0;
};

struct CountingDump final : DumpHandler {
  void on_flow(FlowRecord&, std::span<const std::uint8_t>) override { ++flows; }
  std::uint32_t flows = 0;
};

TEST_F(LiveLimits, TwoHundredThousandFlows) {
  constexpr std::uint32_t kFlows = 200000;
  auto& table = open_table();
  auto& writer = table.writer(Origin::commit);
  std::vector<FlowRecord> flows;
  for (std::uint32_t i = 0; i < kFlows; ++i) flows.push_back(make_tcp(i));
  for (const auto& [name, op] : {std::pair{"create, empty kernel", WriteOp::create},
                                 {"create, all exist", WriteOp::create},
                                 {"replace in place", WriteOp::replace},
                                 {"update in place", WriteOp::update},
                                 {"destroy", WriteOp::destroy},
                                 {"create, empty kernel again", WriteOp::create}}) {
    Counting counting;
    const auto start = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < kFlows; ++i) writer.write(op, flows[i], i, counting);
    writer.finish(counting);
    rate(name, kFlows, start);
    EXPECT_EQ(kFlows, counting.good);
    EXPECT_EQ(0U, counting.bad);
  }
  CountingDump dumped;
  const auto start = std::chrono::steady_clock::now();
  const auto steps = dump_all(table, dumped);
  rate("dump", kFlows, start);
  EXPECT_EQ(kFlows, dumped.flows);
  EXPECT_GT(steps, 10U);  // it does not hold up the loop
}

}  // namespace
}  // namespace ctsync::kernel::test
