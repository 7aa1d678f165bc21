// SPDX-License-Identifier: GPL-2.0-or-later
// A whole node between a kernel in memory, a link that records and clients that remember.
#include "ctsync/node/node.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "ctsync/table/flow_sums.h"
#include "ctsync/wire/message_reader.h"
#include "ctsync/wire/packer.h"
#include "fixture.h"
#include "reconciler.h"
#include "role_switch.h"

namespace ctsync::node::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Sink final : public wire::DatagramSink {
 public:
  void send(std::span<const std::span<const std::uint8_t>> datagrams) override {
    count += datagrams.size();
    for (const auto& d : datagrams) {
      wire::MessageReader reader(d);
      wire::Message m;
      wire::ReceiveStats ignored;
      while (reader.next(m, ignored)) {
        last_seq = m.header.seq;
        if (FlowRecord r; wire::is_flow(m.header.type) && wire::decode_flow(m.payload, r) == wire::DecodeStatus::ok) {
          zones.push_back(r.flow.orig.zone);
          sources.push_back(r.flow.orig.src_port);
        }
        if (const auto tail = wire::tail_of(m); !tail.empty()) tails.push_back(wire::read_extension(tail));
      }
    }
  }
  bool congested() const override { return is_congested; }
  std::size_t count = 0;
  bool is_congested = false;
  std::uint32_t last_seq = 0;
  std::vector<wire::Extension> tails;
  std::vector<std::uint16_t> zones, sources;  // of flows: zone, port
};

// A client that reads what it is told to.
class FakeChannel final : public ClientChannel {
 public:
  bool usable() const override { return !finished && !gone; }
  void write(std::string_view t) override { text += t; }
  bool full() const override { return text.size() >= room; }
  void set_waiter(Job* j) override { waiter = j; }
  void finish() override { finished = true; }

  std::string text;
  std::size_t room = 1U << 30;
  bool finished = false;
  bool gone = false;
  Job* waiter = nullptr;
};
using Channel = std::shared_ptr<FakeChannel>;

// With an event socket.
class EventKernel final : public FakeKernel {
 public:
  bool overrun = false;
  std::vector<std::pair<kernel::EventType, FlowRecord>> events;  // that wait
  int refused_dumps = 0;
  unsigned unknown = 0;  // how many of those that are read next are nothing that counts

  void create(const FlowRecord& r) { events.emplace_back(kernel::EventType::new_, put(r)); }
  void end(const FlowRecord& r) {
    flows.erase(r.flow.orig);
    events.emplace_back(kernel::EventType::destroy, r);
  }
  Result<std::unique_ptr<kernel::Dump>> dump(kernel::DumpWhat what, const kernel::DumpOptions& options) override {
    if (refused_dumps > 0) {
      --refused_dumps;
      return fail("can't get kernel conntrack table", EMFILE);
    }
    return FakeKernel::dump(what, options);
  }
  bool read_events(std::uint32_t limit, kernel::EventHandler& handler) override {
    if (std::exchange(overrun, false)) handler.on_overrun(kernel::BufferGrowth::refused, 0);
    const auto n = std::min<std::size_t>(limit, events.size());
    for (std::size_t i = 0; i < n; ++i) handler.on_flow(events[i].first, events[i].second, kernel::Origin::foreign);
    events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(n));
    stats_.received += n - std::exchange(unknown, 0);
    return !events.empty();
  }
};

class NodeTest : public testing::Test {
 protected:
  NodeTest() { options_.table_limit = 10000; }

  void start() {
    node_ = std::make_unique<Node>(kernel_, sink_, clock_, log_, jobs_, options_);
    ASSERT_TRUE(node_->start());
    node_->started();
    node_->end_turn();
    log_.lines.clear();
  }
  Channel ask(const Command& c) {
    auto channel = std::make_shared<FakeChannel>();
    channels_.push_back(channel);
    node_->on_command(c, Client(channel));
    return channel;
  }
  void turn(Duration d = milliseconds(1)) {
    clock_.advance(d);
    while (!kernel_.events.empty() || kernel_.overrun) node_->on_kernel_event();
    if (const auto at = node_->next_deadline(); at && *at <= clock_.now()) node_->on_timer();
    jobs_.step();
    node_->end_turn();
  }
  void turns(int n, Duration d = milliseconds(1)) {
    for (int i = 0; i < n; ++i) turn(d);
  }
  int log_lines(std::string_view with) const {
    return static_cast<int>(
        std::ranges::count_if(log_.lines, [&](const std::string& l) { return l.find(with) != std::string::npos; }));
  }
  // What a peer sends: a control message.
  bool hear(std::uint8_t flags, std::uint32_t seq, std::uint8_t host = 2, std::uint32_t from = 0,
            std::uint32_t to = 0) {
    std::array<std::uint8_t, 64> room;
    ByteWriter w(room);
    if ((flags & wire::flag::kRange) != 0) {
      wire::encode_control(w, flags, seq, from, to);
    } else {
      wire::encode_alive(w, flags, seq);
    }
    return node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, host}}}, w.written());
  }

  // A new flow.
  void hear_flow(std::uint16_t n, std::uint8_t host = 2) { hear_flow(n, host, wire_flow(n)); }
  void hear_flow(std::uint16_t n, std::uint8_t host, const FlowRecord& r) {
    std::array<std::uint8_t, 512> room;
    ByteWriter w(room);
    wire::encode_flow(w, wire::MsgType::flow_new, 0, n, r.flow, nullptr, 0, {});
    node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, host}}}, w.written());
  }

  ManualClock clock_;
  RecordingLog log_;
  EventKernel kernel_;
  Sink sink_;
  Jobs jobs_{clock_};
  NodeOptions options_;
  std::unique_ptr<Node> node_;
  std::vector<Channel> channels_;
};

// --- What strangers can cause ---

TEST_F(NodeTest, ResyncsAndHellosOfAnyoneDoNotFloodTheLog) {
  for (const auto mode : {Mode::ftfw, Mode::notrack}) {
    options_.mode = mode;
    start();
    for (std::uint32_t i = 0; i < 20000; ++i) {
      const auto host = static_cast<std::uint8_t>(1 + i % 200);
      hear(wire::flag::kResync, i, host);
      hear(wire::flag::kAlive | (mode == Mode::ftfw ? wire::flag::kHello : 0), i + 1000000, host);
      if (i % 100 == 0) turn(milliseconds(10));  // two seconds in all
    }
    EXPECT_GE(log_lines("resync requested by other node"), 1);
    EXPECT_LE(log_.lines.size(), 30U);
    node_.reset();
  }
}

// --- Peers up to conntrackd 1.4.6: NAT addresses with their bytes swapped ---

class OldPeerTest : public NodeTest {
 protected:
  OldPeerTest() {
    options_.own_addresses = [this] {
      ++asked_;
      return own_;
    };
  }
  static FlowRecord translated(std::uint16_t n, const Address& to) {
    auto r = wire_flow(n);
    r.flow.reply_dst = to;
    r.flow.present |= has::kSnat;
    return r;
  }
  Address held(std::uint16_t n) const {
    const auto& external = node_->external_flows();
    return external.slot(external.find(wire_flow(n).flow.orig)).flow.reply_dst;
  }

  static constexpr Address kAddress{203, 0, 113, 9};
  static constexpr Address kSwapped{9, 113, 0, 203};
  std::vector<IpAddress> own_{{Family::ipv4, kAddress}};
  int asked_ = 0;
};

TEST_F(OldPeerTest, IsRecognisedByAnAddressOfThisMachineOnceEach) {
  for (const auto mode : {Mode::ftfw, Mode::notrack, Mode::alarm}) {
    options_.mode = mode;
    start();
    hear_flow(1, 2, translated(1, {198, 51, 100, 7}));  // nobody knows that one, either way
    hear_flow(2, 2, translated(2, kAddress));
    EXPECT_EQ(log_lines("bytes swapped"), 0);
    hear_flow(3, 2, translated(3, kSwapped));
    turn(seconds(2));
    hear_flow(4, 2, translated(4, kSwapped));
    hear_flow(60001, 3, translated(5, kSwapped));
    turn(seconds(2));
    hear_flow(60002, 3, translated(6, kSwapped));
    EXPECT_EQ(log_lines("peer 192.168.0.2 tells NAT addresses with their bytes swapped (9.113.0.203 for 203.0.113.9)"),
              1);
    EXPECT_EQ(log_lines("peer 192.168.0.3 tells NAT addresses with their bytes swapped"), 1);
    EXPECT_EQ(log_lines("bytes swapped"), 2);
    EXPECT_EQ(held(3), kSwapped);  // it may mean it
    node_.reset();
  }
}

TEST_F(OldPeerTest, IsRecognisedByWhatTheKernelTranslatesTo) {
  own_.clear();
  start();
  hear_flow(1, 2, translated(1, kSwapped));
  EXPECT_EQ(log_lines("bytes swapped"), 0);
  auto here = kernel_flow(100);
  here.flow.reply_dst = kAddress;
  kernel_.create(here);
  turn();
  hear_flow(2, 2, translated(2, kSwapped));
  EXPECT_EQ(log_lines("bytes swapped"), 1);
}

TEST_F(OldPeerTest, AnAddressThatIsKnownAsItIsSaysNothing) {
  own_.push_back({Family::ipv4, kSwapped});
  start();
  hear_flow(1, 2, translated(1, kSwapped));
  EXPECT_EQ(log_lines("bytes swapped"), 0);
}

TEST_F(OldPeerTest, IsReadAsItMeansIfSoWanted) {
  options_.encode.swap_nat = true;
  start();
  hear_flow(1, 2, translated(1, kSwapped));
  EXPECT_EQ(held(1), kAddress);
  EXPECT_TRUE(log_.lines.empty());
  hear_flow(60001, 3, translated(2, kAddress));
  EXPECT_EQ(log_lines("peer 192.168.0.3 tells NAT addresses as conntrackd does from 1.4.7 on, `SwapNATAddresses' turns "
                      "203.0.113.9 into 9.113.0.203: remove it"),
            1);
}

TEST_F(OldPeerTest, TheAddressesOfTheMachineAreReadNowAndThen) {
  start();
  for (std::uint16_t n = 1; n <= 100; ++n) hear_flow(n, 2, translated(n, {198, 51, 100, 7}));
  EXPECT_EQ(asked_, 1);
  clock_.advance(seconds(10));
  hear_flow(101, 2, translated(101, {198, 51, 100, 7}));
  EXPECT_EQ(asked_, 2);
}

// --- What is malformed is told, with its reason and sender ---

class MalformedTest : public NodeTest {
 protected:
  void put(const std::vector<std::uint8_t>& bytes, std::uint8_t host = 2) {
    node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, host}}}, bytes);
  }
  std::string told(std::string_view why, int host = 2) const {
    return fmt::format("[warning] malformed message from 192.168.0.{}: {}", host, why);
  }

  const std::vector<std::uint8_t> cut_{0x10, 0, 0};
  // A new TCP connection, and the end of one: addresses and protocol, but no ports.
  const std::vector<std::uint8_t> new_{0x10, 0, 0,  28, 0, 0, 0, 3, 0, 12, 0, 0, 10, 0,
                                       0,    1, 10, 0,  0, 2, 0, 5, 0, 2,  6, 0, 0,  0};
  const std::vector<std::uint8_t> end_{0x12, 0, 0,  28, 0, 0, 0, 4, 0, 12, 0, 0, 10, 0,
                                       0,    1, 10, 0,  0, 2, 0, 5, 0, 2,  6, 0, 0,  0};
};

