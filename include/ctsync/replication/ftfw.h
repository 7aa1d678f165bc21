// SPDX-License-Identifier: GPL-2.0-or-later
// The engine of Mode FTFW (spec replication.md 3.2): every message is numbered, acknowledged, and kept until then; gaps
// are asked for and repeated with the current state. On the wire it behaves as stock conntrackd. It does better where
// stock loses its way, without the other side having to know:
//  - Sequence state is kept per sender, so a third node does not disturb two others.
//  - Nodes that have shown themselves as ours (wire/extension.h) name whom an ACK or NACK means, and a message is kept until
//    each of them has it. A stock node names numbers only, so with three or more nodes it may free a message before all
//    have it. That is told, see Events.
//  - A peer that is new, has restarted, was away or lacks what was given up is sent a bulk without having asked. When all of
//    that has been acknowledged, nodes of our kind are told, so that they can drop what has ended meanwhile.
//  - An ACK that does not continue the last one of that peer tells that it never got the numbers in between (its NACK
//    was lost, or it heard us first after them): they are repeated as if asked for. Messages older than a first ACK
//    likewise.
//  - HELLO restarts a peer's sequence when it opens a session (first contact, or the peer's previous message had none,
//    or its number went back). Then it also empties the resend queue. A later HELLO of the same session is an ordinary
//    message, gaps included; and one that comes late (an old number, not far before the session, within kLateHello) is
//    an old message. If nothing but old numbers follow it, the peer has restarted: after kLateHello its session begins
//    with that HELLO, and what was not used since is asked for. What comes late of the session before is old as well.
//  - A jump ahead of more than kBelievableGap is believed when the next number follows it: the message itself is
//    dropped, the successor opens the gap and asks for it. A corrupt number thus costs nothing; a real jump costs a
//    repetition.
//  - When a peer sends nothing but successive old numbers for kOldRunTime (3 alive intervals), it is taken at its new
//    number. Stock drops such a peer for ever.
//  - ACKWindowSize 1 acknowledges each message also after a gap. But with an ACKWindowSize not greater than the number
//    of peers an ACK is acknowledged by the timer alone: stock nodes of that configuration answer each other's ACKs
//    without end.
//  - Lost messages are counted right and once.
//  - A RESYNC while a bulk send is under way causes one more bulk, at most one a second.
//  - Whatever a peer says, a turn takes at most kStepsPerTurn steps through the resend queue. The rest is done in the
//    turns that follow; next_deadline() asks for them at once.
// A bad message never moves a peer's number; a bad payload does (else a peer would be asked for it for ever).
#pragma once

#include <algorithm>
#include <bitset>
#include <optional>
#include <vector>

#include "ctsync/replication/engine.h"
#include "ctsync/replication/resend_queue.h"
#include "ctsync/replication/sequence.h"

