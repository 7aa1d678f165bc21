// SPDX-License-Identifier: GPL-2.0-or-later
// A model of conntrackd in FT-FW mode, written from the specification (doc/spec/replication.md 3.2, 3.7, 4.2 to 4.5), with
// the faults that are named there. It has the functions by which sim::Node runs node::Node, so that it is one kind of
// node. Requests of operators it does not know.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <span>

#include "ctsync/base/clock.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/node/options.h"
#include "ctsync/replication/peers.h"
#include "ctsync/wire/message_reader.h"
#include "ctsync/wire/packer.h"
#include "fake_kernel.h"
#include "state.h"

namespace ctsync::sim {

class Stock final : private kernel::EventHandler, private kernel::DumpHandler {
 public:
  Stock(kernel::KernelTable& kernel, wire::DatagramSink& sink, const Clock& clock, const node::NodeOptions& options);

  void start();
  void on_kernel_event() { kernel_.read_events(options_.event_limit, *this); }
  bool on_datagram(const replication::PeerAddress& from, std::span<const std::uint8_t> datagram);
  std::optional<TimePoint> next_deadline() const { return earlier(alive_at_, resync_at_); }
  void on_timer();
  void end_turn();

  State internal() const;
  State external() const;

 private:
  enum class Hello : std::uint8_t { initial, saying, done };
  struct Object;
  // What waits to be sent, or to be acknowledged: an object of the internal cache, or a control message.
  struct Element {
    Object* object = nullptr;
    std::uint8_t flags = 0;
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    std::uint32_t seq = 0;
  };
  using Queue = std::list<Element>;
  struct Object {
    FlowRecord record;
    bool updated = false;
    bool dead = false;
    Queue* in = nullptr;
    Queue::iterator at{};
  };
  template <typename T>
  using ByTuple = std::map<Tuple, T, node::test::TupleLess>;

  void on_flow(kernel::EventType type, FlowRecord& record, kernel::Origin origin) override;
  void on_expectation(kernel::EventType, Expectation&, kernel::Origin) override {}
  void on_expectation(Expectation&) override {}
  void on_bad_event(kernel::DecodeStatus) override {}
  void on_overrun(kernel::BufferGrowth, std::uint32_t) override;
  void on_flow(FlowRecord& record, std::span<const std::uint8_t>) override;

  void dump();
  void put(const FlowRecord& record, bool tell);
  void queue(Object& o);
  void leave_queue(Object& o);
  void forget(Queue::iterator in_resend);
  void control(std::uint8_t flags, std::uint32_t from, std::uint32_t to);
  void send(Queue::iterator e);
  std::uint8_t hello_flags();

  bool on_message(const wire::Message& m);
  bool digest(const wire::Message& m);
  void bulk();
  void take(const wire::Message& m);

  kernel::KernelTable& kernel_;
  const Clock& clock_;
  node::NodeOptions options_;
  wire::Packer packer_;
  ByTuple<Object> internal_;
  ByTuple<FlowRecord> external_;
  Queue transmit_;
  Queue resend_;
  std::uint32_t next_seq_;
  bool received_ = false;
  std::uint32_t last_ = 0;
  std::uint32_t window_;
  bool ack_pending_ = false;
  std::uint32_t ack_start_ = 0;
  Hello hello_ = Hello::initial;
  bool owe_hello_back_ = false;
  bool loading_ = false;
  std::optional<TimePoint> alive_at_;
  std::optional<TimePoint> resync_at_;
};

}  // namespace ctsync::sim