TEST_F(MalformedTest, EachKindHasItsLineOnce) {
  start();
  const std::vector<std::pair<std::vector<std::uint8_t>, std::string>> kinds{
      {{0x20, 0, 0, 8, 0, 0, 0, 1}, "another protocol version than 1"},
      {{0x17, 0, 0, 8, 0, 0, 0, 1}, "type and flags mean nothing in this mode"},
      {cut_, "its end is missing"},
      {{0x10, 0, 0, 0, 0, 0, 0, 1}, "a length that cannot be"},
      {{0x10, 0, 0, 16, 0, 0, 0, 1, 0, 8, 0, 99, 0, 0, 0, 0}, "an attribute that is unknown or has a wrong size"},
      {{0x10, 0, 0, 16, 0, 0, 0, 2, 0, 5, 0, 2, 6, 0, 0, 0}, "no addresses or no protocol"},
      {new_, "a connection without ports, though its protocol has them"},
      {end_, "the end of a connection without ports, as conntrackd up to 1.4.6 tells it with `DisableInternalCache'"}};
  std::vector<std::string> expected;
  for (const auto& [bytes, why] : kinds) {
    put(bytes);
    put(bytes);
    turn(seconds(1));
    expected.push_back(told(why));
  }
  std::erase_if(log_.lines, [](const std::string& l) { return l.find("malformed") == std::string::npos; });
  EXPECT_EQ(log_.lines, expected);
  const auto network = node_->snapshot().network;
  EXPECT_EQ(network.ends_without_ports, 1U);  // the second one had the same number
  EXPECT_EQ(network.bad_payload, 4U);
  EXPECT_EQ(network.malformed, 12U);
}

TEST_F(MalformedTest, TypesThatNobodyKnowsInAlarmMode) {
  options_.mode = Mode::alarm;
  start();
  put({0x17, 0, 0, 8, 0, 0, 0, 1});
  EXPECT_EQ(log_.lines, std::vector{told("an unknown type")});
}

TEST_F(MalformedTest, EachSenderHasItsLineAndItsMinute) {
  start();
  for (int i = 0; i < 5; ++i) put(cut_, 2);
  put(cut_, 3);  // too soon after that of the other one
  turn(seconds(1));
  put(cut_, 3);
  turn(seconds(58));
  put(cut_, 2);
  EXPECT_EQ(log_.lines,
            (std::vector{told("its end is missing"), told("its end is missing (1 more since the last such line)", 3)}));
  turn(seconds(2));
  put(cut_, 2);
  EXPECT_EQ(log_.lines.back(), told("its end is missing (5 more since the last such line)"));
}

TEST_F(MalformedTest, SendersWithoutEndDoNotFloodTheLog) {
  start();
  for (int i = 0; i < 20000; ++i) {
    put(cut_, static_cast<std::uint8_t>(i));
    if (i % 100 == 0) turn(milliseconds(10));  // two seconds in all
  }
  EXPECT_GE(log_lines("malformed"), 2);
  EXPECT_LE(log_lines("malformed"), 3);
}

// --- What is not synchronised ---

TEST_F(NodeTest, MarksAndLabelsAreNotTakenWhereTheyAreLeftOut) {
  for (const auto left_out : {0U, has::kMark, has::kLabels}) {
    options_.encode.left_out = left_out;
    start();
    auto r = with_mark(wire_flow(1), 7);
    r.flow.present |= has::kLabels;
    r.extra.labels = {8, 0, 0, 0};
    std::array<std::uint8_t, 512> room;
    ByteWriter w(room);
    wire::encode_flow(w, wire::MsgType::flow_new, 0, 1, r.flow, &r.extra, 0, {});
    node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, 2}}}, w.written());
    const auto& external = node_->external_flows();
    const auto held = external.slot(external.find(r.flow.orig)).flow.present;
    EXPECT_EQ(held & (has::kMark | has::kLabels), (has::kMark | has::kLabels) & ~left_out);
    node_.reset();
  }
}

// --- Three nodes: what one has acknowledged is freed, though another lacks it ---

TEST_F(NodeTest, WhatEachPeerLacksIsToldOfThatPeer) {
  for (std::uint16_t n = 1; n <= 10; ++n) kernel_.put(kernel_flow(n));
  options_.mode = Mode::ftfw;
  start();
  hear(wire::flag::kAlive | wire::flag::kHello, 100, 2);
  hear(wire::flag::kAlive | wire::flag::kHello, 9000, 3);
  const auto bulk = [&] {
    const std::uint32_t first = sink_.last_seq + 1;
    ask({.verb = Verb::bulk_send});
    turns(5);
    return first;
  };
  const auto first = bulk();
  hear(wire::flag::kAck, 101, 2, first, sink_.last_seq);
  hear(wire::flag::kNack, 9001, 3, first + 1, first + 2);
  EXPECT_EQ(log_lines("peer 192.168.0.3 asks for messages"), 1);
  // At the same time the other one lacks something, too.
  const auto second = bulk();
  hear(wire::flag::kAck, 9002, 3, first, sink_.last_seq);
  hear(wire::flag::kNack, 102, 2, second + 1, second + 2);
  turns(2, seconds(1));
  EXPECT_EQ(log_lines("peer 192.168.0.2 asks for messages"), 1);
  // So soon again it is told later, together, though nothing more happens.
  hear(wire::flag::kAck, 103, 2, second, sink_.last_seq);
  hear(wire::flag::kNack, 9003, 3, second + 4, second + 5);
  hear(wire::flag::kNack, 9004, 3, second + 2, second + 2);
  turns(5, seconds(1));
  EXPECT_EQ(log_lines("peer 192.168.0.3 asks for messages"), 1);
  turns(6, seconds(1));
  EXPECT_EQ(log_lines(fmt::format("peer 192.168.0.3 asks for messages {} to {}", second + 2, second + 5)), 1);
  turns(20, seconds(1));
  EXPECT_EQ(log_lines("asks for messages"), 3);
}

// --- Comparing with a peer ---

// The peer is node 7; every message that the node sends it acknowledges as soon as it is heard.
class CompareTest : public NodeTest {
 protected:
  CompareTest() {
    options_.mode = Mode::ftfw;
    options_.self = {.node = 1, .epoch = 5};
    start();
    say({}, wire::flag::kAlive | wire::flag::kHello);
    hear_numbered_flow(1);
    hear_numbered_flow(2);
    say({.bulk_end = wire::BulkEnd{.first = first_, .count = 2}});
    say({}, wire::flag::kAck);  // it knows that it has said nothing before
    turns(5);
    sink_.tails.clear();
  }
  // Somebody says it, no turn follows.
  void put_in(const replication::PeerAddress& from, std::uint32_t seq, std::uint32_t node, wire::Extension tail,
              std::uint8_t flags = wire::flag::kAlive) {
    tail.capabilities = wire::Capabilities{.bits = bits_, .node = node, .host = host_};
    tail.addressee = wire::Addressee{.node = 1, .heard = first_};
    std::array<std::uint8_t, 1024> room;
    ByteWriter w(room);
    if ((flags & wire::flag::kRange) != 0) {
      wire::encode_control(w, flags, seq, sink_.last_seq, sink_.last_seq);
    } else {
      wire::encode_alive(w, flags, seq);
    }
    wire::write_extension(w, tail);
    wire::set_length(w, 0);
    node_->on_datagram(from, w.written());
  }
  static replication::PeerAddress at(std::uint8_t host, std::uint8_t link = 0) {
    return {.link = link, .address = {Family::ipv4, {192, 168, link, host}}};
  }
  void say(const wire::Extension& tail, std::uint8_t flags = wire::flag::kAlive) {
    put_in(at(2), ++seq_, 7, tail, flags);
    turn();
  }
  void hear_numbered_flow(std::uint16_t n, std::uint32_t mark = 0, wire::MsgType type = wire::MsgType::flow_new) {
    auto r = wire_flow(n);
    r.flow.mark = mark;
    r.flow.present |= has::kMark;
    std::array<std::uint8_t, 512> room;
    ByteWriter w(room);
    wire::encode_flow(w, type, 0, ++seq_, r.flow, nullptr, 0, {});
    node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, 2}}}, w.written());
  }
  // The sums of a peer that has these flows.
  static table::FlowSums sums_of(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& flows) {
    table::FlowSums sums;
    for (const auto& [n, mark] : flows) {
      auto r = wire_flow(n);
      r.flow.mark = mark;
      r.flow.present |= has::kMark;
      sums.add(print_of(r.flow, nullptr, true));
    }
    return sums;
  }
  // As the peer does in two seconds: all sums of groups, and what is asked for. The buckets of requests for repairs.
  std::vector<std::vector<std::uint16_t>> compare(const table::FlowSums& sums) {
    sink_.tails.clear();
    for (const auto first : kHalves) {
      wire::Sums s{.first = first, .count = 32};
      for (std::uint16_t i = 0; i < 32; ++i) s.sums[i] = sums.group(first + i);
      say({.sums = s});
      turn(seconds(1));
    }
    for (const auto groups = wanted(); const auto group : groups) {
      for (const auto half : kHalves) {
        const auto first = static_cast<std::uint16_t>(64 * group + half);
        wire::Sums s{.of_buckets = true, .first = first, .count = 32};
        for (std::uint16_t i = 0; i < 32; ++i) s.sums[i] = sums.bucket(first + i);
        say({.sums = s});
      }
    }
    std::vector<std::vector<std::uint16_t>> asked;
    for (const auto& t : std::exchange(sink_.tails, {})) {
      if (!t.repair_request) continue;
      request_ = t.repair_request->number;
      asked.emplace_back(t.repair_request->all().begin(), t.repair_request->all().end());
    }
    return asked;
  }
  void end_repair(std::uint32_t first) {
    say({.repair_end = wire::RepairEnd{.number = request_, .first = first}});
    turns(3);
  }
  std::vector<std::uint16_t> wanted() const {
    std::vector<std::uint16_t> groups;
    for (const auto& t : sink_.tails) {
      for (std::uint16_t g = 0; t.sums_wanted && g < 64; ++g) {
        if ((*t.sums_wanted >> g & 1) != 0) groups.push_back(g);
      }
    }
    return groups;
  }
  // The first flow from `from` on in the bucket of flow n.
  static std::uint16_t same_bucket(std::uint16_t n, std::uint16_t from) {
    while (bucket(from) != bucket(n)) ++from;
    return from;
  }
  static std::uint16_t bucket(std::uint16_t n) { return static_cast<std::uint16_t>(bucket_of(wire_flow(n).flow.orig)); }

  static constexpr std::array<std::uint16_t, 2> kHalves{0, 32};
  int tails_with(auto&& has) const { return static_cast<int>(std::ranges::count_if(sink_.tails, has)); }

  const std::uint32_t first_ = 101;
  std::uint32_t bits_ = 0;
  std::uint64_t host_ = 0;
  std::uint32_t seq_ = 100;
  std::uint32_t request_ = 0;
};

TEST_F(CompareTest, NothingIsAskedOfWhoHasTheSame) {
  EXPECT_TRUE(compare(sums_of({{1, 0}, {2, 0}})).empty());
  EXPECT_EQ(log_lines("mended"), 0);
}