namespace ctsync::replication {

class FtFw final : public Engine {
 public:
  static constexpr Duration kAliveInterval = std::chrono::seconds(1);
  static constexpr std::uint32_t kBelievableGap = 1U << 17;
  static constexpr Duration kOldRunTime = 3 * kAliveInterval;
  static constexpr std::uint32_t kOldRunCount = 3;
  static constexpr Duration kLateHello = std::chrono::milliseconds(500);
  static constexpr std::uint32_t kLateHelloReach = 1024;
  // Sent and not acknowledged, while acknowledgements come in: about 54 full datagrams, well below what fits the
  // default socket buffer, and several of the peer's default ACK windows. At most half of the resend queue, though.
  static constexpr std::uint32_t kFlightLimit = 1500;
  // A node of our kind is told what is missing so long, times the peers, after the first gap, for all gaps together: when
  // several nodes lose much, questions about lost questions would soon be more than the link takes.
  static constexpr Duration kMissingDelay = std::chrono::milliseconds(10);
  // Between two ACKs of full windows to such a node, times the peers: one says all that several would.
  static constexpr Duration kAckSpacing = std::chrono::milliseconds(2);
  // What shows a node of our kind that the last objects before a silence are lost comes so long after them.
  static constexpr Duration kTailProbe = std::chrono::milliseconds(20);
  static constexpr Duration kAckIsFresh = 2 * kAliveInterval;  // a bulk waits so long for the next one
  // What a peer lacks of which nothing was heard for so long is no news.
  static constexpr Duration kPeerGone = std::chrono::seconds(10);
  // A peer that lacks something is sent a bulk without having asked, so long after that was seen (it may ask itself), and
  // so long after the bulk before.
  static constexpr Duration kOfferDelay = std::chrono::seconds(1);
  static constexpr Duration kOfferSpacing = std::chrono::seconds(10);
  // Sums of a peer that has not told everything yet are of no use, unless it is overdue.
  static constexpr Duration kTellsAll = std::chrono::seconds(15);
  // Sums are told with the message of each second, of one half of the groups each time; where others make that superfluous,
  // so often.
  static constexpr Duration kSumsInterval = std::chrono::milliseconds(1300);
  // Messages with sums of buckets that are sent at once, and when the next ones are.
  static constexpr std::uint32_t kSumsAtOnce = 8;
  static constexpr Duration kSumsPause = std::chrono::milliseconds(5);
  // Who goes on asking is not told the same ones again before so long has passed: 128 messages of 0.3 KB. (The sums of a
  // group, which give rise to the question, come no more often.)
  static constexpr Duration kSumsAgain = std::chrono::seconds(2);
  static constexpr Duration kRepeatSpacing = std::chrono::milliseconds(10);  // asked for by a stock node among others
  // So many messages of a stock node with numbers that others had, within so long, show a second node with its numbers.
  static constexpr std::uint32_t kAlike = 3;
  static constexpr Duration kAlikeTime = std::chrono::seconds(10);
  static constexpr Duration kRepairSpacing = std::chrono::milliseconds(200);
  // What is repaired is acknowledged at once for so long, so that its end comes soon.
  static constexpr Duration kRepairPatience = std::chrono::seconds(5);
  // Elements of the resend queue that are moved, freed or looked at in one turn, about a tenth of a millisecond.
  static constexpr std::uint32_t kStepsPerTurn = 2000;
  // Elements that make room for one, at most.
  static constexpr int kMostRoom = 16;
  // Ranges to repeat that are kept for later turns; what peers ask for beyond is dropped.
  static constexpr std::size_t kMaxRepeats = 64;
  // ACKs and NACKs that one peer, and all of them together, can cause in one turn.
  static constexpr std::uint32_t kAnswersPerTurn = 64;
  static constexpr std::uint32_t kControlLimit = 4096;

  FtFw(const EngineContext& context, const EngineOptions& options, TimePoint now);

  Verdict on_message(const PeerAddress& from, const wire::Message& m, TimePoint now) override;
  void start_bulk(TimePoint now) override { begin_bulk(now); }
  bool release_one_dead() override;
  // Asks a peer of our kind for the sums of the buckets of these groups, and for what Events::repair_ended() answers.
  void ask_sums(PeerId peer, std::uint64_t groups);
  void ask_repair(PeerId peer, const wire::RepairRequest& request);
  // All that the peer has is held, so it has told everything, though the end of a bulk that says so was never heard.
  void found_in_step(PeerId peer) { peers_.all()[peer].told_all = true; }
  std::optional<TimePoint> next_deadline() const override;
  void on_timer(TimePoint now) override;

  // The live peers have acknowledged all before this number, as far as their kind lets them tell.
  bool is_acknowledged_before(std::uint32_t seq) const;

  // Statistics of the resend queue (spec cli.md 7.9, 7.11).
  std::uint32_t resend_length() const { return resend_.length() - resend_.count_before(settled_); }
  std::uint32_t resend_maximum() const { return options_.resend_queue_size; }
  std::uint64_t resend_no_space() const { return no_space_; }
  // Messages that this peer has not acknowledged yet, as far as it is known.
  std::uint32_t waiting_for(PeerId peer) const;
  // The next `most` elements in order from `next` on (empty: from the first), so that nobody has to walk over all of
  // them in one go; moves `next` behind them. How many there were. f(bool control, std::uint32_t seq, std::uint8_t
  // flags); flags of control messages, else 0.
  template <typename F>
  std::uint32_t list_unacknowledged(std::optional<std::uint32_t>& next, std::uint32_t most, F&& f) {
    std::uint32_t listed = 0;
    NodeRef n = resend_.first_from(next && is_after(*next, settled_) ? *next : settled_);
    for (; n && listed < most; n = resend_.next(n), ++listed) {
      const bool control = n.kind() == Kind::control;
      f(control, resend_.seq(n), control ? nodes_.control(n).flags : std::uint8_t{0});
      next = resend_.seq(n) + 1;
    }
    return listed;
  }

