// SPDX-License-Identifier: GPL-2.0-or-later
// Any sequence of messages of several peers, changes of the tables, commands and steps of the time, for each engine.
// However it comes, the queues stay bounded, what is sent is well formed and numbered without a gap, the engine never
// asks to be woken at once without end, and in the end no dead object is left in a table.
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "ctsync/replication/alarm.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/wire/message_reader.h"
#include "ctsync/wire/packer.h"
#include "input.h"

using namespace ctsync;
using namespace ctsync::replication;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr std::uint32_t kFlows = 64;  // different ones; the table may hold fewer
constexpr std::uint32_t kExpectations = 8;
constexpr std::uint32_t kPeers = 6;
constexpr std::uint32_t kNode = 77;  // our own id, of nodes that show one
constexpr Duration kMillisecond = std::chrono::milliseconds(1);

FlowRecord flow_record(std::uint32_t n) {
  FlowRecord r;
  r.flow.orig.family = Family::ipv4;
  r.flow.orig.l4 = kUdp;
  r.flow.orig.src = {10, 77, 1, 2};
  r.flow.orig.dst = {10, 77, 2, 2};
  r.flow.orig.src_port = static_cast<std::uint16_t>(n);
  r.flow.present = has::kPorts | has::kStatus | has::kTimeout;
  r.flow.timeout = 30;
  return r;
}

Expectation expectation(std::uint32_t n) {
  Expectation e;
  e.master = e.expected = e.mask = flow_record(n).flow.orig;
  e.present = expect_has::kMaster | expect_has::kMasterPorts | expect_has::kExpected | expect_has::kExpectedPorts |
              expect_has::kMask | expect_has::kMaskPorts | expect_has::kTimeout;
  e.timeout = 30;
  return e;
}

// What the engine sends: whole messages, numbered one after the other.
class Wire final : public wire::DatagramSink {
 public:
  explicit Wire(std::uint32_t first) : next_(first) {}
  std::uint32_t next() const { return next_; }

  void send(std::span<const std::span<const std::uint8_t>> datagrams) override {
    for (const auto& d : datagrams) {
      wire::MessageReader reader(d);
      wire::Message m;
      while (reader.next(m) == wire::MessageReader::Status::message) check(m);
      require(reader.last() == wire::MessageReader::Status::end);
    }
  }

 private:
  void check(const wire::Message& m) {
    require(m.header.seq == next_++);
    if (m.header.type != wire::MsgType::control) return require(wire::is_data(m.header.type));
    require(wire::control_kind(m.header.flags) != wire::ControlKind::none);
    require(static_cast<std::int32_t>(m.to - m.from) >= 0);
  }

  std::uint32_t next_;
};

class World final : public Events {
 public:
  explicit World(Input& in)
      : in_(in),
        options_(options(in)),
        flows_(1 + in.below(kFlows), 0, 1),
        expectations_(1 + in.below(kExpectations), 1),
        wire_(options_.first_sequence),
        packer_(1472, {}, wire_) {
    const EngineContext context{
        .flows = &flows_, .expectations = &expectations_, .events = *this, .receive_stats = stats_};
    switch (in.below(4)) {
      case 0:
        engine_ = std::make_unique<Notrack>(context, options_, now_);
        break;
      case 1:
        engine_ = std::make_unique<Alarm>(context, options_, now_);
        break;
      default:
        auto ftfw = std::make_unique<FtFw>(context, options_, now_);
        ftfw_ = ftfw.get();
        engine_ = std::move(ftfw);
    }
    for (auto& n : heard_) n = in.yes() ? 1 : 0xfffffff0;
  }

  void step() {
    switch (in_.below(12)) {
      case 0:
      case 1:
      case 2:
        return hear();
      case 3:
      case 4:
        return change_flow();
      case 5:
        return destroy_flow();
      case 6:
        return replace_flow();
      case 7:
        return change_expectation();
      case 8:
        return command();
      case 9:
        return wait(kMillisecond * in_.byte());
      case 10:
        return wait(std::chrono::milliseconds(100) * in_.byte());
      default:
        return drain(in_.yes());
    }
  }

