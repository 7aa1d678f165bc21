// SPDX-License-Identifier: GPL-2.0-or-later
// The half of a node that talks to its peers: engine, packer, external store, and what the log tells of them. Absent in
// statistics mode.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "ctsync/base/jobs.h"
#include "ctsync/base/log.h"
#include "ctsync/node/options.h"
#include "ctsync/replication/engine.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/text/snapshot.h"
#include "ctsync/wire/packer.h"
#include "external_cache.h"
#include "flush_cache_job.h"
#include "injection.h"
#include "malformed_lines.h"
#include "nat_order.h"
#include "reconciler.h"
#include "sweep_job.h"

namespace ctsync::node {

class PeerSide final : private replication::Events {
 public:
  // Everything must outlive it. Without internal cache `internal` is nullptr, without ExpectationSync the others are.
  struct Context {
    kernel::KernelTable& kernel;
    wire::DatagramSink& sink;
    const Clock& clock;
    Log& log;
    Jobs& jobs;
    const NodeOptions& options;
    table::FlowTable* internal;
    table::ToldSums* sums;  // over `internal`; nullptr: peers are not told any
    table::ExpectationTable* internal_expectations;
    table::FlowTable& external;
    table::ExpectationTable* external_expectations;
    std::function<void()> kernel_bulk;  // without internal cache: to be sent from the kernel's table
  };
  explicit PeerSide(Context context);
  PeerSide(const PeerSide&) = delete;
  PeerSide& operator=(const PeerSide&) = delete;

  void started();
  // The options are others from now on.
  void options_changed();
  bool on_datagram(const replication::PeerAddress& from, std::span<const std::uint8_t> datagram);
  std::optional<TimePoint> next_deadline() const;
  void on_timer();
  void end_turn();

  void request_resync(replication::Ask when = replication::Ask::now);
  void bulk_send() { engine_->start_bulk(c_.clock.now()); }
  // A flow that was kept back is known to a peer.
  void met_young(table::FlowId id) { engine_->flow_changed(id, replication::Announce::known, c_.clock.now()); }
  void tell_all_now() { engine_->tell_all_now(c_.clock.now()); }
  void flush_store(Scope scope, std::function<void()> on_done);
  // The job that lists the resend queue to the client and finishes it; nothing but in FT-FW.
  std::unique_ptr<Job> list_resend_queue(const Client& client, Form form);

  replication::Engine& engine() { return *engine_; }
  replication::Notrack* notrack() { return notrack_; }  // the engine, if it is one
  const replication::FtFw* ftfw() const { return ftfw_; }
  wire::Packer& packer() { return packer_; }
  ExternalStore& store() { return *store_; }
  ExternalCache* cache() const { return cache_; }  // the store, if it is one
  Injection* injection() { return injection_; }
  NatOrder& nat_order() { return nat_order_; }
  // With an external cache: a peer says that this flow has ended. May be empty.
  std::function<void(const Tuple&)> ended;

  void fill(text::Snapshot& s) const;
  std::string status() const;
  // Whether a peer was heard within so long.
  bool hears_anybody(Duration within) const;
  // Whether what is held of the peers may still lack what they had when this node began. Ends, whatever they do.
  bool is_filling() const;

 private:
  // As last told in the log.
  struct PeerTold {
    std::uint32_t owner = 0;
    text::PeerState state{};
    TimePoint since{};
  };
  // A node that begins has heard its peers after so long, if there are any, and has all that they have after so long at the
  // most, whatever they say.
  static constexpr Duration kFirstWord = std::chrono::seconds(5);
  static constexpr Duration kLongestFill = std::chrono::seconds(60);

  text::PeerState state_of(replication::PeerId peer) const;
  std::optional<std::uint64_t> lag_of(const replication::Peer& p, text::PeerState state) const;
  void watch_states();
  std::optional<replication::PeerId> next_state_to_tell();
  void tell_state(replication::PeerId peer);

  // replication::Events
  void resync_requested(replication::PeerId peer) override;
  void peer_appeared(replication::PeerId peer) override;
  void bulk_started() override;
  void kernel_bulk_wanted() override { c_.kernel_bulk(); }
  void peer_restarted(replication::PeerId peer) override;
  void peer_shown(replication::PeerId peer) override;
  void bulk_ended(replication::PeerId peer, std::uint32_t first) override;
  void peer_succeeded(std::uint32_t owner) override;
  void sums_heard(replication::PeerId peer, const wire::Sums& sums) override;
  void repair_ended(replication::PeerId peer, std::uint32_t number, std::uint32_t first) override;
  void gap_seen(replication::PeerId peer, std::uint32_t from, std::uint32_t to) override;
  void resend_queue_overflow() override;
  void cannot_repeat(replication::PeerId peer, std::uint32_t from, std::uint32_t to) override;
  void freed_by_others(replication::PeerId peer, std::uint32_t from, std::uint32_t to) override;
  void freed_by_hello(replication::PeerId by, replication::PeerId other, std::uint32_t from, std::uint32_t to) override;
  void peer_asks_too_much(replication::PeerId peer) override;
  void peers_alike(replication::PeerId peer) override;
  void end_given_up() override;
  void external_full();