 private:
  enum class Hello : std::uint8_t { initial, saying, done };

  Slice slice() const override { return {256, std::chrono::milliseconds(2)}; }
  std::uint32_t window_room(TimePoint now) const override;
  std::optional<TimePoint> bulk_held_until(TimePoint now) const override;
  std::uint32_t bulk_share() const;
  std::uint8_t next_flags() override;
  void sent(NodeRef n, std::uint32_t seq, TimePoint now) override;
  void transmitted(TimePoint now) override;
  void unlink(NodeRef n) override;
  void work_on(TimePoint now) override;
  bool is_settled(NodeRef n) const override;

  Peer& peer_of(const PeerAddress& from, const wire::Header& h, const wire::Extension& tail, TimePoint now);
  void hear_flags(Peer& p, const wire::Header& h, TimePoint now);
  static bool continues_session(const Peer& p, std::uint32_t seq, TimePoint now);
  void begin_session(Peer& p, std::uint32_t seq);
  void restarted_unseen(Peer& p);
  void anew(Peer& p, std::uint32_t first);
  void succeed(Peer& p);
  void forget_resend(const Peer& by, std::uint32_t before);
  bool is_live(const Peer& p) const { return p.used && now_ - p.last_heard < kPeerGone; }
  static bool is_of_session_before(const Peer& p, std::uint32_t seq, TimePoint now);
  static bool began_with_old_hello(const Peer& p, std::uint32_t seq, TimePoint now);
  void ask_for_what_followed_old_hello(Peer& p, std::uint32_t seq);
  bool may_take(Peer& p, std::uint32_t seq, TimePoint now);
  static bool believes_jump(Peer& p, std::uint32_t seq);
  static void remember(Peer& p, const wire::Message& m);
  bool is_of_one_alike(Peer& p, const wire::Message& m);
  bool went_back(Peer& p, std::uint32_t seq, TimePoint now);
  void take(Peer& p, const wire::Message& m, const wire::Extension& tail, TimePoint now);
  static bool is_passing(const wire::Message& m, const wire::Extension& tail);
  bool endless_to_acknowledge(const wire::Message& m) const;
  void close_before_gap(Peer& p, std::uint32_t seq);
  static std::uint32_t unacknowledged(const Peer& p);
  void acknowledge(Peer& p);
  void address(const ControlNode& c, wire::Extension& tail) const override;
  std::optional<TimePoint> ack_at() const;
  void note_heard(const wire::Message& m, bool fresh, TimePoint now);
  bool may_answer(Peer& p, std::uint32_t messages) const;
  void answer(Peer& p, std::uint8_t flags, std::uint32_t from, std::uint32_t to);
  void digest(Peer& p, const wire::Message& m, const wire::Extension& tail, TimePoint now);
  void watch(std::uint32_t seq, TimePoint now);
  static void has_acknowledged(Peer& p, std::uint32_t before);
  void on_ack(Peer& p, std::uint32_t from, std::uint32_t to, TimePoint now);
  void on_nack(Peer& p, std::uint32_t from, std::uint32_t to);
  void on_whole_ack(Peer& p, std::uint32_t to, const wire::Extension& tail, TimePoint now);
  bool skipped(Peer& p, std::uint32_t from);
  void heard_us(Peer& p, TimePoint now);
  // We hear it, but it has acknowledged nothing for long. (There is something to acknowledge each second.)
  bool is_deaf(const Peer& p) const { return now_ - p.acked_at >= kPeerGone; }
  void acknowledged(std::uint32_t from, std::uint32_t to, TimePoint now);
  std::uint32_t address_of(const Peer& p) const;
  bool means_us(const Peer& p) const;
  std::uint32_t live_peers() const;
  bool hears_its_kind() const;
  bool want_repeat(Peer& p, std::uint32_t from, std::uint32_t to);
  bool add_repeat(std::uint32_t from, std::uint32_t to);
  void tell_what_is_gone(Peer& p, std::uint32_t from, std::uint32_t to);
  void settle();
  void work();
  bool repeat(wire::NumberRange& r);
  bool is_superseded(const ControlNode& c) const;
  void take_out(NodeRef n);
  void make_room();
  void give_up(NodeRef n);
  bool lack_all_without(std::uint32_t seq);
  void lacks(Peer& p);
  void bulk_begins() override;
  void bulk_arrived(std::uint32_t first, std::uint32_t count) override;
  void say_to(std::uint32_t node, ControlNode::Tail tail, std::uint32_t from = 0, std::uint32_t to = 0);
  void tell_bulk_end(Peer& p);
  bool can_tell_sums() const;
  std::optional<TimePoint> parts_due() const;
  void all_told(TimePoint now) override;
  std::optional<TimePoint> tell_at() const override;
  void on_alive(Peer& p, const wire::Extension& tail);
  void want_repair(Peer& p, const wire::RepairRequest& request);
  std::optional<TimePoint> repair_at() const;
  void start_repair(TimePoint now);
  void repair_arrived(std::uint32_t first) override;
  void whole_again() override;
  std::optional<TimePoint> offer_at() const;

