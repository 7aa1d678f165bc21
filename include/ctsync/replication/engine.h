// SPDX-License-Identifier: GPL-2.0-or-later
// A replication engine: decides what to send and what to believe (spec replication.md 3). It is fed with messages,
// changes of the internal tables and the time; it answers with messages handed to a packer. It never sees a socket,
// never reads a clock and never formats text. Time passed in must not go backwards.
//
// The daemon's part, once a turn of its loop: feed messages and changes as they come; call on_timer() when
// next_deadline() has passed; call drain() at the end of the turn.
//
// Order on the wire: control messages go first, then waiting objects in the order of their first unsent change, then
// the bulk send. An object waits once however often it changes; its latest state is sent, with the type of its state
// (new, update, delete) and the age of its timeout.
//
// Pacing: drain() sends at most what a send budget allows, the rest waits for the next call; next_deadline() says when.
// Control messages are not held back. So a long backlog (bulk send, repetitions) overruns neither the peer's socket
// buffer nor the resend queue, and does not stall the loop (spec replication.md 9, 22 and 41).
//
// Keeping back, if so wanted (EngineOptions): a new flow is told when it has lived for a while, and not at all if it ends
// before; a flow that changes soon after it was told is told a moment later, with all that has changed by then. What is kept
// back waits in queues of its own. The sums that peers compare are of what was told: a new flow that is kept back is not in
// them, and before they are told, what was put off is.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "ctsync/base/clock.h"
#include "ctsync/base/histogram.h"
#include "ctsync/replication/bulk_ledger.h"
#include "ctsync/replication/delay_queue.h"
#include "ctsync/replication/events.h"
#include "ctsync/replication/peers.h"
#include "ctsync/replication/resync_request.h"
#include "ctsync/replication/send_queue.h"
#include "ctsync/table/expectation_table.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/table/told_sums.h"
#include "ctsync/wire/extension.h"
#include "ctsync/wire/message_reader.h"
#include "ctsync/wire/packer.h"
#include "ctsync/wire/receive_stats.h"

namespace ctsync::replication {

enum class Verdict : std::uint8_t {
  accept_data,  // decode the payload and give it to the external cache
  consumed,     // a control message, done with
  bad,          // count as malformed header; skip
  old,          // not to be used; skip, nothing to count
};
// The link a message came over becomes the current one after accept_data and consumed, not after the others (spec 3.6).

enum class Announce : std::uint8_t {
  no,
  yes,    // somebody else caused the change (spec 4.4), so the peers are told
  first,  // as yes, of an object that has only now come to be: no peer can know of it
  known,  // as yes, of an object that was kept back, though a peer may know it
};

struct EngineOptions {
  std::uint32_t first_sequence = 0;          // Unix time in seconds at start
  std::uint32_t ack_window = 300;            // FT-FW, ACKWindowSize; 0 counts as 1
  std::uint32_t resend_queue_size = 131072;  // FT-FW, elements
  std::uint32_t refresh_time = 60;           // ALARM, seconds; 0 counts as 1
  std::uint64_t seed = 1;                    // ALARM: of the refresh times
  // SyncMinAge: so long a new flow is kept back, with `established_at_once` only while it is not established. SyncCoalesce:
  // a change of a flow that was told less than so long ago is put off for so long. Whole milliseconds; zero: not at all.
  Duration min_age{};
  bool established_at_once = false;
  Duration coalesce{};
  // FT-FW, NOTRACK: what to show of ourselves (see wire/extension.h). With node 0 the engine says no more than stock does:
  // no tails, no bulk without being asked; and it reads no tails.
  wire::Capabilities self{};
};

// What an engine works on. Everything must outlive it. `flows` is nullptr with the internal cache disabled,
// `expectations` is nullptr without ExpectationSync. In `receive_stats` the engine counts `lost` and `before`, nothing
// else. `sums`: over `flows`, nullptr: peers are told none. Their owner keeps them up; the engine says what is told.
struct EngineContext {
  table::FlowTable* flows;
  table::ExpectationTable* expectations;
  Events& events;
  wire::ReceiveStats& receive_stats;
  table::ToldSums* sums = nullptr;
};

class Engine {
 public:
  Engine(const EngineContext& context, const EngineOptions& options, TimePoint now,
         const Peers::Apart& apart = Peers::kUsual);
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // A message that passed the checks of wire::MessageReader.
  virtual Verdict on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) = 0;
  // Who sent the last message that was accept_data or consumed.
  const Peer& sender() const { return peers_[sender_]; }

