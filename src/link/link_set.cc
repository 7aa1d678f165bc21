// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/link/link_set.h"

#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "datagram_link.h"
#include "error_queue.h"
#include "port_owner.h"
#include "socket.h"
#include "tcp_link.h"

namespace ctsync::link {
namespace {

constexpr Duration kRetryInterval = std::chrono::seconds(1);
// An interface that was just set up is not running yet: the kernel takes up to a second to see the carrier. Judged at
// once, a node would leave its default link at every boot, for good. Nor do the events and outages of that time count:
// they are what a link looks like that comes up.
constexpr Duration kSettleTime = std::chrono::seconds(2);
// While an outage is new it is looked at more often: a route that comes back at once is none of anybody's business.
constexpr Duration kFirstLooks = std::chrono::milliseconds(100);
constexpr Duration kLook = std::chrono::seconds(1);
// How long a link may be unable to send before another one takes over: longer for TCP, where the connections of a peer
// that restarts come back one after the other.
constexpr Duration kPatience = std::chrono::seconds(1);
constexpr Duration kTcpPatience = std::chrono::seconds(3);
// Datagrams that wait for room or for a route. More than the engines send in a turn before they see the congestion.
constexpr std::size_t kDatagramQueue = 512;

bool meets(const IpAddress& a, const IpAddress& b) {
  const auto is_any = [](const IpAddress& i) { return i.bytes == Address{}; };
  return a.bytes == b.bytes || is_any(a) || is_any(b);
}

std::size_t queue_length(const LinkSetOptions& options) {
  const bool tcp = !options.links.empty() && options.links.front().kind == LinkKind::tcp;
  return tcp ? options.error_queue_length : kDatagramQueue;
}

}  // namespace

std::size_t buffer_size_for(LinkKind kind, Family family, std::uint32_t mtu) {
  const std::uint32_t headers = kind == LinkKind::tcp ? 40 : family == Family::ipv6 ? 48 : 28;
  const std::size_t size = mtu > headers ? mtu - headers : 0;
  return std::clamp(size, kMinBufferSize, kMaxBufferSize);
}

LinkSet::LinkSet(EventLoop& loop, Log& log, LinkSetOptions options)
    : loop_(loop),
      log_(log),
      error_queue_(std::make_unique<ErrorQueue>(1)),
      retry_timer_(loop, [this] { open_closed(); }),
      outage_timer_(loop, [this] { look_at_outages(); }),
      settle_timer_(loop, [this] { settle(); }) {
  set_options(std::move(options));
  for (std::size_t i = 0; i < options_.links.size(); ++i) {
    slots_.push_back({.options = options_.links[i], .link = make_link(i)});
  }
  current_ = first_link();
}

LinkSet::~LinkSet() = default;

void LinkSet::set_options(LinkSetOptions options) {
  options_ = std::move(options);
  options_.receive_limit = std::max<std::size_t>(options_.receive_limit, 1);
  error_queue_->set_maximum(queue_length(options_));
}

// The last one marked so.
std::size_t LinkSet::first_link() const {
  std::size_t first = 0;
  for (std::size_t i = 0; i < options_.links.size(); ++i) {
    if (options_.links[i].is_default) first = i;
  }
  return first;
}

std::unique_ptr<Link> LinkSet::make_link(std::size_t number) {
  const auto& o = options_.links[number];
  LinkContext context{.loop = loop_,
                      .queue = *error_queue_,
                      .handlers = handlers_,
                      .on_outage =
                          [this] {
                            if (!outage_timer_.deadline()) outage_timer_.arm_in(kFirstLooks);
                          },
                      .receive_limit = options_.receive_limit};
  if (o.kind == LinkKind::tcp) return std::make_unique<TcpLink>(o, number, std::move(context));
  return std::make_unique<DatagramLink>(o, number, shares_port(number), std::move(context));
}

bool LinkSet::shares_port(const std::vector<LinkOptions>& links, std::size_t number) {
  const auto& o = links[number];
  return std::ranges::any_of(links, [&o](const LinkOptions& other) {
    return &other != &o && other.port == o.port && meets(other.address, o.address);
  });
}

// --- Opening ---

Result<> LinkSet::open(LinkHandlers handlers) {
  handlers_ = std::move(handlers);
  std::vector<Slot*> all;
  all.reserve(slots_.size());
  for (auto& slot : slots_) all.push_back(&slot);
  if (auto opened = open_slots(all); !opened) return opened;
  slots_[current_].link->set_current(true);
  settled_ = stands(slots_[current_]);
  settle_timer_.arm_in(kSettleTime);
  return {};
}

// All of them or none.
Result<> LinkSet::open_slots(const std::vector<Slot*>& slots) {
  for (const auto* slot : slots) {
    if (auto free = check_port(*slot); !free) return free;
  }
  std::vector<std::pair<Slot*, Error>> missing;
  for (auto* slot : slots) {
    auto opened = open_slot(*slot);
    if (opened) continue;
    if (!may_come(slot->options, slot->interface, opened.error())) {
      for (auto* other : slots) other->link->close();
      if (opened.error().code == EADDRINUSE) opened.error().text += ": " + port_is_taken(slot->options);
      return opened;
    }
    missing.emplace_back(slot, std::move(opened.error()));
  }
  for (const auto& [slot, why] : missing) wait_for(*slot, why);
  for (const auto* slot : slots) {
    if (slot->options.destination == slot->options.address || !leads_here(slot->options)) continue;
    log_.warning("link on device `{}': the destination {} is this node itself", slot->options.interface,
                 to_string(slot->options.destination));
  }
  return {};
}

// Which of the links now is each of the next ones. Where one is to begin is no difference.
LinkSet::NumbersBefore LinkSet::match(const std::vector<LinkOptions>& next) const {
  NumbersBefore before(next.size());
  std::vector<bool> taken(slots_.size());
  for (std::size_t i = 0; i < next.size(); ++i) {
    auto wanted = next[i];
    for (std::size_t j = 0; j < slots_.size() && !before[i]; ++j) {
      wanted.is_default = slots_[j].options.is_default;
      if (taken[j] || wanted != slots_[j].options || shares_port(next, i) != shares_port(j)) continue;
      before[i] = j;
      taken[j] = true;
    }
  }
  return before;
}

Result<LinkSet::NumbersBefore> LinkSet::change(LinkSetOptions next) {
  const auto before = match(next.links);
  next.find_interface = options_.find_interface;
  auto old_options = std::exchange(options_, {});
  set_options(std::move(next));
  auto old = std::exchange(slots_, {});
  const auto old_current = current_;
  old[current_].link->set_current(false);
  std::optional<std::size_t> current;
  for (std::size_t i = 0; i < options_.links.size(); ++i) {
    if (before[i] == old_current) current = i;
    if (before[i]) {
      slots_.push_back(std::move(old[*before[i]]));
    } else {
      slots_.emplace_back().link = make_link(i);
    }
    slots_[i].options = options_.links[i];
    slots_[i].link->set_number(i);
  }
  for (auto& slot : old) {
    if (slot.link) slot.link->close();
  }
  std::vector<Slot*> fresh;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!before[i]) fresh.push_back(&slots_[i]);
  }
  auto opened = open_slots(fresh);
  if (!opened) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (before[i]) old[*before[i]] = std::move(slots_[i]);
    }
    set_options(std::move(old_options));
    slots_ = std::move(old);
    for (std::size_t j = 0; j < slots_.size(); ++j) {
      slots_[j].options = options_.links[j];
      slots_[j].link->set_number(j);
      if (!slots_[j].link->is_open() && slots_[j].interface.index != 0) open_or_wait(slots_[j]);
    }
    current = old_current;
  }
  current_ = current.value_or(first_link());
  slots_[current_].link->set_current(true);
  overtaken_.reset();
  if (!current) {
    settled_ = stands(slots_[current_]);
    settle_timer_.arm_in(kSettleTime);
  }
  handlers_.on_buffer_size();
  leave_dead_link();
  if (!opened) return std::unexpected(opened.error());
  return before;
}