// One request at a time: what the other half of the groups shows waits for the next time.
TEST_F(CompareTest, WhatDiffersIsAskedForMendedAndNamed) {
  const auto sums = sums_of({{1, 5}, {3, 0}});
  std::vector<std::uint16_t> asked;
  for (int i = 0; i < 3; ++i) {
    for (const auto& buckets : compare(sums)) {
      asked.insert(asked.end(), buckets.begin(), buckets.end());
      const auto first = seq_ + 1;
      for (const auto b : buckets) {
        if (b == bucket(1)) hear_numbered_flow(1, 5, wire::MsgType::flow_update);
        if (b == bucket(3)) hear_numbered_flow(3);
      }
      end_repair(first);
    }
  }
  EXPECT_EQ(asked.size(), 3U);
  for (std::uint16_t n = 1; n <= 3; ++n) EXPECT_EQ(std::ranges::count(asked, bucket(n)), 1) << n;
  EXPECT_TRUE(compare(sums).empty());
  EXPECT_EQ(log_lines("mended from peer 192.168.0.2: mark differed: tcp      6 ESTABLISHED src=10.77.1.2"), 1);
  EXPECT_EQ(log_lines("it had ended there"), 1);
  EXPECT_EQ(log_lines("it was missing"), 1);
  EXPECT_EQ(log_lines("mended"), 3);
}

TEST_F(CompareTest, WhatOnlyChangedDuringARepairIsNotNamedAsMended) {
  const auto other = same_bucket(1, 3);
  const auto third = same_bucket(1, static_cast<std::uint16_t>(other + 1));
  hear_numbered_flow(other);
  turns(1);
  ASSERT_EQ(compare(sums_of({{1, 5}, {2, 0}, {other, 0}})).size(), 1U);
  const auto first = seq_ + 1;
  hear_numbered_flow(other, 6, wire::MsgType::flow_update);
  hear_numbered_flow(third);
  hear_numbered_flow(1, 5, wire::MsgType::flow_update);
  hear_numbered_flow(third, 0, wire::MsgType::flow_delete);
  hear_numbered_flow(other, 7, wire::MsgType::flow_update);
  end_repair(first);
  EXPECT_EQ(log_lines("mark differed: tcp      6 ESTABLISHED src=10.77.1.2 dst=10.77.2.2 sport=1 "), 1);
  EXPECT_EQ(log_lines("mended"), 1);
}

// As long as nothing else happens to the bucket.
TEST_F(CompareTest, AllThatDiffersInABucketIsNamed) {
  const auto other = same_bucket(1, 3);
  ASSERT_EQ(compare(sums_of({{1, 5}, {2, 0}, {other, 0}})).size(), 1U);
  const auto first = seq_ + 1;
  hear_numbered_flow(1, 5, wire::MsgType::flow_update);
  hear_numbered_flow(other);
  end_repair(first);
  EXPECT_EQ(log_lines("mark differed"), 1);
  EXPECT_EQ(log_lines("it was missing"), 1);
}

TEST_F(CompareTest, WhatStaysDifferentIsLeftAlone) {
  const auto sums = sums_of({{1, 5}, {2, 0}});
  int asked = 0;
  for (int i = 0; i < 20; ++i) {
    if (compare(sums).empty()) continue;
    ++asked;
    const auto first = seq_ + 1;
    hear_numbered_flow(1, 4, wire::MsgType::flow_update);  // never what the sums say
    end_repair(first);
  }
  EXPECT_EQ(asked, Reconciler::kTries);
  EXPECT_EQ(log_lines("differ from the external cache again and again"), 1);
  // Something else that differs is not left alone for it.
  const auto more = compare(sums_of({{1, 5}, {2, 9}}));
  ASSERT_EQ(more.size(), 1U);
  EXPECT_EQ(more[0], std::vector{bucket(2)});
  clock_.advance(Reconciler::kFirstPause);
  EXPECT_FALSE(compare(sums).empty());
}

// The sweep of a bucket passed for that of the bulk that waited behind it: what this had yet to remove was taken for
// another difference.
TEST_F(CompareTest, NothingIsComparedUntilTheSweepOfABulkIsThrough) {
  std::vector<std::pair<std::uint16_t, std::uint32_t>> flows{{1, 5}, {2, 0}};
  for (std::uint16_t n = 3; n <= 200; ++n) {  // so that a sweep takes several turns
    hear_numbered_flow(n);
    flows.emplace_back(n, 0);
  }
  const auto asked = compare(sums_of(flows));
  ASSERT_EQ(asked, (std::vector<std::vector<std::uint16_t>>{{bucket(1)}}));
  turns(30, milliseconds(10));
  const auto first = seq_ + 1;
  hear_numbered_flow(1, 5, wire::MsgType::flow_update);
  put_in(at(2), ++seq_, 7, {.repair_end = wire::RepairEnd{.number = request_, .first = first}});
  clock_.tick = std::chrono::microseconds(400);
  jobs_.step();  // it begins
  clock_.tick = {};
  const auto all = seq_ + 1;
  for (const auto& [n, mark] : flows) {
    if (n != 2) hear_numbered_flow(n, mark, wire::MsgType::flow_update);
  }
  put_in(at(2), ++seq_, 7, {.bulk_end = wire::BulkEnd{.first = all, .count = 199}});
  jobs_.step();
  EXPECT_EQ(node_->external_flows().live(), 200U) << "the bulk's sweep is to come";
  std::erase_if(flows, [](const auto& f) { return f.first == 2; });
  const auto sums = sums_of(flows);
  wire::Sums s{.first = static_cast<std::uint16_t>(bucket(2) / 64 & ~31U), .count = 32};
  for (std::uint16_t i = 0; i < 32; ++i) s.sums[i] = sums.group(s.first + i);
  sink_.tails.clear();
  put_in(at(2), ++seq_, 7, {.sums = s});
  node_->end_turn();
  EXPECT_TRUE(wanted().empty());
  turns(5, milliseconds(100));
  EXPECT_EQ(node_->external_flows().live(), 199U);
}

TEST_F(CompareTest, AnEmptiedCacheStaysEmptyForAMinute) {
  ask({.verb = Verb::flush_caches, .what = What::flows, .side = Side::external});
  turns(5);
  const auto sums = sums_of({{1, 0}, {2, 0}});
  EXPECT_TRUE(compare(sums).empty());
  clock_.advance(Reconciler::kAfterFlush);
  EXPECT_FALSE(compare(sums).empty());
}

// --- Flushes, purges and commits together ---

// --- What a stranger on the link can make a node of our kind do ---

// It was told as much as the link takes, 450 KB a second.
TEST_F(CompareTest, WhoAsksForAllSumsAllTheTimeIsToldThemNowAndThen) {
  const auto of_buckets = [](const wire::Extension& t) { return t.sums.count != 0 && t.sums.of_buckets; };
  sink_.tails.clear();
  for (int i = 0; i < 1000; ++i) {
    put_in(at(9), 5000 + static_cast<std::uint32_t>(i), 99, {.sums_wanted = ~std::uint64_t{0}});
    turn(milliseconds(10));
  }
  EXPECT_LE(tails_with(of_buckets), 128 * 6);
  // Who asks once is told at once.
  turns(300, milliseconds(10));
  sink_.tails.clear();
  say({.sums_wanted = 1});
  turns(10);
  EXPECT_EQ(tails_with(of_buckets), 2);
}

// Each was a walk over the external cache.
TEST_F(CompareTest, EndsOfBulksWithoutEndMakeFewWalks) {
  int walks = 0;
  for (int i = 0; i < 1000; ++i) {
    put_in(at(9), 5000 + static_cast<std::uint32_t>(i), 99, {.bulk_end = wire::BulkEnd{.first = 5000, .count = 1}});
    clock_.advance(milliseconds(1));
    node_->on_timer();
    if (jobs_.ready()) ++walks;
    jobs_.step();
  }
  EXPECT_GE(walks, 3);
  EXPECT_LE(walks, 6);
}

// One peer that says it is ever another node took all places of those that are to hear of the end of a repair.
TEST_F(CompareTest, ManyNodesOfOnePeerKeepNobodyFromARepair) {
  say({.repair_request = wire::RepairRequest{.number = 1, .count = 1, .buckets = {3}}});
  turns(2);  // a repair: the next one waits
  sink_.tails.clear();
  for (std::uint32_t node = 100; node < 200; ++node) {
    put_in(at(9), 5000 + node, node, {.repair_request = wire::RepairRequest{.number = 1, .count = 1, .buckets = {1}}});
  }
  put_in(at(2), ++seq_, 7, {.repair_request = wire::RepairRequest{.number = 2, .count = 1, .buckets = {2}}});
  turns(5, milliseconds(100));
  EXPECT_EQ(tails_with([](const wire::Extension& t) { return t.repair_end && t.addressee->node == 7; }), 1);
  EXPECT_EQ(tails_with([](const wire::Extension& t) { return t.repair_end.has_value(); }), 2);
}

TEST_F(CompareTest, PeersThatComeAndGoDoNotFloodTheLog) {
  for (std::uint32_t round = 0; round < 10; ++round) {
    for (std::uint32_t i = 0; i < 60; ++i) {
      hear(wire::flag::kResync, i, static_cast<std::uint8_t>(10 + i + 60 * (round % 4)));
    }
    for (int i = 0; i < 24; ++i) {
      clock_.advance(milliseconds(500));
      node_->on_timer();
    }
  }
  EXPECT_LE(log_lines("is lost"), 8 + 120 / 5);
  EXPECT_EQ(log_lines("peer 192.168.0.2 is lost"), 1) << "that is no stranger";
}

// --- A node that comes back elsewhere ---

class SuccessorTest : public CompareTest {
 protected:
  // The peer is another one, on the other link: it has flow 1 still, and 2 no more.
  void come_back() {
    std::array<std::uint8_t, 512> room;
    ByteWriter w(room);
    put_in(at(2, 1), 70000, 8, {}, wire::flag::kAlive | wire::flag::kHello);
    auto r = wire_flow(1);
    wire::encode_flow(w, wire::MsgType::flow_new, 0, 70001, r.flow, nullptr, 0, {});
    node_->on_datagram(at(2, 1), w.written());
    put_in(at(2, 1), 70002, 8, {.bulk_end = wire::BulkEnd{.first = 70000, .count = 1}});
    turns(5);
  }
  void go_on(int n) {
    for (int i = 0; i < n; ++i) {
      turn(seconds(1));
      put_in(at(2, 1), next_++, 8, {});
    }
    turns(5, milliseconds(100));
  }
  bool holds(std::uint16_t n) const { return node_->external_flows().find(wire_flow(n).flow.orig) != table::kNoFlow; }

  std::uint32_t next_ = 70003;
};

// What had ended meanwhile stayed for ever: nobody told of it, and nothing was compared with it.
TEST_F(SuccessorTest, WhatItHadBeforeAndDoesNotTellAgainHasEnded) {
  host_ = 5;
  say({});
  come_back();
  go_on(5);
  EXPECT_TRUE(holds(1) && holds(2)) << "the other one may be alive";
  EXPECT_EQ(node_->snapshot().peers.size(), 2U);
  go_on(10);
  EXPECT_TRUE(holds(1) && !holds(2));
  EXPECT_EQ(node_->snapshot().peers.size(), 1U);
}