  // --- Changes of the internal tables ---
  // Inserted or updated, in the table already. To be told of every one, initial load included.
  void flow_changed(table::FlowId id, Announce announce, TimePoint now);
  void expectation_changed(table::ExpectId id, Announce announce, TimePoint now);
  // Destroyed and marked dead in the table. From here on the engine owns the dead object: it releases it from the table
  // when no queue refers to it any more, which may be before this returns: nobody needs the end of what was never told.
  void flow_dead(table::FlowId id, Announce announce);
  void expectation_dead(table::ExpectId id, Announce announce);
  // About to be released by the owner of the table (replacement by a new flow, flush), dead or alive: forget it, an
  // unsent or unacknowledged message included.
  void flow_leaving(table::FlowId id);
  void expectation_leaving(table::ExpectId id);
  // The flow table is full: give up the message of a dead flow and release it. False if there is none, or none was found
  // in what a turn may look at.
  virtual bool release_one_dead();
  // Whether the tables have all that they should. They have not when they were emptied and not yet filled again: then peers
  // are told no end of a bulk, for what is not in it need not have ended, and no sums. Whole at first.
  void set_whole(bool whole);

  // --- The configuration has changed ---
  // `first_sequence`, `seed` and of `self` all but the addresses stay as they are. What a flow or a peer has begun to wait
  // for may still take as long as before.
  void change(const EngineOptions& next, TimePoint now);
  // Of each link, in the new order, its number before; nothing: it is new.
  void move_links(std::span<const std::optional<std::size_t>> before) { peers_.move_links(before); }

  // --- Commands ---
  // Ask the peers for everything (-n, StartupResync). If no peer was heard lately the request is repeated as
  // ResyncRequest says. Ask::when_heard: not before a peer is heard, for a link that could only queue the request.
  // ALARM has no such message and does nothing.
  void request_resync(TimePoint now, Ask when = Ask::now);
  // Send everything (-B): flows, then expectations, dead ones that wait for their acknowledgement too. A bulk that is
  // still under way is followed by another. ALARM does nothing.
  virtual void start_bulk(TimePoint now) = 0;
  // The service is about to move: what is kept back is told now, and for kNothingKept nothing is kept back.
  void tell_all_now(TimePoint now) { keeps_back_from_ = now + kNothingKept; }
  // Without internal cache: the bulk that Events::kernel_bulk_wanted() asked for has ended, whole or not. Until then it
  // is under way: who asks for another one gets it afterwards.
  void kernel_bulk_done() { bulk_.active = false; }

  // --- Time and sending ---
  virtual std::optional<TimePoint> next_deadline() const;
  virtual void on_timer(TimePoint now) = 0;
  // Hands what may be sent now to the packer and flushes it. `congested`: the transport takes no more; then only
  // control messages go out, and data waits for a later call.
  void drain(wire::Packer& packer, TimePoint now, bool congested = false);

  // The number of the next message.
  std::uint32_t next_sequence() const { return next_seq_; }
  // A bulk is under way or waits to begin: objects that wait are not all that is to be sent.
  bool bulk_waits() const { return bulk_.active || bulk_wanted_; }
  // Flows that are to be told later.
  std::uint32_t kept_back() const { return young_.length() + deferred_.length(); }

  // --- For the statistics (spec cli.md 7.9 to 7.11) ---
  std::uint32_t transmit_length() const { return control_.length() + transmit_.length(); }
  // Control messages allocated; objects need no node of their own.
  std::size_t queue_nodes() const { return nodes_.controls(); }
  const Peers& peers() const { return peers_; }
  // Half of each round trip that was measured with a peer.
  const Histogram& delays() const { return delays_; }

 protected:
  using Kind = NodeRef::Kind;

  // What the pacing of a kind of engine is: `burst` messages every `interval`.
  struct Slice {
    std::uint32_t burst;
    Duration interval;
  };

