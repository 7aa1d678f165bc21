// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/link/link_set.h"

#include <algorithm>
#include <utility>

#include "datagram_link.h"
#include "error_queue.h"
#include "receive_buffers.h"
#include "socket.h"
#include "tcp_link.h"

namespace ctsync::link {
namespace {

constexpr Duration kRetryInterval = std::chrono::seconds(1);
// An interface that was just set up is not running yet: the kernel takes up to a second to see the carrier. Judged at
// once, a node would leave its default link at every boot, for good.
constexpr Duration kSettleTime = std::chrono::seconds(2);

}  // namespace

std::size_t buffer_size_for(LinkKind kind, Family family, std::uint32_t mtu) {
  const std::uint32_t headers = kind == LinkKind::tcp ? 40 : family == Family::ipv6 ? 48 : 28;
  const std::size_t size = mtu > headers ? mtu - headers : 0;
  return std::clamp(size, kMinBufferSize, kMaxBufferSize);
}

LinkSet::LinkSet(EventLoop& loop, Log& log, LinkSetOptions options)
    : loop_(loop),
      log_(log),
      options_(std::move(options)),
      error_queue_(std::make_unique<ErrorQueue>(options_.error_queue_length)),
      retry_timer_(loop, [this] { open_closed(); }),
      settle_timer_(loop, [this] { settle(); }) {
  for (std::size_t i = 0; i < options_.links.size(); ++i) {
    Slot slot;
    slot.options = options_.links[i];
    if (slot.options.is_default) current_ = i;  // the last one marked so
    if (slot.options.kind == LinkKind::tcp) {
      slot.link = std::make_unique<TcpLink>(slot.options, i, loop_, *error_queue_, handlers_, options_.receive_limit);
    } else {
      if (!receive_buffers_) receive_buffers_ = std::make_unique<ReceiveBuffers>();
      slot.link =
          std::make_unique<DatagramLink>(slot.options, i, loop_, *receive_buffers_, handlers_, options_.receive_limit);
    }
    slots_.push_back(std::move(slot));
  }
}

LinkSet::~LinkSet() = default;

Result<> LinkSet::open(LinkHandlers handlers) {
  handlers_ = std::move(handlers);
  std::vector<std::pair<Slot*, Error>> missing;
  for (auto& slot : slots_) {
    auto opened = open_slot(slot);
    if (opened) continue;
    const bool only_one_left = missing.size() + 1 == slots_.size();
    if (only_one_left || !may_come(slot.options, opened.error())) {
      close();
      return opened;
    }
    missing.emplace_back(&slot, std::move(opened.error()));
  }
  for (const auto& [slot, why] : missing) wait_for(*slot, why);
  slots_[current_].link->set_current(true);
  settle_timer_.arm_in(kSettleTime);
  return {};
}

void LinkSet::settle() {
  for (auto& slot : slots_) {
    const auto info = query_interface(slot.options);
    update(slot, info ? *info : InterfaceInfo{});
  }
  handlers_.on_buffer_size();
  leave_dead_link();
}

void LinkSet::close() {
  retry_timer_.cancel();
  settle_timer_.cancel();
  for (auto& slot : slots_) slot.link->close();
}

Result<> LinkSet::open_slot(Slot& slot) {
  const auto info = query_interface(slot.options);
  if (!info) {
    slot.index = 0;
    return std::unexpected(info.error());
  }
  slot.index = info->index;
  slot.mtu = info->mtu;
  slot.up = info->up;
  slot.running = info->running;
  return slot.link->open(info->index);
}

void LinkSet::open_or_wait(Slot& slot) {
  if (const auto opened = open_slot(slot); !opened) return wait_for(slot, opened.error());
  slot.wait_reported = false;
  log_.notice("link on device `{}' is open now", slot.options.interface);
}

// The watcher tells when an interface appears; its address may come later than that.
void LinkSet::wait_for(Slot& slot, const Error& why) {
  if (!std::exchange(slot.wait_reported, true)) log_.warning("{}: waiting for it", why.text);
  if (slot.index != 0) retry_timer_.arm_in(kRetryInterval);
}

void LinkSet::open_closed() {
  for (auto& slot : slots_) {
    if (slot.index != 0 && !slot.link->is_open()) open_or_wait(slot);
  }
  handlers_.on_buffer_size();
  leave_dead_link();
}

void LinkSet::send(std::span<const Datagram> datagrams) { slots_[current_].link->send(datagrams); }

bool LinkSet::congested() const { return slots_[current_].link->congested(); }

std::size_t LinkSet::buffer_size() const {
  const auto& slot = slots_[current_];
  return buffer_size_for(slot.options.kind, slot.options.family(), slot.mtu);
}

void LinkSet::make_current(std::size_t link) {
  slots_[current_].link->set_current(false);
  current_ = link;
  slots_[current_].link->set_current(true);
  handlers_.on_buffer_size();
}

void LinkSet::leave_dead_link() {
  const auto& dead = slots_[current_];
  if (dead.up && dead.running && dead.link->is_open()) {
    no_link_reported_ = false;
    return;
  }
  const auto heir = std::find_if(slots_.begin(), slots_.end(), [&dead](const Slot& s) {
    return s.up && s.running && s.link->is_open() && s.options.interface != dead.options.interface;
  });
  if (heir != slots_.end()) {
    no_link_reported_ = false;
    make_current(static_cast<std::size_t>(heir - slots_.begin()));
    log_.notice("device `{}' becomes dedicated link", heir->options.interface);
  } else if (!std::exchange(no_link_reported_, true)) {
    log_.error("no dedicated links available!");
  }
}

void LinkSet::update(Slot& slot, const InterfaceInfo& info) {
  const bool same = slot.index == info.index && slot.link->is_open();
  slot.index = info.index;
  slot.up = info.up;
  slot.running = info.running;
  if (info.index == 0) return slot.link->close();
  slot.mtu = info.mtu;
  if (!same) open_or_wait(slot);
}

void LinkSet::interface_changed(std::string_view name, std::uint32_t index, bool up, bool running, std::uint32_t mtu) {
  for (auto& slot : slots_) {
    if (slot.options.interface == name) update(slot, {.index = index, .mtu = mtu, .up = up, .running = running});
  }
  handlers_.on_buffer_size();
  leave_dead_link();
}

void LinkSet::interface_removed(std::string_view name) { interface_changed(name, 0, false, false, 0); }

LinkState LinkSet::interface_state(std::size_t link) const {
  const auto& slot = slots_[link];
  if (!slot.up) return LinkState::down;
  return slot.running ? LinkState::running : LinkState::no_carrier;
}

ErrorQueueStatistics LinkSet::error_queue() const {
  return {.length = error_queue_->size(), .maximum = error_queue_->maximum(), .dropped = error_queue_->dropped()};
}

}  // namespace ctsync::link