TEST_F(SuccessorTest, AnotherHostIsNoSuccessor) {
  host_ = 5;
  say({});
  host_ = 6;
  come_back();
  go_on(20);
  EXPECT_TRUE(holds(1) && holds(2));
}

TEST_F(SuccessorTest, NorIsOneOfWhichNothingIsKnown) {
  come_back();
  go_on(20);
  EXPECT_TRUE(holds(1) && holds(2));
}

TEST_F(SuccessorTest, WhoIsHeardHasNoSuccessor) {
  host_ = 5;
  say({});
  come_back();
  for (int i = 0; i < 4; ++i) {
    go_on(5);
    say({});
  }
  EXPECT_TRUE(holds(1) && holds(2));
}

// --- Health and metrics ---

TEST_F(CompareTest, FillsUntilEachPeerHasToldEverything) {
  EXPECT_FALSE(node_->is_filling());
  put_in(at(3), 500, 8, {}, wire::flag::kAlive | wire::flag::kHello);
  turn();
  EXPECT_TRUE(node_->is_filling());
  put_in(at(3), 501, 8, {.bulk_end = wire::BulkEnd{.first = 500, .count = 0}});
  turn();
  EXPECT_FALSE(node_->is_filling());
}

TEST_F(CompareTest, DoesNotFillForEver) {
  put_in(at(3), 500, 8, {}, wire::flag::kAlive | wire::flag::kHello);
  for (std::uint32_t i = 1; i < 60; ++i) {
    turn(seconds(1));
    put_in(at(3), 500 + i, 8, {});
    EXPECT_TRUE(node_->is_filling() || i > 55) << i;
  }
  turn(seconds(1));
  EXPECT_FALSE(node_->is_filling());
}

TEST_F(CompareTest, DoesNotWaitForWhoIsLost) {
  put_in(at(3), 500, 8, {}, wire::flag::kAlive | wire::flag::kHello);
  for (int i = 0; i < 9; ++i) {
    turn(seconds(1));
    say({});
  }
  EXPECT_TRUE(node_->is_filling());
  turn(seconds(2));
  EXPECT_FALSE(node_->is_filling());
}

TEST_F(NodeTest, WaitsAMomentForPeersAtItsBegin) {
  start();
  EXPECT_TRUE(node_->is_filling());
  hear(wire::flag::kAlive, 1);  // a stock node: when it has told everything nobody knows
  turns(4, seconds(1));
  EXPECT_TRUE(node_->is_filling());
  turn(seconds(1));
  EXPECT_FALSE(node_->is_filling());
}

