// SPDX-License-Identifier: GPL-2.0-or-later
#include "dump_job.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "harness.h"

namespace ctsync::control {
namespace {

using node::Client;
using node::Command;
using node::ExpectationDumpJob;
using node::FlowDumpJob;
using node::FlowDumpOptions;

// The n-th flow of a table; all differ.
FlowRecord flow_number(std::uint32_t n) {
  FlowRecord r;
  auto& f = r.flow;
  f.orig.family = Family::ipv4;
  f.orig.l4 = kTcp;
  f.orig.src = {10, 0, static_cast<std::uint8_t>(n >> 24), static_cast<std::uint8_t>(n >> 16)};
  f.orig.dst = {10, 77, 2, 2};
  f.orig.src_port = static_cast<std::uint16_t>(n);
  f.orig.dst_port = 80;
  f.status = status::kSeenReply | status::kAssured;
  f.proto_state = 3;
  f.present = has::kPorts | has::kStatus | has::kProtoState;
  return r;
}

class DumpJobTest : public ServerTest {
 protected:
  // Dumps the table for the next client that asks.
  void serve(FlowDumpOptions options = {}) {
    ASSERT_TRUE(server_.open(path_));
    answer = [this, options](const Command&, Client c) {
      loop_.jobs().add(std::make_unique<FlowDumpJob>(table_, clock_, c, options));
    };
  }
  void fill(std::uint32_t from, std::uint32_t to) {
    for (auto n = from; n < to; ++n) ASSERT_NE(table_.insert(flow_number(n), clock_.now()), table::kNoFlow);
  }
  // An option that counts the lines rendered and shows whether the job still exists.
  FlowDumpOptions counting() {
    FlowDumpOptions o;
    o.expires_in = [this, token = token_](table::FlowId) {
      ++rendered_;
      return std::nullopt;
    };
    return o;
  }
  // One for the test, one or two for what `answer` and the job hold.
  long holders() const { return token_.use_count(); }

