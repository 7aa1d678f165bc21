// SPDX-License-Identifier: GPL-2.0-or-later
// What the tests against the running kernel share: a private network namespace for each test, flows to write, and
// handlers that keep what they are told.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "ctsync/kernel/netlink_table.h"

namespace ctsync::kernel::test {

// The process is in a fresh, empty network namespace during each test, which vanishes with the last socket in it.
class LiveTest : public testing::Test {
 protected:
  void SetUp() override;
  // Runs a command line in the namespace; false and a test failure unless it ends with 0.
  static void run(const std::string& command);

  NetlinkTable& open_table(const InjectorOptions& options = {});

  SystemClock clock_;
  std::unique_ptr<NetlinkTable> table_;
};

Address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d);
Address v6(std::uint8_t last);  // 2001:db8::LAST

// Confirmed, assured flows with a timeout of 300 s and no reply tuple, as they come over the wire.
FlowRecord make_flow(std::uint8_t l4, Family family, std::uint16_t src_port, std::uint16_t dst_port);
// TCP, established; distinct for each of 60 000 * 256 numbers.
FlowRecord make_tcp(std::uint32_t number);

struct Written final : WriteHandler {
  void on_written(const WriteResult& result, const FlowRecord&) override { results.push_back(result); }
  const WriteResult& of(std::uint64_t cookie) const;
  std::size_t failures() const;
  std::vector<WriteResult> results;
};

struct SeenEvent {
  EventType type;
  Origin origin;
  FlowRecord record;
};
struct Events final : EventHandler {
  void on_flow(EventType type, FlowRecord& record, Origin origin) override { flows.push_back({type, origin, record}); }
  void on_expectation(EventType type, Expectation& e, Origin origin) override {
    expectations.push_back({type, e});
    expectation_origins.push_back(origin);
  }
  void on_bad_event(DecodeStatus) override { ++bad; }
  void on_overrun(BufferGrowth growth, std::uint32_t buffer_size) override {
    overruns.push_back({growth, buffer_size});
  }
  std::vector<SeenEvent> flows;
  std::vector<std::pair<EventType, Expectation>> expectations;
  std::vector<Origin> expectation_origins;
  std::vector<std::pair<BufferGrowth, std::uint32_t>> overruns;
  int bad = 0;
};

struct Entries final : DumpHandler {
  void on_flow(FlowRecord& r, std::span<const std::uint8_t> a) override {
    flows.push_back(r);
    attributes.assign(a.begin(), a.end());
  }
  void on_expectation(Expectation& e) override { expectations.push_back(e); }
  void on_bad_entry(DecodeStatus) override { ++bad; }
  std::vector<FlowRecord> flows;
  std::vector<std::uint8_t> attributes;  // of the last flow
  std::vector<Expectation> expectations;
  int bad = 0;
};

// Steps a dump to its end, in steps of 500 us; the number of steps.
std::size_t dump_all(KernelTable& table, DumpHandler& handler, DumpWhat what = DumpWhat::flows,
                     const DumpOptions& options = {});

}  // namespace ctsync::kernel::test
