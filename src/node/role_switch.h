// SPDX-License-Identifier: GPL-2.0-or-later
// What happens to a node when the service moves: the commit, and the requests that take over, step down, and get ready to
// hand over. The order is that of the users: first what makes their connections go on, then the answer, then the rest.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "commit_job.h"
#include "ctsync/base/clock.h"
#include "ctsync/base/jobs.h"
#include "ctsync/base/log.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/node/client.h"
#include "ctsync/node/command.h"
#include "ctsync/node/options.h"
#include "ctsync/table/flow_table.h"
#include "ctsync/text/snapshot.h"
#include "kernel_side.h"
#include "peer_side.h"

namespace ctsync::node {

class RoleSwitch final : private kernel::WriteHandler {
 public:
  // How long the peers have to acknowledge what they were told until --handover.
  static constexpr Duration kHandOverTime = std::chrono::seconds(3);
  // While somebody was heard within so long, -c keeps telling what begins meanwhile. Each peer speaks once a second.
  static constexpr Duration kPeersSilent = std::chrono::seconds(2);

  struct Context {
    kernel::KernelTable& kernel;
    const Clock& clock;
    Log& log;
    Jobs& jobs;
    const NodeOptions& options;
    const table::FlowTable& internal;
    KernelSide& kernel_side;
    PeerSide& peer_side;
  };
  explicit RoleSwitch(const Context& context) : c_(context) {}
  ~RoleSwitch() override;
  RoleSwitch(const RoleSwitch&) = delete;
  RoleSwitch& operator=(const RoleSwitch&) = delete;

  // -c
  void commit(const Command& command, const Client& client);
  bool committing() const { return committing_; }
  // At once, or as soon as what the kernel had already is this node's own (WarmStandby), which goes on after the answer to a
  // commit.
  void when_adopted(std::function<void()> then);
  // What -c, -f, -R and -B do one after the other. The answer comes after the commit.
  void take_over(const Client& client);
  // -t
  void schedule_purge();
  // A peer says that this flow has ended. While a purge is scheduled the service is there, and what this node has of the flow
  // is what it left behind: gone now, it cannot come back with the service.
  void ended_at_peer(const Tuple& orig);
  // What -t and -n do.
  void stand_by(const Client& client);
  // Answers when the peers have all that this node has told until then.
  void hand_over(const Client& client);

  std::optional<TimePoint> next_deadline() const;
  void end_turn();

  text::Role role() const { return role_; }
  const text::CommitNumbers& commits() const { return commits_; }

 private:
  struct HandOver {
    Client client;
    TimePoint until;
    std::optional<std::uint32_t>
        told;  // the first number after what is to be acknowledged; empty: some waits to be sent
  };
  using OnDone = std::function<void(const CommitJob::Outcome&)>;

  // Who is told first what begins during a large commit: the peers, as ever, or at a take-over nobody, so that it is done in
  // half the time (see KernelSide::commit_is_large).
  enum class First : std::uint8_t { peers, users };

  void count(const CommitJob::Outcome& outcome, Duration taken);
  // False: there is one already.
  bool start_commit(Scope scope, First first, OnDone on_done);
  CommitJob::Context commit_context();
  void adopt(Scope scope);
  bool takes_over() const;
  void run_waiters();
  void after_take_over();
  bool is_handed_over(HandOver& h) const;
  void on_written(const kernel::WriteResult& result, const FlowRecord& record) override;

  Context c_;
  text::Role role_ = text::Role::unknown;
  text::CommitNumbers commits_;
  bool committing_ = false;
  bool adopting_ = false;
  bool adopt_again_ = false;
  std::vector<std::function<void()>> after_adoption_;
  std::vector<HandOver> hand_overs_;
  FlowRecord left_behind_;
};

// The answer to a request that conntrackd does not have (see control/request.h): a status for the client to end with.
void answer(const Client& client, int status, const std::string& text);

}  // namespace ctsync::node