  virtual Slice slice() const = 0;
  virtual bool knows_resync() const { return true; }
  // Messages that may be sent beyond the slice, because the peers keep up.
  virtual std::uint32_t window_room(TimePoint) const { return 0; }
  // Set: nothing of the bulk may be sent until then, unless something is heard before.
  virtual std::optional<TimePoint> bulk_held_until(TimePoint) const { return std::nullopt; }
  // Flags to add to the next message.
  virtual std::uint8_t next_flags() { return 0; }
  // `n` has just been sent with number `seq`; it is in no queue. Keep it or let go of it (done_with).
  virtual void sent(NodeRef n, std::uint32_t seq, TimePoint now) = 0;
  // The begin of a drain: do a part of the work that was put off, no more than a turn may take.
  virtual void work_on(TimePoint) {}
  // The peers are done with n, though it is still in a queue.
  virtual bool is_settled(NodeRef) const { return false; }
  // Something was sent in a drain that ends now.
  virtual void transmitted(TimePoint now) = 0;
  // Adds what an engine has to tell the addressee of c, if it has one.
  virtual void address(const ControlNode& /*c*/, wire::Extension& /*tail*/) const {}
  // All objects that wait have been sent: queues what can be said only then.
  virtual void all_told(TimePoint) {}
  virtual std::optional<TimePoint> tell_at() const { return std::nullopt; }  // when that is due
  virtual void object_changed(NodeRef, TimePoint) {}                         // announced or not
  virtual void object_gone(NodeRef) {}                                       // dead or leaving
  // Takes n out of whatever queue it is in.
  virtual void unlink(NodeRef n);
  // A bulk from the tables begins, or all of it has been sent and acknowledged.
  virtual void bulk_begins() {}
  virtual void bulk_arrived(std::uint32_t /*first*/, std::uint32_t /*count*/) {}
  // Likewise a repair.
  virtual void repair_arrived(std::uint32_t /*first*/) {}
  // The tables are whole again, and the last bulk was not.
  virtual void whole_again() {}

  void queue_control(const ControlNode& c) { control_.push_back(nodes_.new_control(c)); }
  void queue_object(NodeRef n);  // moves it to the transmit queue; stays where it is if it waits there already
  // n is in no queue and need not be sent again: frees a control message, releases a dead object.
  void done_with(NodeRef n);
  // A bulk now; or, when one is under way, after it.
  void begin_bulk(TimePoint now);
  // Sends the flows of these buckets, if no bulk is under way.
  void begin_repair(const table::Buckets& buckets);
  bool is_whole() const { return whole_; }
  // A bulk that a peer asked for: as above, but not more often than kBulkSpacing.
  void answer_resync(PeerId peer, TimePoint now);
  std::optional<TimePoint> bulk_began() const { return bulk_started_; }  // the last one
  bool bulk_active() const { return bulk_.active; }
  bool bulk_arrives() const { return ledger_.is_open(); }  // or a repair: not all of it has been acknowledged
  void bulk_is_lost() { ledger_.close(); }                 // something of it was given up
  bool is_of_bulk(NodeRef n) const { return ledger_.holds(n); }
  // Empty also if this node takes none.
  wire::Extension read_tail(const wire::Message& m) const;
  // The tail of a message that was accepted: takes over what the peer shows of itself.
  void hear_tail(Peer& p, const wire::Extension& e);
  void heard_from(const Peer& p) { sender_ = peers_.id(p); }
  std::uint32_t take_seq() { return next_seq_++; }
  bool is_dead(NodeRef n) const;

  EngineContext context_;
  EngineOptions options_;
  Nodes nodes_;
  Peers peers_;
  SendQueue control_;    // ACK, NACK, RESYNC, ALIVE to send
  SendQueue transmit_;   // objects to send
  DelayQueue young_;     // flows that are to be told when they are old enough
  DelayQueue deferred_;  // flows that were told a moment ago and have changed since
  ResyncRequest resync_;
  std::uint32_t next_seq_;