  // All objects go, and the peers acknowledge everything or greet anew: nothing may hold on to the dead.
  void end() {
    for (std::uint32_t n = 0; n < kFlows; ++n) destroy(n, Announce::yes);
    for (std::uint32_t n = 0; n < kExpectations; ++n) destroy_expectation(n);
    wait(FtFw::kPeerGone + std::chrono::seconds(2));  // nobody is waited for any more
    wire::Message hello;
    hello.header = {wire::MsgType::control, wire::flag::kAlive | wire::flag::kHello, wire::kHeaderSize, 0x40000000};
    engine_->on_message(peer(kPeers), hello, now_);
    wait(std::chrono::seconds(1));
    require(flows_.total() == 0);
    require(expectations_.total() == 0);
  }

 private:
  static EngineOptions options(Input& in) {
    EngineOptions o;
    o.first_sequence = in.yes() ? 0xfffffff0 : 1000;
    o.ack_window = in.byte();
    o.resend_queue_size = in.byte();
    o.refresh_time = in.byte();
    o.self.node = in.yes() ? kNode : 0;
    return o;
  }

  static PeerAddress peer(std::uint32_t n) {
    const auto link = static_cast<std::uint8_t>(n & 1);
    return {link, {Family::ipv4, Address{192, 168, link, static_cast<std::uint8_t>(n >> 1)}}};
  }

  // --- Messages ---

  void hear() {
    const auto k = in_.below(kPeers);
    wire::Message m;
    m.header.type = in_.yes() ? wire::MsgType::control : static_cast<wire::MsgType>(in_.below(16));
    m.header.flags = in_.byte();
    m.header.seq = number(heard_[k]);
    if (m.header.type == wire::MsgType::control && (m.header.flags & wire::flag::kRange) != 0) {
      m.from = number(wire_.next());
      m.to = in_.yes() ? m.from + in_.byte() : number(wire_.next());
    }
    std::array<std::uint8_t, 8 + wire::kMaxExtensionSize> room{};
    ByteWriter w(room);
    if (m.header.type == wire::MsgType::control && in_.yes()) {
      if ((m.header.flags & wire::flag::kRange) != 0) w.zeros(8);
      write_extension(w, tail(k));
      m.payload = w.written();
    }
    const Verdict v = engine_->on_message(peer(k), m, now_);
    require(v != Verdict::accept_data || wire::is_data(m.header.type) ||
            ftfw_ == nullptr);  // ALARM leaves it to the decoder
    if (v == Verdict::accept_data || v == Verdict::consumed) heard_[k] = m.header.seq + 1;
  }

  wire::Extension tail(std::uint32_t from) {
    wire::Extension e;
    if (in_.yes()) {
      e.capabilities.emplace();
      e.capabilities->node = 100 + from + (in_.below(8) == 0 ? kPeers : 0);
    }
    if (in_.yes()) e.addressee = {.node = in_.below(8) == 0 ? 1 : kNode, .heard = number(heard_[from])};
    if (in_.below(4) == 0) e.bulk_end = {.first = number(heard_[from]), .count = in_.byte()};
    for (auto n = in_.below(4); n != 0; --n) {
      const auto first = number(wire_.next());
      e.missing.ranges[e.missing.count++] = {.from = first, .to = in_.yes() ? first + in_.byte() : in_.word()};
    }
    if (e.capabilities) {
      e.capabilities->host = in_.below(3);
      e.capabilities->bits = in_.below(2);
    }
    if (in_.below(4) == 0) {
      e.probe = {.stamp = in_.word(), .count = 1, .echoes = {{{kNode, in_.word(), in_.word()}}}};
    }
    return e;
  }

  // Mostly the expected one, or one near it; seldom any.
  std::uint32_t number(std::uint32_t expected) {
    const auto how = in_.byte();
    if (how < 128) return expected;
    if (how < 255) return expected + how - 192;
    return in_.word();
  }