  // What a peer may lack for good is never passed over in silence: each peer has its own line, one in kLackSpacing, all
  // together one in kLackPause, and what came too soon is told, as one range, as soon as it may be.
  enum class Why : std::uint8_t { given_up, freed, hello };
  struct Lack {
    bool untold = false;
    Why why{};                 // of the latest
    replication::PeerId by{};  // whose hello
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    std::optional<TimePoint> told_at;
  };
  static constexpr Duration kLackSpacing = std::chrono::seconds(10);
  static constexpr Duration kLackPause = std::chrono::seconds(1);

  void lacks(replication::PeerId peer, Why why, replication::PeerId by, std::uint32_t from, std::uint32_t to);
  void tell_lacks();
  void tell_lack(replication::PeerId peer, const Lack& l);

  replication::EngineOptions engine_options() const;
  void make_engine();
  std::uint32_t first_sequence() const;
  std::unique_ptr<ExternalStore> make_store();
  void take(const wire::Message& m);
  void take_flow(const wire::Message& m);
  void look_at_nat_order();
  void refuse(wire::DecodeStatus why, wire::MsgType type);
  void tell_malformed(const IpAddress& from, const wire::ReceiveStats& before);
  table::Origin origin_of(const wire::Message& m) const;
  void swept(std::uint32_t owner, std::uint32_t removed);
  std::optional<std::uint32_t> last_of(std::uint32_t owner) const;
  std::string name_of(replication::PeerId peer) const;
  template <typename Text>
  void tell(RateLimit& limit, Level level, Text&& text);

  Context c_;
  wire::ReceiveStats received_;
  wire::Packer packer_;
  std::unique_ptr<replication::Engine> engine_;
  replication::FtFw* ftfw_ = nullptr;
  replication::Notrack* notrack_ = nullptr;
  ExternalCache* cache_ = nullptr;
  Injection* injection_ = nullptr;
  std::unique_ptr<ExternalStore> store_;  // one of the two
  CacheFlusher<ExternalStore> flusher_;
  Sweeper sweeper_;
  TimePoint started_at_{};
  std::array<PeerTold, replication::kMaxPeers> states_;
  TimePoint states_at_{};  // when they are looked at again
  // Lines about states that may be written at once, and since when these are so many. Strangers can make as many peers
  // as there is room for, again and again.
  static constexpr int kMostStateLines = 8;
  static constexpr Duration kStateLineSpacing = std::chrono::seconds(5);
  int state_lines_ = kMostStateLines;
  TimePoint state_lines_at_{};
  std::optional<Reconciler> reconciler_;  // FT-FW with an external cache
  FlowRecord record_;
  NatOrder nat_order_;
  std::array<std::uint32_t, replication::kMaxPeers> nat_order_told_{};  // by peer: of which owner
  // Any of these a stranger can cause as often as it likes.
  std::uint8_t bad_payload_ = 0;  // why the last one was refused: index of kBadPayloads
  MalformedLines malformed_lines_;
  bool told_of_sharing_ = false;
  RateLimit resync_limit_{std::chrono::seconds(1)};
  RateLimit shown_limit_{std::chrono::seconds(1)};
  RateLimit sweep_limit_{std::chrono::seconds(1)};
  RateLimit restart_limit_{std::chrono::seconds(1)};
  RateLimit gap_limit_{std::chrono::seconds(10)};
  RateLimit overflow_limit_{std::chrono::seconds(10)};
  std::array<Lack, replication::kMaxPeers> lacks_;
  replication::PeerId next_lack_ = 0;  // whose turn it is
  std::optional<TimePoint> lack_told_at_;
  RateLimit too_much_limit_{std::chrono::seconds(10)};
  RateLimit end_limit_{std::chrono::seconds(60)};
  RateLimit nat_order_limit_{std::chrono::seconds(1)};
  RateLimit full_limit_{std::chrono::seconds(60)};
};

}  // namespace ctsync::node
