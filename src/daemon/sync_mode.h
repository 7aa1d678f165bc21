// SPDX-License-Identifier: GPL-2.0-or-later
// Sync mode: kernel, caches, engine and links put together, and the commands on them.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "commit_job.h"
#include "ctsync/kernel/link_watcher.h"
#include "ctsync/link/link_set.h"
#include "ctsync/replication/engine.h"
#include "ctsync/replication/ftfw.h"
#include "ctsync/replication/notrack.h"
#include "ctsync/wire/packer.h"
#include "external_cache.h"
#include "kernel_session.h"
#include "mode.h"

namespace ctsync::daemon {

class SyncMode final : public Mode, private replication::Events {
 public:
  explicit SyncMode(const ModeContext& context);
  ~SyncMode() override;
  SyncMode(const SyncMode&) = delete;
  SyncMode& operator=(const SyncMode&) = delete;

  Result<> start() override;
  void started() override;
  bool on_request(control::Request request, const control::Client& client) override;
  std::string status() const override;
  void fill_runtime(control::RuntimeNumbers& n) const override { session_.fill_runtime(n); }

 private:
  // replication::Events
  void resync_requested(replication::PeerId peer) override;
  void bulk_started() override;
  void kernel_bulk_wanted() override;
  void peer_restarted(replication::PeerId peer) override;
  void gap_seen(replication::PeerId peer, std::uint32_t from, std::uint32_t to) override;
  void resend_queue_overflow() override;
  void cannot_repeat(replication::PeerId peer, std::uint32_t from, std::uint32_t to) override;

  void make_engine();
  Result<> open_links();
  void on_datagram(std::size_t link, const IpAddress& from, link::Datagram bytes);
  void heard(std::size_t link);
  void request_resync();
  void take(const wire::Message& m);
  void end_turn();
  void arm_engine_timer();

  // Commands. Each finishes the client.
  void commit(CommitJob::Scope scope, const control::Client& client);
  void flush_caches(control::Request request, const control::Client& client);
  void flush_kernel(control::Request request, const control::Client& client);
  void resync_kernel(control::Request request, const control::Client& client);
  void dump(control::Request request, const control::Client& client);
  void schedule_purge();
  void purge();
  bool commands(control::Request request, const control::Client& client);
  bool statistics(control::Request request, const control::Client& client);
  void append_resend_queue(std::string& out) const;

  void append_caches(std::string& out, bool expectations) const;
  void append_caches_extended(std::string& out) const;
  control::LinkNumbers link_numbers(std::size_t i) const;
  control::InjectNumbers inject_numbers(bool expectations) const;
  control::BypassNumbers bypass_numbers(bool expectations) const;
  std::string peer_name(replication::PeerId peer) const;

  ModeContext c_;
  const bool with_expectations_;
  table::FlowTable internal_;
  table::FlowTable external_;
  table::ExpectationTable internal_expectations_;
  table::ExpectationTable external_expectations_;
  KernelSession session_;
  std::unique_ptr<ExternalCache> external_cache_;  // one of these two
  std::unique_ptr<KernelInjection> injection_;
  ExternalStore* store_ = nullptr;
  wire::ReceiveStats receive_stats_;
  link::LinkSet links_;
  kernel::LinkWatcher watcher_;
  wire::Packer packer_;
  std::unique_ptr<replication::Engine> engine_;
  replication::FtFw* ftfw_ = nullptr;        // engine_, if it is one
  replication::Notrack* notrack_ = nullptr;  // engine_, if it is one
  Timer engine_timer_;
  Timer expiry_timer_;
  Timer purge_timer_;
  Timer catch_up_timer_;
  TurnHook turn_end_;
  bool committing_ = false;
  bool purging_ = false;
  bool resync_wanted_ = false;  // as soon as a peer is heard
  Job* kernel_bulk_ = nullptr;
  FlowRecord record_;
  RateLimit gap_limit_{std::chrono::seconds(10)};
  RateLimit link_error_limit_{std::chrono::seconds(10)};
  RateLimit repeat_limit_{std::chrono::seconds(10)};
};

}  // namespace ctsync::daemon
