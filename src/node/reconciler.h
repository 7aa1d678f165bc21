// SPDX-License-Identifier: GPL-2.0-or-later
// Compares what a peer says of its flows with what the external cache holds of them, and has sent again what differs:
// sums of groups come by themselves, those of the buckets of a group that differs are asked for, then the flows of the
// buckets that differ; what was not among these has ended there and is removed. So whatever went wrong, and wherever, is
// mended, and each flow that it was is named. What differs again and again is left alone for a while, see kTries.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/log.h"
#include "ctsync/replication/ftfw.h"
#include "external_cache.h"

namespace ctsync::node {

class Reconciler {
 public:
  // A repair that has not ended for so long is given up; so is an answer with sums.
  static constexpr Duration kPatience = std::chrono::seconds(5);
  static constexpr Duration kPatienceForAll = std::chrono::seconds(60);
  // Repairs in a row after which a bucket that still differs is left alone, at first for so long, then twice as long. (Of two
  // nodes that both announce a connection, as after a take-over, the second one sends its end within a minute, as a rule.)
  static constexpr std::uint8_t kTries = 3;
  static constexpr Duration kLately = std::chrono::seconds(10);
  static constexpr Duration kFirstPause = std::chrono::minutes(1);
  // For so long after another node has told the flow a series of tries is not over, though the bucket is the same.
  static constexpr Duration kContested = std::chrono::minutes(30);
  // More groups that differ in one message are not looked at one by one: the peer is asked for everything.
  static constexpr int kMostGroups = 16;
  // An emptied cache stays empty for so long, unless the peer tells everything: that is what it was emptied for.
  static constexpr Duration kAfterFlush = std::chrono::seconds(60);

  struct Context {
    replication::FtFw& engine;
    ExternalCache& cache;
    const Clock& clock;
    Log& log;
    std::function<std::string(replication::PeerId)> name_of;
    std::function<void(Told)> sweep;  // what is not told is to be removed
  };
  explicit Reconciler(Context context) : c_(std::move(context)) {}

  // Of the engine. They only take down what is to be done, see end_turn().
  void sums_heard(replication::PeerId peer, const wire::Sums& sums);
  void repair_ended(replication::PeerId peer, std::uint32_t number, std::uint32_t first);
  void bulk_ended(replication::PeerId peer);
  // What had ended at the peer of this owner is removed.
  void swept(std::uint32_t owner);
  void cache_flushed() { flushed_at_ = c_.clock.now(); }
  // A flow that this owner told last was told by another one now, or its end. Of two that both have it, as after a take-over, each repair
  // takes it from the other, whose next comparison finds that it lacks it: what is equal in between ends no series of tries.
  void moved(std::uint32_t owner, std::uint32_t bucket);
  // Sends what is to be asked.
  void end_turn();

  // Since when all that was compared with the peer has been the same; nothing: it is not, or was not compared lately.
  std::optional<TimePoint> in_step_since(replication::PeerId peer) const;
  struct Numbers {
    std::uint64_t compared = 0;  // sums of groups
    std::uint64_t differed = 0;  // of these
    std::uint64_t repairs = 0;
    std::uint64_t mended = 0;  // flows that were missing or otherwise
  };
  Numbers numbers(replication::PeerId peer) const;

 private:
  static constexpr std::uint32_t kGroups = table::FlowSums::kGroups;
  static constexpr std::uint32_t kPartsOfGroup = table::FlowSums::kBucketsOfGroup / wire::Sums::kMost;
  // Of one repair: flows that are named, and changes that are kept until its end.
  static constexpr std::uint32_t kMostNamed = 5;
  static constexpr std::size_t kMostChanges = 64;

  // Repairs that did not help.
  struct Try {
    std::uint8_t count = 0;
    Duration pause{};
    TimePoint until{};                      // left alone
    std::optional<TimePoint> contested_at;  // moved()
  };

  // What is known of one peer, in its session.
  struct Side {
    std::uint32_t owner = 0;
    std::uint32_t session = 0;
    std::optional<TimePoint> told_at;         // when it has told everything last
    std::optional<TimePoint> sweeping_until;  // what has ended there is being removed
    std::uint64_t differ = 0;                 // groups that differed when last compared
    std::uint64_t compared = 0;               // groups that have been compared
    std::optional<TimePoint> in_step_since;
    TimePoint compared_at{};
    std::map<std::uint16_t, Try> tries;  // of buckets that differed when they were last looked at
    Try tries_of_all;                    // of everything
    // Groups of which nothing but buckets left alone differed: by how much, and until when.
    struct Quiet {
      std::uint64_t by = 0;
      TimePoint until{};
    };
    std::array<Quiet, kGroups> quiet;
    // What is under way: sums of buckets wanted, or a repair.
    std::optional<TimePoint> until;                              // then it is given up
    std::uint64_t to_ask = 0;                                    // groups
    std::bitset<kGroups * kPartsOfGroup> parts;                  // that are still to come
    wire::RepairRequest request;                                 // buckets that differ
    std::array<std::uint64_t, wire::RepairRequest::kMost> by{};  // how much each of them does
    bool ready = false;                                          // to ask for the repair
    // By the repair under way; nullptr: there is none, or of everything.
    std::shared_ptr<const table::Buckets> repaired;
    // The first flows of these that have changed meanwhile: what is mended and what is news.
    struct Change {
      std::uint16_t bucket = 0;
      std::uint64_t by = 0;
      std::string line;
    };
    std::vector<Change> changes;
    std::uint32_t more_changes = 0;
    Numbers numbers;
  };

  Side& side(replication::PeerId peer);
  bool may_compare(const Side& s) const;
  void groups_heard(replication::PeerId peer, Side& s, const wire::Sums& sums);
  void buckets_heard(Side& s, const wire::Sums& sums);
  void ask_for_everything(replication::PeerId peer, Side& s);
  void begin_repair(replication::PeerId peer, Side& s);
  void forget_tries(Side& s, std::uint32_t group);
  bool is_contested(const Try& t) const;
  bool try_again(Try& t) const;
  void leave_alone(replication::PeerId peer, Duration pause);
  void end_repair(Side& s);
  bool may_name();
  void changed(replication::PeerId peer, const FlowRecord* before, const FlowRecord* after);
  void tell_mended(Side& s);

  Context c_;
  bool anything_to_ask_ = false;
  std::array<std::unique_ptr<Side>, replication::kMaxPeers> sides_;
  std::optional<TimePoint> flushed_at_;
  std::uint32_t requests_ = 0;
  std::optional<TimePoint> named_since_;
  std::uint32_t named_ = 0;  // flows, since then
};

}  // namespace ctsync::node