TEST_F(CompareTest, APeerLagsWhileItsAcknowledgementIsMissing) {
  const auto lag = [this] { return node_->snapshot().peers.at(0).lag; };
  EXPECT_EQ(lag(), 0U);
  kernel_.create(kernel_flow(50));
  turn();
  clock_.advance(milliseconds(30));
  EXPECT_EQ(lag(), 30'000U);
  say({}, wire::flag::kAck);
  EXPECT_EQ(lag(), 0U);
  turns(11, seconds(1));
  EXPECT_EQ(lag(), std::nullopt) << "it is lost";
}

TEST_F(NodeTest, ACommitMakesAPrimaryAndIsCounted) {
  start();
  EXPECT_EQ(node_->snapshot().role, text::Role::unknown);
  for (std::uint16_t n = 100; n < 110; ++n) hear_flow(n);
  turns(3);
  const auto commit = ask({.verb = Verb::commit, .what = What::flows});
  EXPECT_EQ(node_->role(), text::Role::primary);
  while (!commit->finished) turn();
  const auto commits = node_->snapshot().commits;
  ASSERT_TRUE(commits);
  EXPECT_EQ(commits->committed, 10U);
  EXPECT_EQ(commits->failed, 0U);
  EXPECT_GT(commits->durations.sum(), Duration::zero());
  ask({.verb = Verb::schedule_purge});
  EXPECT_EQ(node_->role(), text::Role::backup);
  ask({.verb = Verb::take_over});
  EXPECT_EQ(node_->role(), text::Role::primary);
}

// --- Round trip ---

class RoundTripTest : public CompareTest {
 protected:
  std::optional<std::uint64_t> round_trip() const { return node_->snapshot().peers.at(0).round_trip; }
  // Of the last probe that was sent.
  wire::Probe probe() const {
    const auto last = std::ranges::find_if(sink_.tails.rbegin(), sink_.tails.rend(),
                                           [](const wire::Extension& t) { return t.probe.has_value(); });
    return last == sink_.tails.rend() ? wire::Probe{} : *last->probe;
  }
  void answer(std::uint32_t stamp, std::uint32_t held, std::uint32_t node = 1) {
    put_in(at(2), ++seq_, 7, {.probe = wire::Probe{.count = 1, .echoes = {{{node, stamp, held}}}}});
  }
};

TEST_F(RoundTripTest, IsTheTimeUntilTheAnswerLessWhatItWasHeld) {
  turns(15, milliseconds(100));
  const auto stamp = probe().stamp;
  EXPECT_EQ(round_trip(), std::nullopt);
  const auto since = static_cast<std::uint32_t>(clock_.now().time_since_epoch() / std::chrono::microseconds(1)) - stamp;
  EXPECT_LE(since, 1'000'000U);
  clock_.advance(milliseconds(40));
  answer(stamp, since + 39500);
  EXPECT_EQ(round_trip(), 500U);
  EXPECT_EQ(node_->snapshot().delays->sum(), std::chrono::microseconds(250));
}

TEST_F(RoundTripTest, EachProbeIsAnsweredOnceWithWhatItWasHeld) {
  put_in(at(2), ++seq_, 7, {.probe = wire::Probe{.stamp = 4711}});
  sink_.tails.clear();
  turns(21, milliseconds(100));
  std::vector<wire::Echo> echoes;
  for (const auto& t : sink_.tails) {
    if (t.probe) echoes.insert(echoes.end(), t.probe->all().begin(), t.probe->all().end());
  }
  ASSERT_EQ(echoes.size(), 1U);
  EXPECT_EQ(echoes[0].node, 7U);
  EXPECT_EQ(echoes[0].stamp, 4711U);
  EXPECT_LE(echoes[0].held, 1'100'000U);
  EXPECT_EQ(echoes[0].held % 100'000U, 0U);
  EXPECT_GE(tails_with([](const wire::Extension& t) { return t.probe.has_value(); }), 2);
  EXPECT_LE(tails_with([](const wire::Extension& t) { return t.probe.has_value(); }), 3);
}

TEST_F(RoundTripTest, AnswersThatCannotBeTrueAreIgnored) {
  turns(15, milliseconds(100));
  const auto stamp = probe().stamp;
  clock_.advance(milliseconds(40));
  answer(stamp, 0, 2);            // to somebody else
  answer(stamp, 60'000'000);      // held longer than it took
  answer(stamp + 60'000'000, 0);  // of what is yet to be sent
  answer(stamp - 20'000'000, 0);  // longer ago than is measured
  answer(stamp - 4'000'000'000U, 0);
  EXPECT_EQ(round_trip(), std::nullopt);
  answer(stamp, 1000);
  EXPECT_TRUE(round_trip());
}

TEST_F(RoundTripTest, OneMessageAnswersEightAtMostAndTheOthersFollow) {
  for (std::uint8_t host = 10; host < 30; ++host) {
    put_in(at(host), 5000, host, {.probe = wire::Probe{.stamp = host}}, wire::flag::kAlive | wire::flag::kHello);
  }
  sink_.tails.clear();
  turns(60, milliseconds(100));
  std::vector<std::uint32_t> answered;
  for (const auto& t : sink_.tails) {
    if (!t.probe) continue;
    EXPECT_LE(t.probe->count, 8);
    for (const auto& e : t.probe->all()) answered.push_back(e.node);
  }
  std::ranges::sort(answered);
  std::vector<std::uint32_t> all(20);
  std::iota(all.begin(), all.end(), 10U);
  EXPECT_EQ(answered, all);
}

// --- Zones of one direction ---

class OneWayZoneTest : public CompareTest {
 protected:
  OneWayZoneTest() { bits_ = wire::Capabilities::kOneWayZones; }
  // Whether the zone of a flow that begins now is sent.
  bool is_sent() {
    auto r = kernel_flow(next_flow_++);
    r.flow.orig.zone = 5;
    sink_.zones.clear();
    kernel_.create(r);
    turns(2);
    EXPECT_EQ(sink_.zones.size(), 1U);
    return !sink_.zones.empty() && sink_.zones.back() == 5;
  }
  std::uint16_t next_flow_ = 100;
};

TEST_F(OneWayZoneTest, AreSentToPeersThatHaveAllShownThatTheyTakeThem) {
  bits_ = 0;
  say({});
  EXPECT_FALSE(is_sent());
  bits_ = wire::Capabilities::kOneWayZones;
  say({});
  EXPECT_TRUE(is_sent());
  // A stock node comes, and goes.
  hear(wire::flag::kAlive | wire::flag::kHello, 7000, 9);
  EXPECT_FALSE(is_sent());
  for (int i = 0; i < 11; ++i) {
    turn(seconds(1));
    say({});
  }
  EXPECT_TRUE(is_sent());
  // The peer itself comes back as one.
  hear(wire::flag::kAlive | wire::flag::kHello, 9000, 2);
  EXPECT_FALSE(is_sent());
}

TEST_F(OneWayZoneTest, AreNotSentIntoTheVoid) {
  say({});
  turns(11, seconds(1));
  EXPECT_FALSE(is_sent());
}

// Nothing but what we are goes to a peer that has not shown that it knows more.
TEST_F(NodeTest, AStockPeerIsSentNoProbe) {
  options_.self = {.node = 1, .epoch = 5};
  start();
  for (std::uint32_t i = 0; i < 50; ++i) {
    hear(wire::flag::kAlive, i);
    turn(milliseconds(100));
  }
  EXPECT_FALSE(sink_.tails.empty());
  for (const auto& t : sink_.tails) EXPECT_EQ(t, wire::Extension{.capabilities = t.capabilities});
}

class FlushTest : public NodeTest {
 protected:
  FlushTest() {
    for (std::uint16_t n = 1; n <= 40; ++n) kernel_.put(kernel_flow(n));
    kernel_.dump_part = 1;
    options_.purge_timeout = seconds(5);
    start();
  }
  const Command flush_{.verb = Verb::flush_kernel, .what = What::flows};
  const Command commit_{.verb = Verb::commit, .what = What::flows};
};

// What begins behind the purge's back is deleted by the command's own flush.
TEST_F(FlushTest, AFlushDuringAPurgeRunsWholeAndIsAnsweredAfterwards) {
  ask({.verb = Verb::schedule_purge});
  turn(seconds(6));
  turns(10);
  ASSERT_LT(kernel_.flows.size(), 40U) << "the purge is under way";
  ASSERT_GT(kernel_.flows.size(), 20U);
  kernel_.put(kernel_flow(100));
  const auto client = ask(flush_);
  turns(20);
  EXPECT_FALSE(client->finished);
  turns(200);
  EXPECT_TRUE(client->finished);
  EXPECT_TRUE(kernel_.flows.empty());
}

// Also no dump of a kernel's table that is nearly empty, which takes as long as a full one, all in one call.
TEST_F(FlushTest, WhatAPurgeTakesOutOfTheKernelLeavesTheCache) {
  const auto dumps = kernel_.dumps;
  ask({.verb = Verb::schedule_purge});
  turn(seconds(6));
  turns(10);
  ASSERT_LT(kernel_.flows.size(), 40U) << "the purge is under way";
  EXPECT_EQ(node_->internal_flows().live(), kernel_.flows.size());
  turns(200);
  EXPECT_TRUE(kernel_.flows.empty());
  EXPECT_EQ(node_->internal_flows().live(), 0U);
  EXPECT_EQ(kernel_.dumps, dumps + 1) << "the flush's own";
}

// No event tells what the flush is for.
TEST_F(NodeTest, APurgeUnderPollingTellsThePeersNothing) {
  for (std::uint16_t n = 1; n <= 10; ++n) kernel_.put(kernel_flow(n));
  options_.poll = seconds(3);
  options_.purge_timeout = seconds(5);
  start();
  turns(20);
  ASSERT_EQ(node_->internal_flows().live(), 10U);
  ask({.verb = Verb::schedule_purge});
  turns(4, seconds(1));
  sink_.zones.clear();
  turns(100, milliseconds(100));
  EXPECT_TRUE(kernel_.flows.empty());
  EXPECT_EQ(node_->internal_flows().live(), 0U);
  EXPECT_TRUE(sink_.zones.empty()) << "a message of a flow";
}

TEST_F(FlushTest, ACommitStopsThePurgeButNoFlush) {
  ask({.verb = Verb::schedule_purge});
  turn(seconds(6));
  turns(5);
  ask(commit_);
  const auto left = kernel_.flows.size();
  EXPECT_GT(left, 20U);
  turns(100);
  EXPECT_EQ(kernel_.flows.size(), left);
  EXPECT_EQ(node_->internal_flows().live(), left) << "the cache has again what the kernel has still";
  EXPECT_EQ(log_lines("the scheduled flush of the kernel conntrack table is stopped"), 1);

  const auto client = ask(flush_);
  turns(5);
  const auto commit = ask(commit_);
  turns(5);
  EXPECT_FALSE(commit->finished) << "waits for the flush, which would delete what it writes";
  turns(100);
  EXPECT_TRUE(client->finished);
  EXPECT_TRUE(commit->finished);
  EXPECT_TRUE(kernel_.flows.empty());
}

TEST_F(FlushTest, ACommitStopsThePurgeThatWaitsForAFlush) {
  ask({.verb = Verb::schedule_purge});
  turn(milliseconds(4900));
  const auto client = ask(flush_);
  turn(milliseconds(200));
  turns(5);
  ask(commit_);
  turns(200);
  EXPECT_TRUE(client->finished);
  EXPECT_TRUE(kernel_.flows.empty());
  kernel_.put(kernel_flow(100));
  turns(200);
  EXPECT_EQ(kernel_.flows.size(), 1U) << "the purge did not come after all";
}

TEST_F(FlushTest, OfBothCachesIsAnsweredWhenBothAreThrough) {
  const auto client = ask({.verb = Verb::flush_caches, .what = What::all, .side = Side::both});
  EXPECT_FALSE(client->finished);
  turns(5);
  EXPECT_TRUE(client->finished);
  EXPECT_EQ(node_->internal_flows().total(), 0U);
}

// Two at once: the second one begins anew, both are answered.
TEST_F(FlushTest, TwoFlushesOfACacheAtOnce) {
  const auto first = ask({.verb = Verb::flush_caches, .what = What::flows, .side = Side::internal});
  const auto second = ask({.verb = Verb::flush_caches, .what = What::all, .side = Side::internal});
  turns(5);
  EXPECT_TRUE(first->finished);
  EXPECT_TRUE(second->finished);
  EXPECT_EQ(node_->internal_flows().total(), 0U);
}

// --- Resyncs ---

// Each was a dump of its own, of clients that had left long ago, too.
TEST_F(NodeTest, ManyResyncsAtOnceAreTwo) {
  for (std::uint16_t n = 1; n <= 20; ++n) kernel_.put(kernel_flow(n));
  start();
  kernel_.put(kernel_flow(100));
  kernel_.dump_part = 1;
  const auto dumps = kernel_.dumps;
  const auto first = ask({.verb = Verb::resync_kernel, .what = What::flows});
  turns(3);
  std::vector<Channel> later;
  for (int i = 0; i < 50; ++i) later.push_back(ask({.verb = Verb::resync_kernel, .what = What::flows}));
  turns(25);
  EXPECT_TRUE(first->finished);
  EXPECT_FALSE(later[0]->finished) << "what it is about may have come after that";
  turns(25);
  for (const auto& c : later) EXPECT_TRUE(c->finished);
  EXPECT_EQ(kernel_.dumps, dumps + 2);
  EXPECT_EQ(node_->internal_flows().live(), 21U);
}

// --- Lists ---

class KernelListTest : public NodeTest {
 protected:
  KernelListTest() {
    options_.mode = Mode::notrack;
    options_.internal_cache = false;
    for (std::uint16_t n = 1; n <= 50; ++n) kernel_.put(kernel_flow(n));
    kernel_.dump_part = 10;
    start();
  }
  const Command list_{.verb = Verb::dump, .what = What::flows, .side = Side::internal};
};

TEST_F(KernelListTest, OfAFullClientGoesOnWhenItHasRoomAgain) {
  const auto client = ask(list_);
  client->room = 10;
  turns(20);
  EXPECT_FALSE(client->finished);
  ASSERT_NE(client->waiter, nullptr);
  for (int i = 0; i < 20 && !client->finished; ++i) {  // it reads all there is each time
    client->room = client->text.size() + 10;
    if (client->waiter != nullptr) client->waiter->wake();
    turn();
  }
  EXPECT_TRUE(client->finished);
}

TEST_F(KernelListTest, ThatWasCutSaysSo) {
  kernel_.dump_error = ENOBUFS;
  kernel_.dump_errors_left = 100;
  const auto client = ask(list_);
  turns(100);
  EXPECT_TRUE(client->finished);
  EXPECT_TRUE(client->text.ends_with("the list is not complete: can't get kernel conntrack table\n")) << client->text;
  EXPECT_EQ(log_lines("the list is not complete"), 1);
}

// They looked whole.
TEST_F(NodeTest, ListsAndCommitsThatTheEndCutsSaySo) {
  for (std::uint16_t n = 1; n <= 300; ++n) kernel_.put(kernel_flow(n));
  start();
  for (std::uint16_t n = 1; n <= 50; ++n) hear_flow(n);
  const Command list{.verb = Verb::dump, .what = What::flows, .side = Side::internal};
  const auto whole = ask(list);
  turns(20);
  EXPECT_EQ(std::ranges::count(whole->text, '\n'), 300);
  const auto cut = ask(list);
  cut->room = 10;
  const auto resend_queue = ask({.verb = Verb::list_resend_queue});
  turns(2);
  const auto commit = ask({.verb = Verb::commit, .what = What::flows});
  node_.reset();
  constexpr std::string_view kLine = "the list is not complete: the daemon stops\n";
  EXPECT_TRUE(cut->text.ends_with(kLine)) << cut->text;
  EXPECT_FALSE(whole->text.ends_with(kLine));
  EXPECT_TRUE(resend_queue->finished);
  EXPECT_FALSE(resend_queue->text.ends_with(kLine)) << "it was through";
  EXPECT_TRUE(commit->finished);
  EXPECT_EQ(log_lines("the commit is cut short after 0 entries: the daemon stops"), 1);
}

// A creation costs the kernel much less while nobody wants its event. What began meanwhile is found afterwards, and told,
// and a -R that comes next has nothing to read any more.
// Else it would live on here if the service came back before the purge, and at the peer after the next commit.
TEST_F(NodeTest, WhatEndsAtThePeerIsNotLeftBehindUntilThePurge) {
  kernel_.put(kernel_flow(1));
  kernel_.put(kernel_flow(2));
  options_.mode = Mode::ftfw;
  start();
  const auto hear_end = [this](std::uint16_t n, std::uint32_t seq) {
    std::array<std::uint8_t, 512> room;
    ByteWriter w(room);
    wire::encode_flow(w, wire::MsgType::flow_delete, 0, seq, wire_flow(n).flow, nullptr, 0, {});
    node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, 2}}}, w.written());
    turn();
  };
  ask({.verb = Verb::bulk_send});
  turns(5);
  sink_.sources.clear();
  hear_end(1, 1);
  EXPECT_EQ(kernel_.flows.size(), 2U);  // the service is here
  ask({.verb = Verb::schedule_purge});
  hear_end(1, 2);
  hear_end(3, 3);
  EXPECT_EQ(kernel_.flows.size(), 1U);
  EXPECT_TRUE(kernel_.flows.contains(kernel_flow(2).flow.orig));
  EXPECT_EQ(node_->internal_flows().live(), 1U);
  EXPECT_EQ(sink_.sources, std::vector<std::uint16_t>{1});  // the peer has it of this node, too
  ask({.verb = Verb::commit, .what = What::flows});
  turns(5);
  hear_end(2, 4);
  EXPECT_EQ(kernel_.flows.size(), 1U);  // it is here again
}

TEST_F(NodeTest, AFlushAndAResyncThatFailSaySo) {
  kernel_.put(kernel_flow(1));
  start();
  const auto outcome = [this](Verb verb) {
    const auto channel = ask({.verb = verb, .what = What::flows, .outcome = true});
    turns(5);
    EXPECT_TRUE(channel->finished);
    return channel->text;
  };
  kernel_.refused_dumps = 1;
  EXPECT_EQ(outcome(Verb::flush_kernel),
            "status 1\nthe kernel's connections could not all be deleted: can't get kernel conntrack table\n");
  EXPECT_EQ(kernel_.flows.size(), 1U);
  kernel_.refused_dumps = 1;
  EXPECT_EQ(outcome(Verb::resync_kernel),
            "status 1\nthe kernel's connections could not be read: can't get kernel conntrack table\n");
  EXPECT_EQ(outcome(Verb::resync_kernel), "status 0\nthe internal cache has the kernel's connections\n");
  EXPECT_EQ(outcome(Verb::flush_kernel), "status 0\nthe kernel's connections are deleted\n");
  EXPECT_TRUE(kernel_.flows.empty());
}

TEST_F(NodeTest, AResyncWithoutACacheIsNone) {
  options_.mode = Mode::notrack;
  options_.internal_cache = false;
  start();
  const auto channel = ask({.verb = Verb::resync_kernel, .what = What::flows, .outcome = true});
  EXPECT_EQ(channel->text, "status 1\nthere is no internal cache to read them into\n");
  EXPECT_TRUE(channel->finished);
  EXPECT_EQ(ask({.verb = Verb::resync_kernel, .what = What::flows})->text, "");
}

