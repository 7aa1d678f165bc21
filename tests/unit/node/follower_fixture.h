// SPDX-License-Identifier: GPL-2.0-or-later
// A KernelFollower with its tables, an FT-FW engine whose messages are recorded as "NEW 1" (type, source port; "EXP_NEW
// 20": expected port), and a kernel in memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bypass.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/table/told_sums.h"
#include "ctsync/wire/expectation_codec.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"
#include "ctsync/wire/packer.h"
#include "fixture.h"
#include "internal_cache.h"
#include "kernel_follower.h"

namespace ctsync::node::test {

using kernel::EventType;
using kernel::Origin;
using Lines = std::vector<std::string>;

class FollowerTest : public testing::Test, protected replication::Events, private wire::DatagramSink {
 protected:
  enum class Kind { sync, injecting, bypass, statistics };

  explicit FollowerTest(std::uint32_t limit = 1000, Kind kind = Kind::sync, const replication::EngineOptions& o = {})
      : flows_(limit, 0, 7), expectations_(1000, 7) {
    switch (kind) {
      case Kind::sync:
      case Kind::injecting: {
        engine_ = std::make_unique<replication::FtFw>(
            replication::EngineContext{&flows_, &expectations_, *this, stats_, &sums_}, o, clock_.now());
        auto cache = std::make_unique<SyncCache>(flows_, &expectations_, *engine_, &sums_,
                                                 kind == Kind::injecting ? &copies_ : nullptr,
                                                 kind == Kind::injecting ? &copies_ : nullptr, clock_);
        cache_ = cache.get();
        store_ = std::move(cache);
        break;
      }
      case Kind::bypass: {
        auto engine = std::make_unique<replication::Notrack>(
            replication::EngineContext{nullptr, nullptr, *this, stats_}, o, clock_.now());
        store_ = std::make_unique<Bypass>(kernel_, filter_, *engine, packer_, log_, true, &copies_);
        engine_ = std::move(engine);
        break;
      }
      case Kind::statistics:
        store_ = std::make_unique<StatisticsCache>(
            flows_, [this](const FlowRecord& r) { ended_.push_back(r.flow.orig.src_port); }, clock_);
    }
    follower_ =
        std::make_unique<KernelFollower>(KernelFollower::Context{clock_, log_, kernel_, filter_, helpers_, *store_, 7});
    follower_->later = [this] { ++later_; };
  }

  void event(EventType type, FlowRecord r, Origin origin = Origin::foreign) { follower_->on_flow(type, r, origin); }
  void event(EventType type, Expectation e, Origin origin = Origin::foreign) {
    follower_->on_expectation(type, e, origin);
  }
  // What the peers have been sent since the last call.
  Lines sent() {
    engine_->drain(packer_, clock_.now());
    return std::exchange(sent_, {});
  }
  // Everything sent so far is acknowledged.
  void acknowledge() {
    wire::Message m;
    m.header.type = wire::MsgType::control;
    m.header.flags = wire::flag::kAck;
    m.header.seq = ++peer_seq_;
    m.from = 0;
    m.to = last_seq_;
    const replication::PeerAddress peer{0, {Family::ipv4, {192, 168, 0, 2}}};
    EXPECT_EQ(engine_->on_message(peer, m, clock_.now()), replication::Verdict::consumed);
  }

  table::FlowState state_of(std::uint16_t n) const {
    const auto id = flows_.find(kernel_flow(n).flow.orig);
    return id == table::kNoFlow ? table::FlowState::free : flows_.slot(id).state;
  }
  bool is_cached(std::uint16_t n) const {
    return state_of(n) == table::FlowState::new_ || state_of(n) == table::FlowState::alive;
  }
  const Flow& cached(std::uint16_t n) const { return flows_.slot(flows_.find(kernel_flow(n).flow.orig)).flow; }

  ManualClock clock_;
  RecordingLog log_;
  FakeKernel kernel_;
  InjectedCopies copies_{kernel_, 7, 1000};
  FlowFilter filter_;
  HelperFilter helpers_{{}};
  table::FlowTable flows_;
  table::ToldSums sums_{flows_, true};
  table::ExpectationTable expectations_;
  wire::ReceiveStats stats_;
  wire::Packer packer_{1472, {}, *this};
  std::unique_ptr<replication::Engine> engine_;
  std::unique_ptr<InternalStore> store_;
  SyncCache* cache_ = nullptr;  // the store, if it is one
  std::vector<int> ended_;      // statistics
  std::unique_ptr<KernelFollower> follower_;
  int later_ = 0;

 private:
  void send(std::span<const std::span<const std::uint8_t>> datagrams) override {
    static constexpr const char* kTypes[] = {"NEW", "UPD", "DEL", "EXP_NEW", "EXP_UPD", "EXP_DEL"};
    for (const auto& d : datagrams) {
      wire::MessageReader reader(d);
      wire::Message m;
      wire::ReceiveStats ignored;
      while (reader.next(m, ignored)) {
        last_seq_ = m.header.seq;
        if (!wire::is_data(m.header.type)) continue;
        FlowRecord r;
        Expectation e;
        const bool flow = wire::is_flow(m.header.type);
        if (flow) {
          EXPECT_EQ(wire::decode_flow(m.payload, r), wire::DecodeStatus::ok);
        } else {
          EXPECT_EQ(wire::decode_expectation(m.payload, e), wire::DecodeStatus::ok);
        }
        sent_.push_back(fmt::format("{} {}", kTypes[static_cast<int>(m.header.type)],
                                    flow ? r.flow.orig.src_port : e.expected.dst_port));
      }
    }
  }

  Lines sent_;
  std::uint32_t last_seq_ = 0;
  std::uint32_t peer_seq_ = 100;
};

}  // namespace ctsync::node::test