// Where sockets may share a port, bind() does not tell of another process. Of a group both get a copy of everything,
// but their peers take what two daemons send from one address for one.
Result<> LinkSet::check_port(const Slot& slot) {
  const auto& o = slot.options;
  const auto number = static_cast<std::size_t>(&slot - slots_.data());
  if (o.kind == LinkKind::tcp || (o.kind == LinkKind::udp && !shares_port(number))) return {};
  if (port_is_free(o, find(slot).index)) return {};
  if (o.kind == LinkKind::multicast) {
    log_.warning("link on device `{}': {}: only one daemon of a host should be in a group", o.interface,
                 port_is_taken(o));
    return {};
  }
  errno = EADDRINUSE;
  auto error = open_error(o, "bind to " + describe(local_address(o), o.port));
  return fail(error.error().text + ": " + port_is_taken(o), EADDRINUSE);
}

void LinkSet::settle() {
  settled_ = true;
  for (auto& slot : slots_) update(slot);
  handlers_.on_buffer_size();
  leave_dead_link();
}

void LinkSet::close() {
  retry_timer_.cancel();
  outage_timer_.cancel();
  settle_timer_.cancel();
  for (auto& slot : slots_) slot.link->close();
}

InterfaceInfo LinkSet::find(const Slot& slot) const {
  return options_.find_interface(slot.options.interface).value_or(InterfaceInfo{});
}

Result<> LinkSet::open_slot(Slot& slot) {
  const auto& name = slot.options.interface;
  slot.interface = find(slot);
  if (slot.interface.index != 0) return slot.link->open(slot.interface.index);
  const bool possible = !name.empty() && name.size() < IFNAMSIZ;
  errno = possible ? ENODEV : EINVAL;
  return open_error(slot.options, possible ? "no such interface" : "no interface can have this name");
}