  table::FlowTable table_{200'000, 0, 1};
  std::shared_ptr<int> token_ = std::make_shared<int>();
  int rendered_ = 0;
};

std::set<std::string> lines_of(const std::string& text) {
  std::set<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) EXPECT_TRUE(lines.insert(line).second) << "twice: " << line;
  return lines;
}

TEST_F(DumpJobTest, TextWithAges) {
  fill(1, 2);
  FlowDumpOptions o;
  o.expires_in = [](table::FlowId) { return 18; };
  serve(o);
  clock_.advance(std::chrono::seconds(4));
  TestPeer peer(path_);
  peer.send(17);
  run_to_end(peer);
  EXPECT_EQ(peer.text(),
            "tcp      6 ESTABLISHED src=10.0.0.0 dst=10.77.2.2 sport=1 dport=80 [ASSURED] [expires in 18s] [active "
            "since 4s]\n");
}

TEST_F(DumpJobTest, Xml) {
  fill(1, 3);
  FlowDumpOptions o;
  o.form = node::Form::xml;
  serve(o);
  TestPeer peer(path_);
  peer.send(25);
  run_to_end(peer);
  const auto lines = lines_of(peer.text());
  EXPECT_EQ(lines.size(), 2U);
  for (const auto& line : lines) EXPECT_TRUE(line.starts_with("<flow>") && line.ends_with("</flow>")) << line;
}

TEST_F(DumpJobTest, JsonIsOneArray) {
  FlowDumpOptions o;
  o.form = node::Form::json;
  serve(o);
  const auto answer_now = [this] {
    TestPeer peer(path_);
    peer.send(1101);
    run_to_end(peer);
    return peer.text();
  };
  EXPECT_EQ(answer_now(), "[]\n");
  fill(0, 1000);
  table_.mark_dead(table_.find(flow_number(0).flow.orig));  // holes at both ends
  table_.release(table_.find(flow_number(999).flow.orig));
  const auto text = answer_now();
  EXPECT_TRUE(text.starts_with("[{\"family\":")) << text;
  EXPECT_TRUE(text.ends_with("}]\n"));
  const auto lines = lines_of(text);
  EXPECT_EQ(lines.size(), 998U);
  EXPECT_EQ(std::ranges::count_if(lines, [](const auto& line) { return line.ends_with("},"); }), 997);
}

TEST_F(DumpJobTest, JsonOfADumpThatIsCutShortIsLeftOpen) {
  fill(0, 20'000);
  FlowDumpOptions o;
  o.form = node::Form::json;
  serve(o);
  TestPeer peer(path_);
  peer.send(1101);
  turns();
  loop_.jobs().cancel_all();
  run_to_end(peer);
  EXPECT_TRUE(peer.text().starts_with("[{"));
  EXPECT_FALSE(peer.text().ends_with("]\n"));
  EXPECT_EQ(peer.text().find("not complete"), std::string::npos);
}

TEST_F(DumpJobTest, EmptyTable) {
  serve();
  TestPeer peer(path_);
  peer.send(16);
  run_to_end(peer);
  EXPECT_EQ(peer.text(), "");
  EXPECT_TRUE(peer.ended());
}

TEST_F(DumpJobTest, DeadEntriesAndHolesAreLeftOut) {
  fill(0, 5);
  table_.mark_dead(table_.find(flow_number(1).flow.orig));
  table_.release(table_.find(flow_number(3).flow.orig));
  serve();
  TestPeer peer(path_);
  peer.send(16);
  run_to_end(peer);
  EXPECT_EQ(lines_of(peer.text()).size(), 3U);
  EXPECT_EQ(peer.text().find("sport=1 "), std::string::npos);
  EXPECT_EQ(peer.text().find("sport=3 "), std::string::npos);
}

TEST_F(DumpJobTest, SlowReaderCostsBoundedMemoryAndNoTime) {
  fill(0, 100'000);
  serve(counting());
  TestPeer peer(path_);
  peer.send(16);
  turns(200);
  // 64 KiB of buffer and what the socket holds (some 200 KiB), at 100 bytes a line.
  EXPECT_GT(rendered_, 100);
  EXPECT_LT(rendered_, 6'000);
  const auto before = rendered_;
  const auto start = clock_.now();
  loop_.run_once(std::chrono::milliseconds(50));
  EXPECT_GE(clock_.now() - start, std::chrono::milliseconds(40)) << "a waiting dump must not keep the loop turning";
  EXPECT_EQ(rendered_, before);

  TestPeer other(path_);
  answer = [](const Command&, Client c) {
    c.write("other");
    c.finish();
  };
  other.send(21);
  run_to_end(other);
  EXPECT_EQ(other.text(), "other") << "another client is served meanwhile";

  run_to_end(peer);
  EXPECT_TRUE(peer.ended());
  EXPECT_EQ(rendered_, 100'000);
  EXPECT_EQ(std::count(peer.text().begin(), peer.text().end(), '\n'), 100'000);
}

TEST_F(DumpJobTest, NoTurnTakesLong) {
  fill(0, 20'000);
  serve(counting());
  TestPeer peer(path_);
  peer.send(16);
  int turns_taken = 0;
  while (peer.read() && turns_taken < 100'000) {
    loop_.run_once(std::chrono::milliseconds(1));
    ++turns_taken;
  }
  EXPECT_EQ(rendered_, 20'000);
  EXPECT_GT(turns_taken, 5) << "20 000 lines take far longer than the time that a job has in a turn";
}

TEST_F(DumpJobTest, JobEndsWhenTheClientLeaves) {
  fill(0, 100'000);
  serve(counting());
  const auto idle = holders();
  {
    TestPeer peer(path_);
    peer.send(16);
    turns(50);
    EXPECT_GT(holders(), idle);
  }
  turns();
  EXPECT_EQ(holders(), idle) << "the job is gone";
  EXPECT_LT(rendered_, 6'000);
  EXPECT_EQ(server_.clients(), 0U);
}

TEST_F(DumpJobTest, ServerClosedMeanwhile) {
  fill(0, 100'000);
  serve(counting());
  TestPeer peer(path_);
  peer.send(16);
  turns(50);
  server_.close();
  turns();
  peer.read();
  EXPECT_TRUE(peer.ended());
  EXPECT_LT(rendered_, 6'000);
}

TEST_F(DumpJobTest, TableThatChangesMeanwhile) {
  fill(0, 50'000);
  serve(counting());
  TestPeer peer(path_);
  peer.send(16);
  turns(50);
  ASSERT_LT(rendered_, 6'000);
  // Gone: every other flow of the second half. New: as many, some in the holes, some behind.
  for (std::uint32_t n = 25'000; n < 50'000; n += 2) table_.release(table_.find(flow_number(n).flow.orig));
  fill(50'000, 70'000);
  run_to_end(peer);
  const auto lines = lines_of(peer.text());
  for (std::uint32_t n = 0; n < 50'000; n += n < 25'000 ? 1 : 2) {
    if (n == 25'000) ++n;
    std::string expected;
    const auto r = flow_number(n);
    text::FlowRenderer().append(expected, r.flow, nullptr);
    const auto at = lines.lower_bound(expected);
    ASSERT_TRUE(at != lines.end() && at->starts_with(expected)) << expected;
  }
}

TEST_F(DumpJobTest, TableFlushedMeanwhile) {
  fill(0, 50'000);
  serve(counting());
  TestPeer peer(path_);
  peer.send(16);
  turns(50);
  for (std::uint32_t n = 0; n < 50'000; ++n) table_.release(table_.find(flow_number(n).flow.orig));
  run_to_end(peer);
  EXPECT_TRUE(peer.ended());
  EXPECT_LT(rendered_, 6'000);
}

TEST_F(DumpJobTest, Expectations) {
  table::ExpectationTable expectations(1000, 1);
  Expectation e;
  e.expected = flow_number(0).flow.orig;
  e.master = e.expected;
  e.mask = e.expected;
  e.present = expect_has::kMaster | expect_has::kExpected | expect_has::kMask | expect_has::kExpectedPorts |
              expect_has::kMasterPorts | expect_has::kMaskPorts;
  for (std::uint16_t n = 0; n < 500; ++n) {
    e.expected.dst_port = n;
    ASSERT_NE(expectations.insert(e, clock_.now()), table::kNoExpect);
  }
  e.expected.dst_port = 7;
  expectations.mark_dead(expectations.find(e));
  clock_.advance(std::chrono::seconds(2));
  ASSERT_TRUE(server_.open(path_));
  answer = [&](const Command& command, Client c) {
    loop_.jobs().add(std::make_unique<ExpectationDumpJob>(expectations, clock_, c, command.form));
  };
  TestPeer text(path_);
  text.send(40);
  run_to_end(text);
  const auto lines = lines_of(text.text());
  EXPECT_EQ(lines.size(), 499U);
  EXPECT_TRUE(lines.begin()->ends_with(" [active since 2s]")) << *lines.begin();
  TestPeer xml(path_);
  xml.send(47);
  run_to_end(xml);
  EXPECT_EQ(lines_of(xml.text()).size(), 499U);
  EXPECT_TRUE(xml.text().starts_with("<flow><layer3"));
}

}  // namespace
}  // namespace ctsync::control