TEST_F(NodeTest, DuringALargeCommitNewFlowsAreNotHeardButFoundAfterwards) {
  options_.large_commit = 50;
  start();
  for (std::uint16_t n = 100; n < 300; ++n) hear_flow(n);
  turns(5);
  ASSERT_EQ(kernel_.dumps, 1);
  turn(RoleSwitch::kPeersSilent);
  kernel_.dump_part = 10;
  const auto commit = ask({.verb = Verb::commit, .what = What::flows});
  turn();
  EXPECT_FALSE(kernel_.hears_new_flows);
  while (!commit->finished) turn();
  EXPECT_TRUE(kernel_.hears_new_flows);
  kernel_.put(kernel_flow(1));
  const auto resync = ask({.verb = Verb::resync_kernel, .what = What::flows});
  turns(100);
  EXPECT_TRUE(resync->finished);
  EXPECT_EQ(kernel_.dumps, 2);
  EXPECT_EQ(log_lines("1 connections began during the commit"), 1);
  EXPECT_EQ(sink_.sources, std::vector<std::uint16_t>{1});
  const auto small = ask({.verb = Verb::commit, .what = What::flows});
  turns(100);
  EXPECT_TRUE(small->finished);
  EXPECT_TRUE(kernel_.hears_new_flows);
}

// Replication goes on while somebody listens to it, but for a take-over.
TEST_F(NodeTest, NewFlowsGoUnheardOnlyWhereNobodyIsToldOrUsersWait) {
  options_.large_commit = 50;
  start();
  for (std::uint16_t n = 100; n < 300; ++n) hear_flow(n);
  turns(5);
  const auto commit = ask({.verb = Verb::commit, .what = What::flows});
  while (!commit->finished) {
    turn();
    EXPECT_TRUE(kernel_.hears_new_flows);
  }
  for (std::uint16_t n = 300; n < 500; ++n) hear_flow(n);
  const auto take_over = ask({.verb = Verb::take_over});
  turn();
  EXPECT_FALSE(kernel_.hears_new_flows);
  while (!take_over->finished) turn();
  EXPECT_TRUE(kernel_.hears_new_flows);
}

TEST_F(NodeTest, ACommitThatWaitsAtTheEndIsToldInTheLog) {
  kernel_.put(kernel_flow(1));
  start();
  ask({.verb = Verb::flush_kernel, .what = What::flows});
  const auto commit = ask({.verb = Verb::commit, .what = What::flows});
  node_.reset();
  EXPECT_TRUE(commit->finished);
  EXPECT_EQ(log_lines("the commit did not begin: the daemon stops"), 1);
}

TEST_F(NodeTest, ResendQueueIsListedInSlices) {
  options_.resend_queue_size = 5000;
  start();
  // Nobody acknowledges: what is sent stays in the queue.
  for (std::uint16_t n = 1; n <= 1000; ++n) kernel_.put(kernel_flow(n));
  ask({.verb = Verb::resync_kernel, .what = What::flows});
  turns(50);
  ask({.verb = Verb::bulk_send});
  turns(50, milliseconds(10));
  ASSERT_GE(node_->unacknowledged(), 1000U);
  const auto client = ask({.verb = Verb::list_resend_queue});
  client->room = 2000;
  turns(3);
  EXPECT_FALSE(client->finished);
  EXPECT_LT(client->text.size(), 10000U) << "no more than it takes";
  client->room = 1U << 30;
  client->waiter->wake();
  turns(50);
  EXPECT_TRUE(client->finished);
  EXPECT_TRUE(client->text.starts_with("resent queue (len=1"));
  EXPECT_EQ(std::ranges::count(client->text, '\n'), 1 + std::stoi(client->text.substr(18)));
}

// --- Events ---

// When not all that was read was of a known type, the node took it that no more waited, and an older event brought back
// a flow that -F had deleted.
TEST_F(NodeTest, AnOlderEventBringsNoFlowBackThatWasFlushed) {
  options_.event_limit = 2;
  start();
  const auto gone = kernel_flow(1);
  kernel_.create(gone);
  turn();
  for (std::uint16_t n = 2; n <= 3; ++n) kernel_.events.emplace_back(kernel::EventType::new_, kernel_flow(n));
  kernel_.events.emplace_back(kernel::EventType::update, gone);
  kernel_.unknown = 1;
  ask({.verb = Verb::flush_kernel, .what = What::flows});
  for (int i = 0; i < 5; ++i) jobs_.step();
  ASSERT_TRUE(kernel_.flows.empty());
  turns(3);
  EXPECT_EQ(node_->internal_flows().live(), 2U);
}

// --- Lost events ---

// What -R found first, no mending found any more, and the peers were never told.
TEST_F(NodeTest, ResyncByHandDoesNotHideWhatWasLostFromThePeers) {
  for (const bool resync : {false, true}) {
    EventKernel kernel;
    options_.overrun_resync = seconds(1);
    Node node(kernel, sink_, clock_, log_, jobs_, options_);
    const auto turns_of = [&](int n) {
      for (int i = 0; i < n; ++i) {
        clock_.advance(milliseconds(100));
        if (const auto at = node.next_deadline(); at && *at <= clock_.now()) node.on_timer();
        jobs_.step();
        node.end_turn();
      }
    };
    ASSERT_TRUE(node.start());
    node.started();
    kernel.put(kernel_flow(1));
    kernel.overrun = true;
    node.on_kernel_event();
    if (resync) node.on_command({.verb = Verb::resync_kernel, .what = What::flows}, Client());
    turns_of(5);
    EXPECT_EQ(node.internal_flows().live(), resync ? 1U : 0U);
    const auto controls = node.unacknowledged();
    turns_of(6);
    EXPECT_EQ(node.internal_flows().live(), 1U);
    EXPECT_EQ(node.unacknowledged(), controls + 1) << "resync " << resync;
  }
}

TEST_F(NodeTest, EventsThatGoOnBeingLostDoNotPutTheMendingOff) {
  options_.overrun_resync = seconds(3);
  start();
  kernel_.put(kernel_flow(1));
  for (int i = 0; i < 5; ++i) {
    kernel_.overrun = true;
    turn(seconds(1));
  }
  EXPECT_EQ(node_->internal_flows().live(), 1U);
}

// What an event told that had waited since before the loss was taken for newer than what the mending read.
TEST_F(NodeTest, EventsThatWaitSinceBeforeTheLossDoNotHideWhatWasLost) {
  options_.overrun_resync = seconds(1);
  options_.event_limit = 1;
  start();
  auto flow = kernel_flow(1);
  flow.flow.present |= has::kMark;
  kernel_.create(flow);
  turn();
  kernel_.events.emplace_back(kernel::EventType::new_, kernel_flow(2));
  flow.flow.mark = 1;
  kernel_.events.emplace_back(kernel::EventType::update, flow);
  flow.flow.mark = 2;
  kernel_.put(flow);  // nobody hears of it
  kernel_.overrun = true;
  node_->on_kernel_event();
  clock_.advance(seconds(1));
  node_->on_timer();
  turns(5);
  turns(2, seconds(1));
  const auto list = ask({.verb = Verb::dump, .what = What::flows, .side = Side::internal});
  turns(3);
  EXPECT_NE(list->text.find("mark=2"), std::string::npos) << list->text;
  EXPECT_EQ(node_->snapshot().runtime.kernel_resyncs, 2U) << "and then it rests";
}

// Nor does what was told during the dump before. Dumps without end overlapped, and what events had told since the first
// of them stayed.
TEST_F(NodeTest, ResyncsByHandWithoutEndHideNothingThatWasLost) {
  options_.overrun_resync = seconds(1);
  kernel_.dump_part = 1;
  auto flow = kernel_flow(1);
  flow.flow.present |= has::kMark;
  kernel_.put(flow);
  for (std::uint16_t n = 2; n <= 6; ++n) kernel_.put(kernel_flow(n));
  start();
  const Command resync{.verb = Verb::resync_kernel, .what = What::flows};
  const auto turns_with_resyncs = [&](int n) {
    Channel last;
    for (int i = 0; i < n; ++i) {
      if (last == nullptr || last->finished) last = ask(resync);
      if (i % 3 == 0) ask(resync);
      turn(milliseconds(100));
    }
  };
  turns_with_resyncs(3);
  flow.flow.mark = 1;
  kernel_.put(flow);
  kernel_.events.emplace_back(kernel::EventType::update, flow);
  turns_with_resyncs(3);
  flow.flow.mark = 2;
  kernel_.put(flow);  // nobody hears of it
  kernel_.overrun = true;
  const auto controls = node_->unacknowledged();
  turns_with_resyncs(50);
  const auto list = ask({.verb = Verb::dump, .what = What::flows, .side = Side::internal});
  turns_with_resyncs(5);
  EXPECT_NE(list->text.find("mark=2"), std::string::npos) << list->text;
  EXPECT_GT(node_->unacknowledged(), controls) << "the mending had its turn";
}

// The load that loses events also makes the dump fail: then ghosts stayed until the next overrun.
TEST_F(NodeTest, AMendingThatFailsIsTriedAgain) {
  options_.overrun_resync = seconds(1);
  kernel_.put(kernel_flow(1));
  kernel_.put(kernel_flow(2));
  start();
  kernel_.flows.erase(kernel_flow(1).flow.orig);  // nobody hears of it
  kernel_.overrun = true;
  kernel_.dump_error = ENOBUFS;
  kernel_.dump_errors_left = 4;
  turns(35, milliseconds(100));
  EXPECT_EQ(kernel_.dump_errors_left, 2) << "less and less often";
  turns(20, seconds(1));
  EXPECT_EQ(log_lines("can't get kernel conntrack table"), 4);
  EXPECT_EQ(node_->internal_flows().live(), 1U);
  EXPECT_EQ(node_->snapshot().runtime.kernel_resyncs, 5U);
}

TEST_F(NodeTest, WhatAFailedMendingWasToTellTheNextOneTells) {
  options_.overrun_resync = seconds(1);
  start();
  kernel_.put(kernel_flow(1));
  kernel_.overrun = true;
  turn();
  ask({.verb = Verb::resync_kernel, .what = What::flows});
  turns(5);
  const auto before = node_->unacknowledged();
  kernel_.refused_dumps = 1;
  turns(8, milliseconds(500));
  EXPECT_EQ(node_->unacknowledged(), before + 1);
}

// --- Comparing the internal cache with the kernel ---

class KernelComparisonTest : public NodeTest {
 protected:
  KernelComparisonTest() {
    options_.kernel_compare = seconds(60);
    for (std::uint16_t n = 1; n <= 3; ++n) kernel_.put(kernel_flow(n));
  }
  text::ComparisonNumbers numbers() const { return node_->snapshot().comparison.value(); }
};

// After ten seconds, and again as long as that finds something; else after twice the time, at last as often as ever.
TEST_F(KernelComparisonTest, HappensSoonWhereFlowsMaySendNoEvents) {
  options_.silent_flows = true;
  start();
  const auto after = [this](Duration d) {
    turns(static_cast<int>(d / milliseconds(100)), milliseconds(100));
    return kernel_.dumps - 1;
  };
  kernel_.flows.erase(kernel_flow(1).flow.orig);
  EXPECT_EQ(after(seconds(11)), 1);
  EXPECT_EQ(node_->internal_flows().live(), 2U);
  kernel_.flows.erase(kernel_flow(2).flow.orig);
  EXPECT_EQ(after(seconds(10)), 2);
  EXPECT_EQ(node_->internal_flows().live(), 1U);
  EXPECT_EQ(after(seconds(10)), 3);
  EXPECT_EQ(after(seconds(18)), 3);
  EXPECT_EQ(after(seconds(3)), 4);
  EXPECT_EQ(after(seconds(37)), 4);
  EXPECT_EQ(after(seconds(5)), 5);
  EXPECT_EQ(after(seconds(55)), 5) << "each minute, as the option says";
  EXPECT_EQ(after(seconds(5)), 6);
}