void LinkSet::open_or_wait(Slot& slot) {
  if (const auto opened = open_slot(slot); !opened) return wait_for(slot, opened.error());
  slot.wait_reported = false;
  log_.notice("link on device `{}' is open now", slot.options.interface);
}

// We are told when an interface appears; its address may come later than that.
void LinkSet::wait_for(Slot& slot, const Error& why) {
  if (!std::exchange(slot.wait_reported, true)) log_.warning("{}: waiting for it", why.text);
  if (slot.interface.index != 0) retry_timer_.arm_in(kRetryInterval);
}

void LinkSet::open_closed() {
  for (auto& slot : slots_) {
    if (slot.interface.index != 0 && !slot.link->is_open()) open_or_wait(slot);
  }
  handlers_.on_buffer_size();
  leave_dead_link();
}

void LinkSet::interface_changed(std::string_view name) {
  for (auto& slot : slots_) {
    if (slot.options.interface == name) update(slot);
  }
  handlers_.on_buffer_size();
  leave_dead_link();
}

void LinkSet::update(Slot& slot) {
  const auto before = std::exchange(slot.interface, find(slot));
  if (slot.interface.index == 0) {
    slot.interface.mtu = before.mtu;  // sizes what is packed until the interface is back
    return slot.link->close();
  }
  if (slot.interface.index != before.index || !slot.link->is_open()) open_or_wait(slot);
}

// --- Sending, and who does it ---

void LinkSet::send(std::span<const Datagram> datagrams) { slots_[current_].link->send(datagrams); }

bool LinkSet::congested() const { return slots_[current_].link->congested(); }

std::size_t LinkSet::buffer_size() const {
  const auto& slot = slots_[current_];
  return buffer_size_for(slot.options.kind, slot.options.family(), slot.interface.mtu);
}

void LinkSet::make_current(std::size_t link) {
  overtaken_.reset();
  settled_ = true;
  slots_[current_].link->set_current(false);
  current_ = link;
  slots_[current_].link->set_current(true);
  handlers_.on_buffer_size();
}

bool LinkSet::stands(const Slot& slot) { return slot.interface.up && slot.interface.running && slot.link->is_open(); }

void LinkSet::look_at_outages() {
  std::optional<TimePoint> newest;
  for (auto& slot : slots_) {
    slot.link->try_again();
    report(slot);
    if (const auto outage = slot.link->outage()) newest = std::max(newest.value_or(outage->since), outage->since);
  }
  leave_dead_link();
  if (!newest) return;
  outage_timer_.arm_in(loop_.now() - *newest < 2 * kPatience ? kFirstLooks : kLook);
}

// TCP tells itself when a connection fails.
void LinkSet::report(Slot& slot) {
  if (slot.options.kind == LinkKind::tcp) return;
  const auto outage = slot.link->outage();
  const auto& device = slot.options.interface;
  if (!outage) {
    if (std::exchange(slot.outage_reported, false) && slot.link->is_open()) {
      log_.notice("link on device `{}' can be used again", device);
    }
    return;
  }
  const bool is_news = !slot.outage_reported || &slot == &slots_[current_];
  if (!is_news || loop_.now() - outage->since < kPatience || !slot.outage_limit.allow(loop_.now())) return;
  slot.outage_reported = true;
  log_.warning("link on device `{}' cannot send: {}", device, std::strerror(outage->code));
}

LinkSet::Slot* LinkSet::heir(bool (*fit)(const Slot&)) {
  const auto found = std::ranges::find_if(slots_, [&](const Slot& s) { return &s != &slots_[current_] && fit(s); });
  return found == slots_.end() ? nullptr : &*found;
}

void LinkSet::leave_dead_link() {
  const auto& used = slots_[current_];
  settled_ = settled_ || stands(used);
  if (!settled_) return;
  const auto* better = heir(works);
  if (!stands(used)) {
    if (better == nullptr) better = heir(stands);
    if (better != nullptr) return take_over(*better);
    if (!std::exchange(no_link_reported_, true)) log_.error("no dedicated links available!");
    return;
  }
  no_link_reported_ = false;
  if (works(used) || better == nullptr) return overtaken_.reset();
  if (!overtaken_) overtaken_ = loop_.now();
  const auto patience = used.options.kind == LinkKind::tcp ? kTcpPatience : kPatience;
  if (loop_.now() - *overtaken_ >= patience) take_over(*better);
}

void LinkSet::take_over(const Slot& heir) {
  no_link_reported_ = false;
  make_current(static_cast<std::size_t>(&heir - slots_.data()));
  log_.notice("device `{}' becomes dedicated link", heir.options.interface);
}

ErrorQueueStatistics LinkSet::error_queue() const {
  return {.length = error_queue_->size(), .maximum = error_queue_->maximum(), .dropped = error_queue_->dropped()};
}

}  // namespace ctsync::link