  ResendQueue resend_;
  std::uint32_t controls_kept_ = 0;  // control messages in resend_
  // The peers are done with everything before this number. What is still in resend_ is freed little by little, and
  // neither repeated nor shown.
  std::uint32_t settled_;
  std::vector<wire::NumberRange> repeats_;  // work put off; first what the oldest asks for
  TimePoint repeat_at_{};                   // and not before
  std::uint32_t steps_left_ = kStepsPerTurn;
  std::uint32_t dead_from_;  // where release_one_dead() goes on
  TimePoint now_;            // of the last call that brought it
  std::uint64_t turn_ = 1;
  Hello hello_ = Hello::initial;
  bool owe_hello_back_ = false;
  TimePoint alive_at_;
  std::optional<std::uint32_t> object_sent_;  // number of the last one, in the drain under way
  std::optional<TimePoint> tail_at_;
  std::uint64_t no_space_ = 0;
  bool overflow_told_ = false;
  std::optional<std::uint32_t> given_up_;    // highest number of an object that was given up
  std::optional<wire::BulkEnd> arrived_;     // the last bulk, once it has arrived and until the next
  std::uint32_t acked_ = 0;                  // all peers together: one behind the highest number acknowledged
  std::optional<TimePoint> acked_at_;        // when that moved last
  std::optional<std::uint32_t> resync_seq_;  // of the last RESYNC

  // A part of the sums is a message's worth.
  static constexpr std::uint32_t kGroupParts = table::FlowSums::kGroups / wire::Sums::kMost;
  static constexpr std::uint32_t kBucketParts = table::FlowSums::kBuckets / wire::Sums::kMost;
  static constexpr std::uint32_t kPartsOfGroup = table::FlowSums::kBucketsOfGroup / wire::Sums::kMost;
  std::uint32_t next_part_ = 0;  // of the groups
  TimePoint sums_at_;
  bool sums_due_ = false;
  std::bitset<kBucketParts> parts_wanted_;
  std::bitset<kBucketParts> parts_told_;  // since parts_since_
  TimePoint parts_since_;
  TimePoint parts_at_;

  // Who has asked for a repair, and the number of its request.
  struct Asker {
    PeerId peer;
    std::uint32_t node;
    std::uint32_t number;
  };
  table::Buckets wanted_;
  std::vector<Asker> wanted_by_;  // one for each peer, whatever nodes it says it is
  std::vector<Asker> repaired_for_;
  TimePoint repair_after_;
};

}  // namespace ctsync::replication