TEST_F(KernelComparisonTest, DoesNotHappenSoonWhereNothingWasThere) {
  kernel_.flows.clear();
  options_.silent_flows = true;
  start();
  kernel_.create(kernel_flow(1));
  turns(59, seconds(1));
  EXPECT_EQ(kernel_.dumps, 1);
}

TEST_F(KernelComparisonTest, HappensAtIntervalsAndIsToldOnlyIfSomethingDiffered) {
  start();
  turns(59, seconds(1));
  EXPECT_EQ(kernel_.dumps, 1);
  turns(3, seconds(1));
  EXPECT_EQ(kernel_.dumps, 2);
  EXPECT_EQ(numbers().done, 1U);
  EXPECT_EQ(log_lines("compared"), 0);
  // Nobody hears of any of these.
  kernel_.put(kernel_flow(1)).flow.proto_state = 4;
  kernel_.flows.erase(kernel_flow(2).flow.orig);
  kernel_.put(kernel_flow(4));
  const auto controls = node_->unacknowledged();
  turns(63, seconds(1));
  EXPECT_EQ(
      log_lines("compared the internal cache with the kernel: 3 connections, mended 1 missing, 1 left over, 1 that "
                "differed"),
      1);
  EXPECT_EQ(node_->internal_flows().live(), 3U);
  EXPECT_EQ(node_->unacknowledged(), controls + 3) << "peers are told";
  turns(63, seconds(1));
  const auto n = numbers();
  EXPECT_EQ((std::array{n.done, n.missing, n.left_over, n.differed}), (std::array<std::uint64_t, 4>{3, 1, 1, 1}));
  EXPECT_EQ(log_lines("compared"), 1);
  EXPECT_EQ(node_->snapshot().runtime.kernel_resyncs, 0U) << "as `-s runtime` counts them";
}

// Events that wait while the kernel is read, more than are handled at a time.
TEST_F(KernelComparisonTest, EventsOnTheirWayAreNoDifferences) {
  options_.event_limit = 2;
  start();
  clock_.advance(seconds(60));
  node_->on_timer();
  for (std::uint16_t n = 1; n <= 3; ++n) kernel_.end(kernel_flow(n));
  for (std::uint16_t n = 10; n < 20; ++n) kernel_.create(kernel_flow(n));
  jobs_.step();
  jobs_.step();
  jobs_.step();
  turns(5);
  EXPECT_EQ(node_->internal_flows().live(), 10U);
  EXPECT_EQ(numbers().done, 1U);
  EXPECT_EQ(log_lines("compared"), 0);
}

TEST_F(KernelComparisonTest, WaitsForAFlushAndForAResync) {
  start();
  kernel_.dump_part = 1;
  clock_.advance(milliseconds(59999));
  ask({.verb = Verb::resync_kernel, .what = What::flows});
  turns(2);
  EXPECT_EQ(kernel_.dumps, 2) << "the resync";
  turns(10);
  turns(5, seconds(1));
  EXPECT_EQ(kernel_.dumps, 3);
  EXPECT_EQ(numbers().done, 1U);
}

TEST_F(KernelComparisonTest, AReadingAfterLostEventsIsOne) {
  options_.overrun_resync = seconds(1);
  start();
  turns(30, seconds(1));
  kernel_.flows.erase(kernel_flow(2).flow.orig);
  kernel_.overrun = true;
  turns(4, seconds(1));
  EXPECT_EQ(log_lines("mended 0 missing, 1 left over, 0 that differed"), 1);
  const auto dumps = kernel_.dumps;
  turns(50, seconds(1));
  EXPECT_EQ(kernel_.dumps, dumps) << "the next one is due an interval later";
}

// The counter went below zero.
TEST_F(NodeTest, APollDuringAFlushIsNoResync) {
  options_.poll = seconds(1);
  start();
  turn(milliseconds(999));
  ask({.verb = Verb::flush_caches, .what = What::flows, .side = Side::internal});
  clock_.advance(milliseconds(10));
  node_->on_timer();
  EXPECT_EQ(node_->snapshot().runtime.kernel_resyncs, 0U);
}

// --- A full cache ---

class FullCacheTest : public NodeTest {
 protected:
  FullCacheTest() { options_.table_limit = 100; }

  bool has(std::uint16_t n) const { return node_->internal_flows().find(kernel_flow(n).flow.orig) != table::kNoFlow; }
};

// While the link took nothing, dead flows filled the cache, and live ones were refused.
TEST_F(FullCacheTest, ShortFlowsWhileTheLinkIsCongestedKeepNoLiveOneOut) {
  for (const auto mode : {Mode::ftfw, Mode::alarm, Mode::notrack}) {
    options_.mode = mode;
    start();
    sink_.is_congested = true;
    for (std::uint16_t n = 1; n <= 1000; ++n) {
      kernel_.create(kernel_flow(n));
      if (n % 2 != 0) turn();
      kernel_.end(kernel_flow(n));
      turn();
    }
    EXPECT_LT(node_->internal_flows().total(), 100U);
    kernel_.create(kernel_flow(2000));
    turn();
    EXPECT_TRUE(has(2000));
    EXPECT_EQ(log_lines("full"), 0);
    const auto sent = sink_.count;
    sink_.is_congested = false;
    turns(5);
    EXPECT_GT(sink_.count, sent);
    node_.reset();
    kernel_.flows.clear();
  }
}

TEST_F(FullCacheTest, EndsThatThePeersWaitForMakeRoomAndThatIsTold) {
  for (std::uint16_t n = 1; n <= 100; ++n) kernel_.put(kernel_flow(n));
  start();
  sink_.is_congested = true;
  for (std::uint16_t n = 1; n <= 50; ++n) kernel_.end(kernel_flow(n));
  turn();
  EXPECT_EQ(node_->internal_flows().total(), 100U) << "the ends wait";
  for (std::uint16_t n = 201; n <= 250; ++n) kernel_.create(kernel_flow(n));
  turn();
  EXPECT_EQ(node_->internal_flows().live(), 100U);
  EXPECT_EQ(log_lines("ends of connections that wait to be sent are given up (see HashLimit)"), 1);
}

TEST_F(FullCacheTest, IsToldOnceAndWhatItRefusedIsTakenLater) {
  for (std::uint16_t n = 1; n <= 100; ++n) kernel_.put(kernel_flow(n));
  start();
  for (std::uint16_t n = 101; n <= 120; ++n) kernel_.create(kernel_flow(n));
  turns(20, seconds(1));
  EXPECT_FALSE(has(101));
  EXPECT_EQ(log_lines("the internal cache is full, what is new in the kernel is not taken (see HashLimit)"), 1);
  EXPECT_EQ(node_->snapshot().runtime.kernel_resyncs, 0U) << "there is no room yet";
  for (std::uint16_t n = 1; n <= 30; ++n) kernel_.end(kernel_flow(n));
  turn();
  hear(wire::flag::kAlive | wire::flag::kHello, 1);  // a peer that has just begun needs none of the ends
  turns(10, seconds(1));
  for (std::uint16_t n = 101; n <= 120; ++n) EXPECT_TRUE(has(n));
  EXPECT_EQ(node_->snapshot().runtime.kernel_resyncs, 1U);
}

TEST_F(FullCacheTest, OfThePeersFlowsIsTold) {
  start();
  for (std::uint16_t n = 1; n <= 110; ++n) hear_flow(n);
  EXPECT_EQ(node_->external_flows().live(), 100U);
  EXPECT_EQ(log_lines("the external cache is full, what is new at the peers is not taken (see HashLimit)"), 1);
}

// --- What is not told at once ---

class KeepingBackTest : public NodeTest {
 protected:
  KeepingBackTest() {
    options_.mode = Mode::ftfw;
    options_.min_age = seconds(5);
  }
  // Of which flows something was sent since this was asked last.
  std::vector<std::uint16_t> told() { return std::exchange(sink_.sources, {}); }
  using Flows = std::vector<std::uint16_t>;
};

TEST_F(KeepingBackTest, ShortFlowsAreToldToNobodyAndAreInTheInternalCache) {
  kernel_.put(kernel_flow(1));
  start();
  for (std::uint16_t n = 2; n <= 3; ++n) kernel_.create(kernel_flow(n));
  turns(4, seconds(1));
  EXPECT_EQ(node_->internal_flows().live(), 3U);
  kernel_.end(kernel_flow(2));
  turns(4, seconds(1));
  EXPECT_EQ(told(), Flows{3});
  kernel_.end(kernel_flow(1));
  kernel_.end(kernel_flow(3));
  turn();
  EXPECT_EQ(told(), (Flows{1, 3})) << "the first one was there at the start: a peer may know it from before";
  EXPECT_EQ(node_->internal_flows().total(), 2U) << "their ends are not acknowledged";
}

TEST_F(KeepingBackTest, AHandOverIsAnsweredWhenAllIsTold) {
  options_.coalesce = milliseconds(500);
  start();
  hear(wire::flag::kAlive | wire::flag::kHello, 100);
  for (std::uint16_t n = 1; n <= 3000; ++n) kernel_.create(kernel_flow(n));
  turns(5);
  EXPECT_EQ(told(), Flows{});
  std::uint32_t acked = sink_.last_seq;
  const auto answer = ask({.verb = Verb::hand_over});
  turn();
  EXPECT_FALSE(answer->finished);
  for (std::uint32_t i = 1; i < 1000 && !answer->finished; ++i) {
    hear(wire::flag::kAck, 100 + i, 2, acked, sink_.last_seq);
    acked = sink_.last_seq + 1;
    turn(milliseconds(2));
  }
  EXPECT_EQ(told().size(), 3000U);
  EXPECT_NE(answer->text.find("status 0"), std::string::npos) << answer->text;
  kernel_.create(kernel_flow(4000));
  turn();
  EXPECT_EQ(told(), Flows{4000}) << "what begins until the service has moved";
}

TEST_F(KeepingBackTest, WhoStepsDownTellsAll) {
  for (const auto verb : {Verb::stand_by, Verb::schedule_purge}) {
    start();
    kernel_.create(kernel_flow(1));
    turn();
    EXPECT_EQ(told(), Flows{});
    ask({.verb = verb});
    turn();
    EXPECT_EQ(told(), Flows{1});
    node_.reset();
    kernel_.flows.clear();
  }
}

// Its end would be told to nobody who has it from the peer.
TEST_F(KeepingBackTest, WhatACommitMeetsIsToldAtOnce) {
  kernel_.knows_its_flows = true;
  const auto begun = [](FlowRecord r) {
    r.flow.proto_state = 1;
    r.flow.status = status::kConfirmed;
    return r;
  };
  for (const bool further_on_here : {false, true}) {  // then the commit leaves it as it is
    start();
    kernel_.create(further_on_here ? kernel_flow(1) : begun(kernel_flow(1)));
    turn();
    EXPECT_EQ(told(), Flows{});
    hear_flow(1, 2, further_on_here ? begun(wire_flow(1)) : wire_flow(1));
    ask({.verb = Verb::commit});
    turns(5);
    EXPECT_EQ(told(), Flows{1});
    kernel_.end(kernel_flow(1));
    turn();
    EXPECT_EQ(told(), Flows{1});
    node_.reset();
  }
}