 private:
  static constexpr Duration kBulkSpacing = std::chrono::seconds(1);
  // Until a congested link is looked at again, if it does not wake the loop by itself; may last as long as a peer is
  // away.
  static constexpr Duration kCongestedPause = std::chrono::milliseconds(10);
  static constexpr std::uint32_t kScanLimit = 8192;      // slots looked at in one drain
  static constexpr std::uint32_t kDeadScanLimit = 2000;  // slots looked at for dead flows between two drains
  static constexpr std::uint32_t kDueLimit = 2000;       // flows that come from young_ or deferred_ in one drain
  static constexpr Duration kNothingKept = std::chrono::seconds(10);
  static constexpr std::size_t kMostMasters = 8;  // of one object, each the master of the one before

  // A walk over the tables by id that can stop anywhere. It ends where the tables ended when it began: what came later
  // announces itself.
  struct Bulk {
    bool active = false;
    bool from_kernel = false;  // without internal cache: somebody else walks
    table::FlowId flow = 0;
    table::FlowId flow_end = 0;
    table::ExpectId expectation = 0;
    table::ExpectId expectation_end = 0;
    std::uint32_t first_seq = 0;
    std::uint32_t count = 0;  // objects sent
    bool repair = false;      // only flows of `repaired_`
  };

  void changed(NodeRef n, Announce announce, TimePoint now);
  bool is_kept_back(NodeRef n, Announce announce, TimePoint now);
  bool was_told_lately(const table::FlowSlot& slot) const {
    return next_seq_ - slot.link.seq <= next_seq_ - next_seqs_.front();
  }
  void note_time(TimePoint now);
  void take_due(TimePoint now);
  table::FlowId master_of(NodeRef n) const;
  void send_young_masters(wire::Packer& packer, NodeRef n, TimePoint now);
  void tell(NodeRef n);
  void dead(NodeRef n, Announce announce);
  void leaving(NodeRef n);
  void ask_if_due(TimePoint now);
  TimePoint next_bulk_at() const { return bulk_started_ ? *bulk_started_ + kBulkSpacing : TimePoint::min(); }
  wire::Extension tail_for(const ControlNode& c, TimePoint now);
  wire::Probe probe(TimePoint now);
  void hear_probe(Peer& p, const wire::Probe& probe);
  void write_tail(const ControlNode& c, wire::Extension& e) const;
  bool all_take(std::uint32_t bits, TimePoint now) const;
  void end_bulk_if_arrived();
  bool send_controls(wire::Packer& packer, TimePoint now);
  void send_control(wire::Packer& packer, TimePoint now);
  void send_object(wire::Packer& packer, NodeRef n, TimePoint now);
  bool send_data(wire::Packer& packer, TimePoint now);
  NodeRef next_of_bulk(std::uint32_t& scanned);

  // How often what we are is said, at most.
  static constexpr Duration kShowSpacing = std::chrono::seconds(1);
  // A message that took longer is none that was measured.
  static constexpr Duration kLongestRoundTrip = std::chrono::seconds(10);
  // Who has not shown what it is for so long while it was heard is a stock node now.
  static constexpr Duration kShownLately = std::chrono::seconds(10);

  Histogram delays_;
  Bulk bulk_;
  table::Buckets repaired_;
  bool whole_ = true;
  bool bulk_was_whole_ = true;
  BulkLedger ledger_;
  PeerId sender_ = 0;
  std::optional<TimePoint> shown_at_;
  PeerId next_echo_ = 0;      // whose probe is answered first next time
  bool bulk_wanted_ = false;  // another one, when this one is done and kBulkSpacing has passed
  std::optional<TimePoint> bulk_started_;
  std::optional<TimePoint> bulk_held_until_;
  TimePoint slice_start_;
  std::optional<TimePoint> congested_at_;
  std::uint32_t slice_left_ = 0;
  table::FlowId dead_scan_ = 0;  // where release_one_dead() goes on
  std::uint32_t dead_scan_left_ = kDeadScanLimit;
  TimePoint keeps_back_from_{};  // until then nothing is kept back
  bool more_due_ = false;
  // The numbers of the next message that were valid in the last `coalesce`, at equal distances up to noted_at_: so the number
  // of a message tells whether it was sent within that time.
  static constexpr Duration::rep kNoted = 8;
  std::array<std::uint32_t, kNoted> next_seqs_;
  TimePoint noted_at_;
};

}  // namespace ctsync::replication
