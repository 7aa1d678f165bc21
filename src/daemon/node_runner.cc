// SPDX-License-Identifier: GPL-2.0-or-later
#include "node_runner.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "ctsync/base/random.h"
#include "health.h"
#include "node_config.h"
#include "reload.h"

namespace ctsync::daemon {
namespace {

constexpr std::uint64_t kEventMemory = 1500;   // bytes of the socket buffer that an event takes, metadata included
constexpr std::uint64_t kBurstRate = 500'000;  // events a second that must not overrun the buffer during a pause
constexpr Duration kLongestPause = std::chrono::microseconds(450);
constexpr Duration kReadAgain = std::chrono::seconds(1);

// Statistics mode has no peers.
class Nowhere final : public wire::DatagramSink {
 public:
  void send(std::span<const std::span<const std::uint8_t>>) override {}
};

std::optional<link::InterfaceInfo> interface_of(const kernel::LinkWatcher& watcher, std::string_view name) {
  const auto* i = watcher.find(name);
  if (i == nullptr) return std::nullopt;
  return link::InterfaceInfo{.index = i->index, .mtu = i->mtu, .up = i->up(), .running = i->running()};
}

text::LinkNumbers numbers_of(const link::LinkSet& links, std::size_t i) {
  const auto& s = links.statistics(i);
  const auto connection = links.connection(i);
  return {.kind = links.options(i).kind,
          .device = links.options(i).interface,
          .status = links.interface_state(i),
          .active = i == links.current(),
          .server_connected = connection.server,
          .client_connected = connection.client,
          .sent_bytes = s.bytes_sent,
          .sent_packets = s.packets_sent,
          .send_errors = s.send_errors,
          .received_bytes = s.bytes_received,
          .received_packets = s.packets_received,
          .receive_errors = s.receive_errors};
}

wire::Capabilities self(const config::Config& config, const Clock& clock) {
  wire::Capabilities c;
  c.bits = wire::Capabilities::kOneWayZones;
  c.node = static_cast<std::uint32_t>(random_seed()) | 1U;
  c.epoch = static_cast<std::uint64_t>(clock.wall_seconds());
  name_host(c, config);
  std::string_view(CTSYNC_VERSION).copy(c.version.data(), c.version.size() - 1);
  return c;
}

}  // namespace

NodeRunner::NodeRunner(const config::Config& config, EventLoop& loop, SystemLog& log, const Clock& clock)
    : config_(config),
      loop_(loop),
      log_(log),
      clock_(clock),
      kernel_(clock, injector_options(config)),
      flow_log_(config.has_stats ? config.stats_log_file : std::nullopt,
                config.has_stats ? flow_log_facility(config) : std::nullopt),
      timer_(loop, [this] { node_->on_timer(); }),
      flow_log_timer_(loop, [] {}),
      interfaces_timer_(loop, [this] { read_interfaces(); }),
      turn_end_(loop, [this] { end_turn(); }) {
  auto options = node_options(config);
  options.seed = random_seed();
  options.self = self(config, clock);
  options.silent_flows = kernel::events_need_a_listener();
  options.own_addresses = link::own_addresses;
  if (config.has_stats) {
    options.on_finished = [this](const FlowRecord& r) { flow_log_.add(r, clock_.wall_seconds()); };
    nowhere_ = std::make_unique<Nowhere>();
  } else {
    auto links = link_options(config);
    links.find_interface = [this](std::string_view name) { return interface_of(watcher_, name); };
    links_ = std::make_unique<link::LinkSet>(loop, log, std::move(links));
  }
  auto& sink = links_ ? static_cast<wire::DatagramSink&>(*links_) : *nowhere_;
  node_ = std::make_unique<node::Node>(kernel_, sink, clock, log, loop.jobs(), std::move(options));
}

NodeRunner::~NodeRunner() {
  if (kernel_.events_fd() >= 0) loop_.unwatch(kernel_.events_fd());
  if (watcher_.fd() >= 0) loop_.unwatch(watcher_.fd());
  loop_.set_pause({});
}

Result<> NodeRunner::start() {
  if (links_) {
    if (config_.disable_internal_cache) log_.notice("disabling internal cache");
    if (config_.disable_external_cache) log_.notice("disabling external cache");
    if (auto ok = open_links(); !ok) return ok;
  } else if (auto ok = flow_log_.open(); !ok) {
    return ok;
  }
  if (auto ok = kernel_.open(); !ok) return ok;
  if (auto ok = node_->start(); !ok) return ok;
  if (kernel_.events_fd() >= 0) {
    if (auto ok = loop_.watch(kernel_.events_fd(), EPOLLIN, [this](std::uint32_t) { on_kernel_event(); }); !ok)
      return ok;
    set_pause();
  }
  return {};
}

void NodeRunner::set_pause() {
  // So long that the socket buffer holds what comes meanwhile.
  const auto room = std::chrono::nanoseconds(std::chrono::seconds(1)) * kernel_.event_stats().buffer_size /
                    (kEventMemory * kBurstRate);
  // Where states go straight from kernel to kernel they race with the packets: nothing waits for others.
  const bool races = config_.disable_external_cache || config_.disable_internal_cache;
  if (!races) loop_.set_pause(std::min<Duration>(room, kLongestPause));
}

Result<> NodeRunner::open_links() {
  if (auto ok = watcher_.open(); !ok) return ok;
  link::LinkHandlers handlers;
  handlers.on_datagram = [this](std::size_t link, const IpAddress& from, link::Datagram bytes) {
    loop_.worked(1);
    if (node_->on_datagram({.link = static_cast<std::uint8_t>(link), .address = from}, bytes))
      links_->note_accepted(link);
  };
  handlers.on_error = [this](std::size_t link, std::string_view what, int code) { on_link_error(link, what, code); };
  handlers.on_buffer_size = [this] { node_->set_buffer_size(links_->buffer_size()); };
  if (auto ok = links_->open(std::move(handlers)); !ok) return ok;
  node_->set_buffer_size(links_->buffer_size());
  look_at_links();
  return loop_.watch(watcher_.fd(), EPOLLIN, [this](std::uint32_t) { read_interfaces(); });
}

void NodeRunner::started() {
  node_->started();
  follow_keepalived();
  end_turn();
}

void NodeRunner::follow_keepalived() {
  keepalived_.reset();
  if (!config_.has_sync || !config_.keepalived) return;
  keepalived_.emplace(*config_.keepalived, loop_, log_, clock_, [this](Role role) { on_role(role); });
  keepalived_->start();
}

Result<> NodeRunner::reload(const config::Config& before) {
  if (links_) {
    if (auto ok = change_links(before); !ok) return ok;
  } else if (auto ok = flow_log_.change(config_.stats_log_file, flow_log_facility(config_)); !ok) {
    return ok;
  }
  auto options = node_options(config_);
  name_host(options.self, config_);
  node_->change(options, config_.filter != before.filter);
  if (!config_.poll_secs) {
    kernel_.set_event_buffer(options.events.buffer_size, options.events.buffer_size_max);
    set_pause();
  }
  if (!same(config_.keepalived, before.keepalived)) follow_keepalived();
  end_turn();
  return {};
}

Result<> NodeRunner::change_links(const config::Config& before) {
  auto options = link_options(config_);
  const auto old = link_options(before);
  if (options == old) return {};
  const auto moved = links_->change(std::move(options));
  if (!moved) return std::unexpected(moved.error());
  node_->move_links(*moved);
  node_->set_buffer_size(links_->buffer_size());
  look_at_links();
  return {};
}

// --- In the loop ---

void NodeRunner::on_kernel_event() {
  const auto read = node_->on_kernel_event();
  loop_.worked(read.events);
  if (read.more) loop_.hurry();
}

// As primary-backup.sh does.
void NodeRunner::on_role(Role role) {
  const auto verb = role == Role::primary  ? node::Verb::take_over
                    : role == Role::backup ? node::Verb::stand_by
                                           : node::Verb::schedule_purge;
  node_->on_command({.verb = verb}, node::Client());
}

// After a failure the socket may never be readable again, though what is known of the interfaces is old.
void NodeRunner::read_interfaces() {
  const auto read =
      watcher_.read([this](const std::string& name, const kernel::LinkInfo*) { links_->interface_changed(name); });
  if (!read) {
    if (!interfaces_stale_) log_.warning("can't read the interfaces again, trying every second: {}", read.error().text);
    interfaces_timer_.arm_in(kReadAgain);
  }
  interfaces_stale_ = !read;
  look_at_links();
}

void NodeRunner::look_at_links() {
  for (std::size_t i = 0; i < links_->size(); ++i) {
    if (links_->interface_state(i) != LinkState::down) return links_down_since_.reset();
  }
  if (!links_down_since_) links_down_since_ = clock_.now();
}

void NodeRunner::on_link_error(std::size_t link, std::string_view what, int code) {
  if (!link_error_limit_.allow(clock_.now())) return;
  log_.warning("link on {}: {}: {}", links_->options(link).interface, what, std::strerror(code));
  if (link_error_limit_.held_back() != 0) log_.warning("{} more link errors", link_error_limit_.held_back());
}

void NodeRunner::end_turn() {
  node_->end_turn();
  timer_.arm(node_->next_deadline());
  if (!links_) write_flow_log();
}

void NodeRunner::write_flow_log() {
  if (const auto wait = retry_delay(flow_log_.flush())) flow_log_timer_.arm_in(*wait);
  flow_log_.tell_losses(log_, clock_.now());
}

void NodeRunner::reopen_logs() {
  if (links_) return;
  if (auto ok = flow_log_.open(); !ok) log_.error("{}", ok.error().text);
}

std::optional<text::Health> NodeRunner::health() const {
  if (!links_) return std::nullopt;
  HealthFacts facts{.role = node_->role(), .filling = node_->is_filling(), .link_running = false};
  for (std::size_t i = 0; i < links_->size(); ++i) {
    facts.link_running |= links_->interface_state(i) == LinkState::running;
  }
  if (links_down_since_) facts.links_down = clock_.now() - *links_down_since_;
  return health_of(facts);
}

text::Snapshot NodeRunner::snapshot() const {
  auto s = node_->snapshot();
  if (!links_) return s;
  s.health = health();
  for (std::size_t i = 0; i < links_->size(); ++i) s.links.push_back(numbers_of(*links_, i));
  const auto errors = links_->error_queue();
  s.queues.insert(s.queues.begin() + 1,
                  {.name = "errorq", .elements = errors.length, .maximum = errors.maximum, .no_space = errors.dropped});
  return s;
}

}  // namespace ctsync::daemon
