// SPDX-License-Identifier: GPL-2.0-or-later
// The engine of Mode NOTRACK (spec replication.md 3.3): nothing is acknowledged or repeated; numbers serve the counters
// alone. Everything is accepted in any order. ALIVE one second after the last transmission.
#pragma once

#include "ctsync/flow/flow.h"
#include "ctsync/replication/engine.h"

namespace ctsync::replication {

class Notrack final : public Engine {
 public:
  static constexpr Duration kAliveInterval = std::chrono::seconds(1);

  // So many messages missing at once are counted only when nobody has gone on before them for so long: they may be the
  // distance to a second sender behind the address.
  static constexpr std::uint32_t kWideGap = 1024;
  static constexpr Duration kWideGapTime = std::chrono::seconds(1);

  Notrack(const EngineContext& context, const EngineOptions& options, TimePoint now);

  Verdict on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) override;
  void start_bulk(TimePoint now) override { begin_bulk(now); }
  std::optional<TimePoint> next_deadline() const override;
  void on_timer(TimePoint now) override;

  // With the internal cache disabled: an event becomes a message at once, nothing is merged. It leaves with the next
  // drain(), that is in the same turn of the loop (stock waits for the next ALIVE). `type`: a flow type.
  void send_event(wire::Packer& packer, wire::MsgType type, const FlowRecord& r);
  void send_event(wire::Packer& packer, wire::MsgType type, const Expectation& e);

 private:
  static constexpr std::uint32_t kLate = 64;
  // Nothing is refused for its number, so nothing speaks against parting them soon.
  static constexpr Peers::Apart kApart{.distance = 8, .time = {}};

  void count(Peer& p, std::uint32_t seq, TimePoint now);
  void lose(const Peer& p, const wire::NumberRange& gap);
  Slice slice() const override { return {256, std::chrono::milliseconds(1)}; }
  void sent(NodeRef n, std::uint32_t, TimePoint) override { done_with(n); }
  void transmitted(TimePoint now) override { alive_at_ = now + kAliveInterval; }

  TimePoint alive_at_;
};

}  // namespace ctsync::replication