// A resync by hand, a mending, a bulk: the young ones stay young. What they find that no event has told is told at once.
TEST_F(KeepingBackTest, ReadingTheKernelMakesNobodyOlder) {
  options_.overrun_resync = milliseconds(100);
  start();
  kernel_.create(kernel_flow(1));
  turn();
  ask({.verb = Verb::resync_kernel});
  ask({.verb = Verb::bulk_send});
  turns(5);
  EXPECT_EQ(told(), Flows{});
  kernel_.put(kernel_flow(2));
  kernel_.overrun = true;
  turns(20, milliseconds(100));
  EXPECT_EQ(told(), Flows{2});
  turns(4, seconds(1));
  EXPECT_EQ(told(), Flows{1});
}

TEST_F(KeepingBackTest, AFlushOfTheCacheForgetsThem) {
  start();
  kernel_.create(kernel_flow(1));
  turn();
  ask({.verb = Verb::flush_caches, .side = Side::internal});
  turns(10, seconds(1));
  EXPECT_EQ(told(), Flows{});
  EXPECT_EQ(node_->internal_flows().total(), 0U);
}

// --- A node that goes ---

TEST_F(NodeTest, CanBeTakenDownAtAnyMomentAndBuiltAgain) {
  for (std::uint16_t n = 1; n <= 300; ++n) kernel_.put(kernel_flow(n));
  kernel_.dump_part = 5;
  for (int rest = 0; rest < 8; ++rest) {
    start();
    ask({.verb = Verb::flush_kernel, .what = What::flows});
    ask({.verb = Verb::resync_kernel, .what = What::flows});
    ask({.verb = Verb::commit, .what = What::all});
    ask({.verb = Verb::dump, .what = What::flows, .side = Side::internal})->room = 1;
    ask({.verb = Verb::flush_caches, .what = What::all, .side = Side::both});
    ask({.verb = Verb::list_resend_queue});
    if (rest % 2 != 0) ask({.verb = Verb::resync_kernel, .what = What::flows});  // waits for the first one
    turns(rest);
    node_.reset();
    EXPECT_TRUE(jobs_.empty());
    for (const auto& c : channels_) EXPECT_TRUE(c->finished) << "it would wait for ever";
  }
}

// --- WarmStandby ---

class WarmStandbyTest : public NodeTest {
 protected:
  WarmStandbyTest() {
    options_.mirror_timeout = 600;
    kernel_.knows_its_flows = true;
  }
  void say(const FlowRecord& r, wire::MsgType type = wire::MsgType::flow_new) {
    std::array<std::uint8_t, 512> room;
    ByteWriter w(room);
    wire::encode_flow(w, type, 0, ++seq_, r.flow, &r.extra, 0, {});
    node_->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, 2}}}, w.written());
  }
  // Until the answer; what is a copy still is adopted in the turns after that.
  Channel commit() {
    const auto c = ask({.verb = Verb::commit, .what = What::flows});
    for (int i = 0; i < 100 && !c->finished; ++i) turn();
    EXPECT_TRUE(c->finished);
    return c;
  }
  Flow& in_kernel(std::uint16_t n) { return kernel_.flows.at(wire_flow(n).flow.orig).flow; }

  std::uint32_t seq_ = 10000;
};

TEST_F(WarmStandbyTest, AdoptionLeavesAConnectionThatGoesOnAsItIs) {
  start();
  for (std::uint16_t n = 1; n <= 2; ++n) say(wire_flow(n));
  turns(300);
  ASSERT_EQ(kernel_.flows.size(), 2U);
  EXPECT_EQ(in_kernel(1).timeout, 600U);
  clock_.advance(seconds(432001));  // what was left at the peer is over
  commit();
  // Packets: one makes no event, of the other the event waits.
  in_kernel(1).timeout = 432000;
  in_kernel(2).proto_state = 8;
  in_kernel(2).timeout = 10;
  kernel_.events.emplace_back(kernel::EventType::update, kernel_.flows.at(wire_flow(2).flow.orig));
  for (int i = 0; i < 10; ++i) jobs_.step();
  EXPECT_EQ(in_kernel(1).timeout, 432000U);
  EXPECT_EQ(in_kernel(2).proto_state, 8);
  EXPECT_EQ(in_kernel(2).timeout, 10U);
  EXPECT_EQ(node_->internal_flows().live(), 2U);
}

TEST_F(WarmStandbyTest, AFlushWaitsForTheCommitThatFollowsToo) {
  for (int k = 0; k < 6; ++k) {
    kernel_.flows.clear();
    start();
    for (std::uint16_t n = 1; n <= 5; ++n) say(wire_flow(n));
    turns(300);
    commit();
    const auto flush = ask({.verb = Verb::flush_caches, .what = What::flows, .side = Side::external});
    turns(k);
    say(related(wire_flow(6), wire_flow(1)));
    const auto again = ask({.verb = Verb::commit, .what = What::flows});
    turns(50);
    EXPECT_TRUE(again->finished && flush->finished) << k;
    EXPECT_TRUE(kernel_.has_flow(wire_flow(6))) << k;
    node_.reset();
  }
}

TEST_F(WarmStandbyTest, WhatCommandsFollowACommitComesAfterIt) {
  start();
  for (std::uint16_t n = 1; n <= 5; ++n) say(wire_flow(n));
  turns(300);
  commit();
  const auto flush = ask({.verb = Verb::flush_caches, .what = What::flows, .side = Side::external});
  const auto kernel = ask({.verb = Verb::flush_kernel, .what = What::flows});
  turns(1000);
  EXPECT_TRUE(flush->finished && kernel->finished);
  EXPECT_EQ(kernel_.flows.size(), 0U) << "they were this node's by then";
}

TEST_F(WarmStandbyTest, ATupleThatIsUsedAgainIsThereSoon) {
  start();
  for (std::uint16_t n = 1; n <= 4000; ++n) say(wire_flow(n));
  turns(400);
  ASSERT_EQ(kernel_.flows.size(), 4000U);
  say(wire_flow(4001));
  for (int i = 0; i < 202; ++i) turn();
  say(wire_flow(3000));  // while the job writes
  turns(600);
  EXPECT_TRUE(kernel_.has_flow(wire_flow(3000)));
}

TEST_F(WarmStandbyTest, NothingIsWrittenWhileEventsAreMissed) {
  options_.overrun_resync = seconds(30);
  start();
  say(wire_flow(1));
  turns(300);
  ASSERT_EQ(kernel_.flows.size(), 1U);
  auto live = kernel_flow(1);  // with the tuple of the copy, and its events are lost
  live.flow.id = 4711;
  kernel_.put(live);
  kernel_.overrun = true;
  turn();
  say(wire_flow(1), wire::MsgType::flow_delete);
  say(wire_flow(2));
  turns(400);
  EXPECT_TRUE(kernel_.has_flow(live));
  EXPECT_FALSE(kernel_.has_flow(wire_flow(2)));
  turns(3100, milliseconds(10));
  turns(400);
  EXPECT_TRUE(kernel_.has_flow(wire_flow(2)));
}

TEST_F(WarmStandbyTest, APacketSavesACopyFromItsEndAlsoIfTheCacheIsFull) {
  options_.table_limit = 5;
  for (std::uint16_t n = 11; n <= 15; ++n) kernel_.put(kernel_flow(n));
  start();
  say(wire_flow(1));
  turns(300);
  ASSERT_EQ(kernel_.flows.size(), 6U);
  say(wire_flow(1), wire::MsgType::flow_delete);
  turn();
  kernel_.events.emplace_back(kernel::EventType::update, kernel_flow(1));
  turns(400);
  EXPECT_TRUE(kernel_.has_flow(kernel_flow(1)));
}

// Both daemons were started anew over kernels that have the same flow, and each takes the other's word for it.
TEST(WarmStandbyPairTest, TwoNodesDoNotKeepAFlowAliveForEachOther) {
  for (const auto mode : {Mode::notrack, Mode::ftfw, Mode::alarm}) {
    ManualClock clock;
    RecordingLog log;
    std::array<EventKernel, 2> kernels;
    struct Wire final : wire::DatagramSink {
      void send(std::span<const std::span<const std::uint8_t>> all) override {
        for (const auto& d : all) datagrams.emplace_back(d.begin(), d.end());
      }
      bool congested() const override { return false; }
      std::vector<std::vector<std::uint8_t>> datagrams;
    };
    std::array<Wire, 2> sinks;
    Jobs first(clock);
    Jobs second(clock);
    const std::array<Jobs*, 2> jobs{&first, &second};
    std::array<std::unique_ptr<Node>, 2> nodes;
    for (unsigned i = 0; i < 2; ++i) {
      kernels[i].knows_its_flows = true;
      kernels[i].put(kernel_flow(1));
      NodeOptions o;
      o.table_limit = 1000;
      o.mode = mode;
      o.mirror_timeout = 5;
      o.seed = i + 1;
      nodes[i] = std::make_unique<Node>(kernels[i], sinks[i], clock, log, *jobs[i], o);
      ASSERT_TRUE(nodes[i]->start());
      nodes[i]->started();
    }
    const auto turns = [&](int n) {
      for (; n > 0; --n) {
        clock.advance(milliseconds(20));
        for (unsigned i = 0; i < 2; ++i) {
          const auto host = static_cast<std::uint8_t>(2 - i);
          for (const auto& d : std::exchange(sinks[1 - i].datagrams, {})) {
            nodes[i]->on_datagram({.link = 0, .address = {Family::ipv4, {192, 168, 0, host}}}, d);
          }
          while (!kernels[i].events.empty()) nodes[i]->on_kernel_event();
          if (const auto at = nodes[i]->next_deadline(); at && *at <= clock.now()) nodes[i]->on_timer();
          jobs[i]->step();
          nodes[i]->end_turn();
        }
      }
    };
    turns(100);
    for (const auto& n : nodes) n->on_command({.verb = Verb::bulk_send}, Client(std::make_shared<FakeChannel>()));
    turns(200);
    if (mode != Mode::alarm) {
      for (const auto& n : nodes) EXPECT_EQ(n->external_flows().live(), 1U);
    }
    for (auto& k : kernels) k.end(kernel_flow(1));  // it is over: both entries run out
    turns(30000);
    for (const auto& k : kernels) EXPECT_EQ(k.flows.size(), 0U);
  }
}

// --- Modes that lack something ---

TEST_F(NodeTest, StatisticsModeAnswersWhatItHasNothingFor) {
  options_.mode = Mode::statistics;
  options_.on_finished = [](const FlowRecord&) {};
  start();
  for (const auto verb :
       {Verb::commit, Verb::bulk_send, Verb::request_resync, Verb::schedule_purge, Verb::list_resend_queue}) {
    EXPECT_TRUE(ask({.verb = verb})->finished);
  }
  EXPECT_TRUE(ask({.verb = Verb::dump, .what = What::flows, .side = Side::external})->finished);
  EXPECT_TRUE(ask({.verb = Verb::flush_kernel, .what = What::expectations})->finished);
  EXPECT_TRUE(ask({.verb = Verb::resync_kernel, .what = What::expectations})->finished);
  EXPECT_TRUE(log_.lines.empty());
  EXPECT_EQ(node_->status(), "statistics: 0 flows");
}

}  // namespace
}  // namespace ctsync::node::test