  // --- Changes, as the daemon tells them ---

  Announce announce() { return in_.below(8) == 0 ? Announce::no : Announce::yes; }

  void change_flow() {
    const auto r = flow_record(in_.below(kFlows));
    auto id = flows_.find(r.flow.orig);
    if (id != table::kNoFlow && flows_.slot(id).state == table::FlowState::dead) {
      engine_->flow_leaving(id);
      flows_.release(id);
      id = table::kNoFlow;
    }
    auto how = announce();
    if (id != table::kNoFlow) {
      flows_.update(id, r, now_);
    } else {
      if (flows_.total() == flows_.limit()) engine_->release_one_dead();
      id = flows_.insert(r, now_);
      if (how == Announce::yes && in_.yes()) how = Announce::first;
    }
    if (id != table::kNoFlow) engine_->flow_changed(id, how, now_);
  }

  void destroy_flow() { destroy(in_.below(kFlows), announce()); }

  void destroy(std::uint32_t n, Announce how) {
    const auto id = flows_.find(flow_record(n).flow.orig);
    if (id == table::kNoFlow || flows_.slot(id).state == table::FlowState::dead) return;
    flows_.mark_dead(id);
    engine_->flow_dead(id, how);
  }

  void replace_flow() {
    const auto id = flows_.find(flow_record(in_.below(kFlows)).flow.orig);
    if (id == table::kNoFlow) return;
    engine_->flow_leaving(id);
    flows_.release(id);
  }

  void change_expectation() {
    const auto n = in_.below(kExpectations);
    if (in_.yes()) return destroy_expectation(n);
    const auto e = expectation(n);
    auto id = expectations_.find(e);
    if (id == table::kNoExpect) {
      id = expectations_.insert(e, now_);
    } else if (expectations_.slot(id).state == table::FlowState::dead) {
      engine_->expectation_leaving(id);
      expectations_.release(id);
      return;
    } else {
      expectations_.update(id, e, now_);
    }
    if (id != table::kNoExpect) engine_->expectation_changed(id, announce(), now_);
  }

  void destroy_expectation(std::uint32_t n) {
    const auto id = expectations_.find(expectation(n));
    if (id == table::kNoExpect || expectations_.slot(id).state == table::FlowState::dead) return;
    expectations_.mark_dead(id);
    engine_->expectation_dead(id, Announce::yes);
  }

  void command() {
    if (in_.yes()) {
      engine_->start_bulk(now_);
    } else {
      engine_->request_resync(now_);
    }
  }

  // --- Time ---

  void wait(Duration d) {
    const TimePoint end = now_ + d;
    drain(false);
    int at_once = 0;
    for (auto next = engine_->next_deadline(); next && *next <= end; next = engine_->next_deadline()) {
      now_ = std::max(now_, *next);
      engine_->on_timer(now_);
      drain(false);
      // Work that was put off is gone on with at once, but it comes to an end.
      const auto again = engine_->next_deadline();
      at_once = again && *again <= now_ ? at_once + 1 : 0;
      require(at_once < 20);
    }
    now_ = end;
  }

  void drain(bool congested) {
    engine_->drain(packer_, now_, congested);
    require(engine_->transmit_length() <= flows_.total() + expectations_.total());  // no control message waits
    if (ftfw_ == nullptr) return require(engine_->queue_nodes() == 0);
    require(ftfw_->resend_length() <= ftfw_->resend_maximum());
    require(engine_->queue_nodes() <= ftfw_->resend_length());
  }

  Input& in_;
  EngineOptions options_;
  TimePoint now_{std::chrono::seconds(1000)};
  wire::ReceiveStats stats_;
  table::FlowTable flows_;
  table::ExpectationTable expectations_;
  Wire wire_;
  wire::Packer packer_;
  std::unique_ptr<Engine> engine_;
  FtFw* ftfw_ = nullptr;
  std::array<std::uint32_t, kPeers> heard_{};  // the next number of each peer
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  World world(in);
  while (in.more()) world.step();
  world.end();
  return 0;
}
