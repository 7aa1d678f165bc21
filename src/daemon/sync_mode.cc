// SPDX-License-Identifier: GPL-2.0-or-later
#include "sync_mode.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "ctsync/base/random.h"
#include "ctsync/control/dump_job.h"
#include "ctsync/replication/alarm.h"
#include "ctsync/wire/expectation_codec.h"
#include "kernel_bulk_job.h"
#include "kernel_dump_job.h"

namespace ctsync::daemon {
namespace {

using control::Request;

link::LinkSetOptions link_options(const config::Config& config) {
  link::LinkSetOptions set;
  set.error_queue_length = config.error_queue_length;
  set.receive_limit = config.event_iteration_limit;
  for (std::size_t i = 0; i < config.links.size(); ++i) {
    const auto& from = config.links[i];
    link::LinkOptions o;
    o.kind = from.kind;
    o.interface = from.interface;
    o.address = from.address;
    o.destination = from.destination;
    o.ipv4_interface = from.ipv4_interface;
    o.port = from.port;
    o.send_buffer = from.send_buffer;
    o.receive_buffer = from.receive_buffer;
    o.checksum = from.checksum;
    o.is_default = i == config.first_link();
    set.links.push_back(std::move(o));
  }
  return set;
}

wire::EncodeOptions encode_options(const config::Config& config) {
  return {.send_timeout = config.commit_timeout == 0, .window_scale = config.tcp_window_tracking};
}

wire::MsgType type_of(kernel::EventType type, wire::MsgType base) {
  return static_cast<wire::MsgType>(static_cast<unsigned>(base) + static_cast<unsigned>(type));
}
static_assert(static_cast<unsigned>(kernel::EventType::update) == 1 &&
              static_cast<unsigned>(kernel::EventType::destroy) == 2);

}  // namespace

SyncMode::SyncMode(const ModeContext& context)
    : c_(context),
      with_expectations_(context.config.expectation_sync.enabled),
      internal_(context.config.hash_limit, context.config.hash_size, random_seed()),
      external_(context.config.hash_limit, context.config.hash_size, random_seed()),
      internal_expectations_(context.config.hash_limit, random_seed()),
      external_expectations_(context.config.hash_limit, random_seed()),
      session_(context,
               {.flows = context.config.disable_internal_cache ? nullptr : &internal_,
                .expectations =
                    context.config.disable_internal_cache || !with_expectations_ ? nullptr : &internal_expectations_,
                .expectations_wanted = with_expectations_}),
      links_(context.loop, context.log, link_options(context.config)),
      packer_(link::kMinBufferSize, encode_options(context.config), links_),
      engine_timer_(context.loop, [this] { engine_->on_timer(c_.clock.now()); }),
      expiry_timer_(context.loop, [this] { external_cache_->on_timer(); }),
      purge_timer_(context.loop, [this] { purge(); }),
      catch_up_timer_(context.loop, [this] { session_.follower().catch_up(); }),
      turn_end_(context.loop, [this] { end_turn(); }) {}

SyncMode::~SyncMode() = default;

Result<> SyncMode::start() {
  const auto& config = c_.config;
  if (config.disable_internal_cache) c_.log.notice("disabling internal cache");
  if (config.disable_external_cache) c_.log.notice("disabling external cache");
  if (auto ok = open_links(); !ok) return ok;
  make_engine();
  if (auto ok = session_.open(engine_.get()); !ok) return ok;
  session_.follower().later = [this] {
    if (!catch_up_timer_.deadline()) catch_up_timer_.arm_in(std::chrono::milliseconds(20));
  };
  if (notrack_ != nullptr && config.disable_internal_cache) {
    session_.follower().send = [this](kernel::EventType type, const FlowRecord& r) {
      notrack_->send_event(packer_, type_of(type, wire::MsgType::flow_new), r);
    };
    session_.follower().send_expectation = [this](kernel::EventType type, const Expectation& e) {
      notrack_->send_event(packer_, type_of(type, wire::MsgType::expect_new), e);
    };
  }
  if (config.disable_external_cache) {
    injection_ = std::make_unique<KernelInjection>(session_.table().writer(kernel::Origin::inject), c_.clock, c_.log);
    store_ = injection_.get();
  } else {
    std::optional<Duration> timeout;
    if (config.mode == config::SyncMode::alarm) timeout = std::chrono::seconds(config.cache_timeout);
    external_cache_ = std::make_unique<ExternalCache>(external_, with_expectations_ ? &external_expectations_ : nullptr,
                                                      timeout, c_.clock);
    store_ = external_cache_.get();
  }
  if (auto ok = session_.load(); !ok) return ok;
  return {};
}

void SyncMode::make_engine() {
  replication::EngineOptions o;
  o.first_sequence = static_cast<std::uint32_t>(c_.clock.wall_seconds());
  o.ack_window = c_.config.ack_window_size;
  o.resend_queue_size = c_.config.resend_queue_size;
  o.refresh_time = c_.config.refresh_time;
  o.seed = random_seed();
  const bool cached = !c_.config.disable_internal_cache;
  const replication::EngineContext context{cached ? &internal_ : nullptr,
                                           cached && with_expectations_ ? &internal_expectations_ : nullptr, *this,
                                           receive_stats_};
  const auto now = c_.clock.now();
  switch (c_.config.mode) {
    case config::SyncMode::ftfw: {
      auto e = std::make_unique<replication::FtFw>(context, o, now);
      ftfw_ = e.get();
      engine_ = std::move(e);
      break;
    }
    case config::SyncMode::notrack: {
      auto e = std::make_unique<replication::Notrack>(context, o, now);
      notrack_ = e.get();
      engine_ = std::move(e);
      break;
    }
    case config::SyncMode::alarm:
      engine_ = std::make_unique<replication::Alarm>(context, o, now);
      break;
  }
}

Result<> SyncMode::open_links() {
  if (auto ok = watcher_.open(); !ok) return ok;
  link::LinkHandlers handlers;
  handlers.on_datagram = [this](std::size_t link, const IpAddress& from, link::Datagram bytes) {
    on_datagram(link, from, bytes);
  };
  handlers.on_error = [this](std::size_t link, std::string_view what, int code) {
    if (!link_error_limit_.allow(c_.clock.now())) return;
    c_.log.warning("link on {}: {}: {}", links_.options(link).interface, what, std::strerror(code));
    if (link_error_limit_.held_back() != 0) c_.log.warning("{} more link errors", link_error_limit_.held_back());
  };
  handlers.on_buffer_size = [this] { packer_.set_buffer_size(links_.buffer_size()); };
  auto opened = links_.open(std::move(handlers));
  if (!opened) return opened;
  packer_.set_buffer_size(links_.buffer_size());
  c_.loop.watch(watcher_.fd(), EPOLLIN, [this](std::uint32_t) {
    watcher_.read([this](const std::string& name, const kernel::LinkInfo* info) {
      if (info == nullptr) {
        links_.interface_removed(name);
      } else {
        links_.interface_changed(name, info->index, info->up(), info->running(), info->mtu);
      }
    });
  });
  return {};
}

void SyncMode::started() {
  if (c_.config.startup_resync && c_.config.mode != config::SyncMode::alarm) {
    // Over TCP a peer that is not connected to us yet could only queue its answer, and drop what does not fit.
    if (c_.config.links.front().kind == LinkKind::tcp) {
      resync_wanted_ = true;
    } else {
      request_resync();
    }
  }
  arm_engine_timer();
}

// --- The link ---

void SyncMode::on_datagram(std::size_t link, const IpAddress& from, link::Datagram bytes) {
  const replication::PeerAddress peer{.link = static_cast<std::uint8_t>(link), .address = from};
  const auto now = c_.clock.now();
  c_.loop.worked(1);
  wire::MessageReader reader(bytes);
  wire::Message m;
  while (reader.next(m, receive_stats_)) {
    switch (engine_->on_message(peer, m, now)) {
      case replication::Verdict::accept_data:
        heard(link);
        take(m);
        break;
      case replication::Verdict::consumed:
        heard(link);
        break;
      case replication::Verdict::bad:
        receive_stats_.count_malformed_header();
        break;
      case replication::Verdict::old:
        break;
    }
  }
}

void SyncMode::heard(std::size_t link) {
  links_.note_accepted(link);
  if (std::exchange(resync_wanted_, false)) request_resync();
}

void SyncMode::request_resync() {
  c_.log.notice("resync requested");
  engine_->request_resync(c_.clock.now());
}

void SyncMode::take(const wire::Message& m) {
  if (wire::is_flow(m.header.type)) {
    if (wire::decode_flow(m.payload, record_) == wire::DecodeStatus::ok) {
      store_->take(m.header.type, record_);
    } else {
      receive_stats_.count_malformed_payload();
    }
  } else if (wire::is_expectation(m.header.type)) {
    Expectation e;
    if (wire::decode_expectation(m.payload, e) != wire::DecodeStatus::ok) {
      receive_stats_.count_malformed_payload();
    } else if (with_expectations_) {
      store_->take(m.header.type, e);
    }
  } else {
    receive_stats_.count_bad_type();
  }
}

void SyncMode::end_turn() {
  const auto now = c_.clock.now();
  store_->end_turn();
  engine_->drain(packer_, now, links_.congested());
  arm_engine_timer();
}

void SyncMode::arm_engine_timer() {
  if (const auto at = engine_->next_deadline()) {
    engine_timer_.arm(*at);
  } else {
    engine_timer_.cancel();
  }
  if (external_cache_) {
    if (const auto at = external_cache_->next_deadline()) {
      expiry_timer_.arm(*at);
    } else {
      expiry_timer_.cancel();
    }
  }
}

// --- What the engine tells ---

std::string SyncMode::peer_name(replication::PeerId peer) const {
  const auto& places = engine_->peers()[peer].places;
  for (const auto& p : places) {
    if (p.is_set()) return to_string(p);
  }
  return "?";
}

void SyncMode::resync_requested(replication::PeerId) { c_.log.notice("resync requested by other node"); }

void SyncMode::bulk_started() { c_.log.notice("sending bulk update"); }

void SyncMode::kernel_bulk_wanted() {
  if (kernel_bulk_ != nullptr) return;
  std::function<void(const Expectation&)> send_expectation;
  if (with_expectations_) {
    send_expectation = [this](const Expectation& e) {
      if (session_.follower().wanted(e)) notrack_->send_event(packer_, wire::MsgType::expect_new, e);
    };
  }
  kernel_bulk_ = c_.loop.jobs().add(std::make_unique<KernelBulkJob>(
      c_.loop, session_.table(), session_.filter(),
      [this](const FlowRecord& r) { notrack_->send_event(packer_, wire::MsgType::flow_new, r); },
      std::move(send_expectation), [this] { kernel_bulk_ = nullptr; }));
}

void SyncMode::peer_restarted(replication::PeerId peer) { c_.log.info("peer {} has restarted", peer_name(peer)); }

void SyncMode::gap_seen(replication::PeerId peer, std::uint32_t from, std::uint32_t to) {
  if (!gap_limit_.allow(c_.clock.now())) return;
  c_.log.info("{} messages of peer {} were lost", to - from + 1, peer_name(peer));
  if (gap_limit_.held_back() != 0) c_.log.info("{} more such gaps", gap_limit_.held_back());
}

void SyncMode::resend_queue_overflow() {
  c_.log.warning("resend queue is full, the oldest unacknowledged messages are given up (see ResendQueueSize)");
}

void SyncMode::cannot_repeat(replication::PeerId peer, std::uint32_t from, std::uint32_t to) {
  if (!repeat_limit_.allow(c_.clock.now())) return;
  c_.log.warning(
      "peer {} asks for messages {} to {}, of which some were given up; it may lack flows until the next bulk",
      peer_name(peer), from, to);
}

// --- Commands ---

std::string SyncMode::status() const {
  constexpr Duration kLately = std::chrono::seconds(10);
  std::string text = ftfw_ != nullptr ? "FTFW: " : notrack_ != nullptr ? "NOTRACK: " : "ALARM: ";
  text += c_.config.disable_internal_cache ? "no internal cache" : fmt::format("{} flows internal", internal_.live());
  text += injection_ ? ", no external cache" : fmt::format(", {} external", external_.live());
  if (c_.config.mode == config::SyncMode::alarm) return text;  // keeps no account of its peers
  const auto now = c_.clock.now();
  const auto peers = std::ranges::count_if(
      engine_->peers().all(), [&](const replication::Peer& p) { return p.used && now - p.last_heard < kLately; });
  return text + fmt::format(", {} peer{} heard", peers, peers == 1 ? "" : "s");
}

bool SyncMode::on_request(Request request, const control::Client& client) {
  return commands(request, client) || statistics(request, client);
}

bool SyncMode::commands(Request request, const control::Client& client) {
  auto c = client;
  switch (request) {
    case Request::commit_ct:
      c_.log.notice("committing conntrack cache");
      commit({.flows = true, .expectations = false}, client);
      return true;
    case Request::commit_expect:
      c_.log.notice("committing expectation cache");
      commit({.flows = false, .expectations = true}, client);
      return true;
    case Request::commit_all:
      c_.log.notice("committing all external caches");
      commit({.flows = true, .expectations = true}, client);
      return true;
    case Request::flush_all:
    case Request::flush_both_ct:
    case Request::flush_internal:
    case Request::flush_external:
      flush_caches(request, client);
      return true;
    case Request::flush_kernel_ct:
    case Request::flush_kernel_expect:
    case Request::flush_kernel_all:
      flush_kernel(request, client);
      return true;
    case Request::resync_kernel_ct:
    case Request::resync_kernel_expect:
    case Request::resync_kernel_all:
      resync_kernel(request, client);
      return true;
    case Request::dump_internal_ct:
    case Request::dump_internal_ct_xml:
    case Request::dump_external_ct:
    case Request::dump_external_ct_xml:
    case Request::dump_internal_expect:
    case Request::dump_internal_expect_xml:
    case Request::dump_external_expect:
    case Request::dump_external_expect_xml:
      dump(request, client);
      return true;
    case Request::bulk_send:
      engine_->start_bulk(c_.clock.now());
      c.finish();
      return true;
    case Request::request_resync:
      if (c_.config.mode != config::SyncMode::alarm) request_resync();
      c.finish();
      return true;
    case Request::schedule_purge:
      schedule_purge();
      c.finish();
      return true;
    default:
      return false;
  }
}

void SyncMode::commit(CommitJob::Scope scope, const control::Client& client) {
  purge_timer_.cancel();
  if (std::exchange(purging_, false)) {  // it would delete what is about to be committed
    c_.log.notice("the scheduled flush of the kernel conntrack table is stopped");
    session_.stop_flush();
  }
  auto c = client;
  if (injection_) return c.finish();
  if (committing_) {
    c_.log.notice("commit already in progress, skipping");
    return c.finish();
  }
  if (!with_expectations_) scope.expectations = false;
  if (!scope.flows && !scope.expectations) return c.finish();
  committing_ = true;
  const CommitJob::Context context{internal_,
                                   external_,
                                   external_expectations_,
                                   session_.table().writer(kernel::Origin::commit),
                                   c_.clock,
                                   c_.log,
                                   c_.config.commit_timeout,
                                   session_.written(kernel::Origin::commit),
                                   session_.expectation_written(kernel::Origin::commit)};
  c_.loop.jobs().add(std::make_unique<CommitJob>(context, scope, [this, c]() mutable {
    committing_ = false;
    c.finish();
  }));
}

void SyncMode::flush_caches(Request request, const control::Client& client) {
  auto c = client;
  const bool internal = request != Request::flush_external;
  const bool external = request != Request::flush_internal;
  if (external && committing_) {
    c_.log.error("ignoring flush command, commit still in progress");
    return c.finish();
  }
  if (internal) purge_timer_.cancel();
  c_.log.notice("flushing {}", !external ? "internal cache" : !internal ? "external cache" : "caches");
  // With the internal cache disabled there is nothing to empty; conntrackd empties the kernel's own table here, and
  // with it kills live connections (spec replication.md 9, item 21).
  if (internal) session_.follower().flush_flows();
  if (external && external_cache_) external_cache_->flush_flows();
  if (request == Request::flush_all) {
    session_.follower().flush_expectations();
    if (external_cache_) external_cache_->flush_expectations();
  }
  c.finish();
}

void SyncMode::flush_kernel(Request request, const control::Client& client) {
  auto c = client;
  const bool expectations =
      request == Request::flush_kernel_expect || (request == Request::flush_kernel_all && with_expectations_);
  if (request != Request::flush_kernel_expect) c_.log.notice("flushing kernel conntrack table");
  if (expectations) {
    c_.log.notice("flushing kernel expect table");
    if (auto ok = session_.table().writer(kernel::Origin::flush).flush_expectations(); ok) {
      session_.follower().flush_expectations();
    } else {
      c_.log.error("{}", ok.error().text);
    }
  }
  if (request == Request::flush_kernel_expect) return c.finish();
  session_.flush([c]() mutable { c.finish(); });
}

void SyncMode::resync_kernel(Request request, const control::Client& client) {
  auto c = client;
  const bool flows = request != Request::resync_kernel_expect;
  const bool expectations =
      request == Request::resync_kernel_expect || (request == Request::resync_kernel_all && with_expectations_);
  if (c_.config.disable_internal_cache) {
    if (flows) c_.log.notice("resync is unsupported in this mode");
    if (expectations) c_.log.notice("resync is unsupported in this mode");
    return c.finish();
  }
  if (flows) c_.log.notice("resync with master conntrack table");
  if (expectations) c_.log.notice("resync with master expect table");
  session_.resync({.flows = flows, .expectations = expectations && with_expectations_}, [c]() mutable { c.finish(); });
}

void SyncMode::dump(Request request, const control::Client& client) {
  auto c = client;
  const auto flows = [&](const table::FlowTable& table, control::FlowDumpOptions options) {
    c_.loop.jobs().add(std::make_unique<control::FlowDumpJob>(table, c_.clock, client, std::move(options)));
  };
  const auto expectations = [&](const table::ExpectationTable& table, bool xml) {
    c_.loop.jobs().add(std::make_unique<control::ExpectationDumpJob>(table, c_.clock, client, xml));
  };
  switch (request) {
    case Request::dump_internal_ct:
    case Request::dump_internal_ct_xml:
      if (c_.config.disable_internal_cache) {
        c_.loop.jobs().add(std::make_unique<KernelDumpJob>(session_.table(), session_.filter(), client));
        return;
      }
      return flows(internal_, {.xml = request == Request::dump_internal_ct_xml, .expires_in = {}});
    case Request::dump_external_ct:
    case Request::dump_external_ct_xml: {
      if (!external_cache_) break;
      control::FlowDumpOptions options{.xml = request == Request::dump_external_ct_xml, .expires_in = {}};
      if (c_.config.mode == config::SyncMode::alarm) {
        options.expires_in = [this](table::FlowId id) { return external_cache_->expires_in(id); };
      }
      return flows(external_, std::move(options));
    }
    case Request::dump_internal_expect:
    case Request::dump_internal_expect_xml:
      if (!with_expectations_ || c_.config.disable_internal_cache) break;
      return expectations(internal_expectations_, request == Request::dump_internal_expect_xml);
    case Request::dump_external_expect:
    case Request::dump_external_expect_xml:
      if (!with_expectations_ || !external_cache_) break;
      return expectations(external_expectations_, request == Request::dump_external_expect_xml);
    default:
      break;
  }
  c.finish();
}

void SyncMode::schedule_purge() {
  if (purge_timer_.deadline()) return;
  c_.log.notice("flushing conntrack table in {} secs", c_.config.purge_timeout);
  purge_timer_.arm_in(std::chrono::seconds(c_.config.purge_timeout));
}

void SyncMode::purge() {
  c_.log.notice("flushing kernel conntrack table (scheduled)");
  purging_ = true;
  session_.flush([this] { purging_ = false; });
  session_.follower().flush_flows();
}

}  // namespace ctsync::daemon
