// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_session.h"

#include <sys/epoll.h>

#include "ctsync/base/random.h"
#include "kernel_flush_job.h"

namespace ctsync::daemon {
namespace {

// Asked for if the configuration says nothing. The system's own, about 200 kB, holds 170 events: a burst overruns it.
constexpr std::uint32_t kDefaultEventBuffer = 4U << 20;
constexpr std::uint64_t kEventMemory = 1500;   // bytes of the socket buffer that an event takes, metadata included
constexpr std::uint64_t kBurstRate = 500'000;  // events a second that must not overrun the buffer during a pause
constexpr Duration kLongestPause = std::chrono::microseconds(500);

kernel::InjectorOptions injector_options(const config::Config& config) {
  kernel::InjectorOptions o;
  o.be_liberal = !config.tcp_window_tracking;
  o.hash_seed = random_seed();
  return o;
}

}  // namespace

FlowFilter make_filter(const config::FilterConfig& config) {
  FlowFilter filter;
  if (config.protocol_action) filter.set_protocols(*config.protocol_action, config.protocols);
  if (config.address_action) {
    NetworkSet networks;
    for (const auto& a : config.addresses) {
      networks.add(a.address.family, a.address.bytes, static_cast<std::uint8_t>(a.prefix));
    }
    filter.set_addresses(*config.address_action, std::move(networks));
  }
  if (config.state_action) filter.set_tcp_states(*config.state_action, config.tcp_states);
  return filter;
}

KernelSession::KernelSession(const ModeContext& context, const Caches& caches)
    : c_(context),
      caches_(caches),
      filter_(make_filter(context.config.filter)),
      helpers_(context.config.expectation_sync.helpers),
      table_(context.clock, injector_options(context.config)),
      resync_timer_(context.loop, [this] { mend(KernelFollower::Load::mend); }),
      poll_timer_(context.loop, [this] { poll(); }) {}

KernelSession::~KernelSession() {
  if (table_.events_fd() >= 0) c_.loop.unwatch(table_.events_fd());
}

Result<> KernelSession::open(replication::Engine* engine) {
  const auto& config = c_.config;
  if (auto ok = table_.open(); !ok) return ok;
  follower_ = std::make_unique<KernelFollower>(KernelFollower::Context{
      c_.clock, c_.log, table_, filter_, helpers_, caches_.flows, caches_.expectations, engine, random_seed()});
  follower_->overrun = [this] { after_overrun(); };
  const bool in_kernel = filter_.active() && config.filter.from_kernelspace;
  if (filter_.active()) c_.log.notice("using {}-space event filtering", in_kernel ? "kernel" : "user");
  if (config.poll_secs) {
    c_.log.notice("running in polling mode");
    return {};
  }
  kernel::EventOptions options;
  options.buffer_size = config.netlink_buffer_size;
  options.buffer_size_max = config.netlink_buffer_size_max;
  if (options.buffer_size == 0 && options.buffer_size_max == 0) {
    options.buffer_size = options.buffer_size_max = kDefaultEventBuffer;
  }
  options.reliable = config.events_reliable;
  options.expectations = caches_.expectations_wanted;
  options.counters = true;
  if (auto ok = table_.open_events(options); !ok) return ok;
  // What our own writers change, the jobs tell the follower: no event is needed for it. (Statistics mode wants the
  // events, for their counters.) The follower filters in any case: without the kernel's help it is only slower.
  const bool hide_own = engine != nullptr;
  if (in_kernel || hide_own) {
    if (auto ok = table_.set_event_filter(in_kernel ? filter_ : FlowFilter(), hide_own); ok) {
      own_events_hidden_ = hide_own;
    } else {
      c_.log.error("{}", ok.error().text);
    }
  }
  if (config.events_reliable) c_.log.notice("reliable ctnetlink event delivery is ENABLED.");
  if (options.buffer_size == 0 || options.buffer_size > options.buffer_size_max) {
    c_.log.notice(
        "NetlinkBufferSize is either not set or is greater than NetlinkBufferSizeMaxGrowth. Using current system "
        "buffer "
        "size");
  }
  c_.log.notice("netlink event socket buffer size has been set to {} bytes", table_.event_stats().buffer_size);
  return {};
}

Result<> KernelSession::load() {
  std::optional<Error> failed;
  if (caches_.flows != nullptr || caches_.expectations != nullptr) {
    const KernelLoadJob::Scope scope{.flows = caches_.flows != nullptr,
                                     .expectations = caches_.expectations != nullptr};
    KernelLoadJob job(table_, *follower_, KernelFollower::Load::start, scope, [&](const Error* error) {
      if (error != nullptr) failed = *error;
    });
    while (job.step(TimePoint::max()) != Job::State::done) {
    }
  }
  if (failed) return std::unexpected(*failed);
  if (c_.config.poll_secs) {
    poll_timer_.arm_in(std::chrono::seconds(*c_.config.poll_secs));
  } else {
    c_.loop.watch(table_.events_fd(), EPOLLIN, [this](std::uint32_t) { read_events(); });
    // So long that the socket buffer holds what comes meanwhile.
    const auto room = std::chrono::nanoseconds(std::chrono::seconds(1)) * table_.event_stats().buffer_size /
                      (kEventMemory * kBurstRate);
    c_.loop.set_pause(std::min<Duration>(room, kLongestPause));
  }
  return {};
}

void KernelSession::read_events() {
  const auto limit = c_.config.event_iteration_limit;
  const auto before = table_.event_stats().received;
  table_.read_events(limit, *follower_);
  const auto events = table_.event_stats().received - before;
  c_.loop.worked(events);
  if (events >= limit) {
    c_.loop.hurry();
  } else {
    follower_->caught_up();
  }
}

void KernelSession::after_overrun() {
  if (caches_.flows == nullptr || !c_.config.overrun_resync) return;
  resync_timer_.arm_in(std::chrono::seconds(*c_.config.overrun_resync));
}

void KernelSession::mend(KernelFollower::Load load) {
  if (mending_) {
    mend_again_ = true;
    return;
  }
  mending_ = true;
  ++resyncs_;
  const KernelLoadJob::Scope scope{.flows = true, .expectations = caches_.expectations != nullptr};
  c_.loop.jobs().add(std::make_unique<KernelLoadJob>(table_, *follower_, load, scope, [this](const Error* error) {
    log_load_error(error);
    mending_ = false;
    if (std::exchange(mend_again_, false)) resync_timer_.arm_in({});
  }));
}

void KernelSession::poll() {
  poll_timer_.arm_in(std::chrono::seconds(*c_.config.poll_secs));
  if (caches_.flows == nullptr || mending_) return;
  // Peers know nothing of the flows that the first dump found. In NOTRACK mode nothing else makes up for lost messages.
  const bool all = !std::exchange(polled_, true) || c_.config.mode == config::SyncMode::notrack;
  mend(all ? KernelFollower::Load::repeat : KernelFollower::Load::mend);
  --resyncs_;  // that counter is of resyncs asked for or caused by lost events
}

void KernelSession::resync(KernelLoadJob::Scope scope, std::function<void()> on_done) {
  ++resyncs_;
  c_.loop.jobs().add(std::make_unique<KernelLoadJob>(table_, *follower_, KernelFollower::Load::merge, scope,
                                                  [this, on_done = std::move(on_done)](const Error* error) {
                                                    log_load_error(error);
                                                    on_done();
                                                  }));
}

void KernelSession::flush(std::function<void()> on_done) {
  ++flushes_;
  if (flush_ != nullptr) {
    on_done();
    return;
  }
  flush_ = c_.loop.jobs().add(std::make_unique<KernelFlushJob>(
      table_, filter_, deleted(), [this, on_done = std::move(on_done)](const Error* error) {
        log_load_error(error);
        flush_ = nullptr;
        if (table_.events_fd() >= 0) read_events();  // so that the follower can forget what it was told of the flush
        on_done();
      }));
}

void KernelSession::stop_flush() {
  if (flush_ != nullptr) c_.loop.jobs().cancel(std::exchange(flush_, nullptr));
}

std::function<void(kernel::EventType, FlowRecord&)> KernelSession::written(kernel::Origin origin) {
  if (!own_events_hidden_) return {};
  return [this, origin](kernel::EventType type, FlowRecord& r) { follower_->on_flow(type, r, origin); };
}

std::function<void(kernel::EventType, Expectation&)> KernelSession::expectation_written(kernel::Origin origin) {
  if (!own_events_hidden_) return {};
  return [this, origin](kernel::EventType type, Expectation& e) { follower_->on_expectation(type, e, origin); };
}

std::function<void(FlowRecord&)> KernelSession::deleted() {
  if (!own_events_hidden_) return {};
  return [this](FlowRecord& r) { follower_->on_flow(kernel::EventType::destroy, r, kernel::Origin::flush); };
}

void KernelSession::log_load_error(const Error* error) {
  if (error != nullptr) c_.log.error("{}", error->text);
}

void KernelSession::fill_runtime(control::RuntimeNumbers& n) const {
  const auto& e = table_.event_stats();
  n.events_received = e.received;
  n.events_unknown_type = e.unknown_type;
  n.event_failures = e.catch_failed;
  n.overruns = e.overruns;
  n.buffer_bytes = e.buffer_size;
  n.events_filtered = follower_->stats().filtered;
  n.dump_unknown_type = follower_->stats().dump_unknown;
  n.kernel_flushes = flushes_;
  n.kernel_resyncs = resyncs_;
}

}  // namespace ctsync::daemon
