// SPDX-License-Identifier: GPL-2.0-or-later
#include "datagram_link.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace ctsync::link {
namespace {

// linux/in6.h, since 4.20; not in the C library's header.
constexpr int kIpv6MulticastAll = 29;

// Until the next try when the kernel has no memory for a datagram, or for telling us of room. It tells nobody when it
// has again.
constexpr Duration kMemoryPause = std::chrono::milliseconds(2);
// So many refusals in a row are no accident of single datagrams.
constexpr unsigned kManyRefusals = 16;

in_addr ipv4(const Address& bytes) {
  in_addr out{};
  std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}

// Whatever is sent, this is the answer, until somebody changes interfaces, addresses or routes.
bool is_unreachable(int code) {
  return code == ENETUNREACH || code == EHOSTUNREACH || code == ENETDOWN || code == EADDRNOTAVAIL || code == ENODEV ||
         code == EINVAL;
}

}  // namespace

DatagramLink::DatagramLink(const LinkOptions& options, std::size_t number, bool shares_port, LinkContext context)
    : options_(options),
      number_(number),
      shares_port_(shares_port),
      c_(std::move(context)),
      room_timer_(c_.loop, [this] { flush(); }) {
  for (std::size_t i = 0; i < kBatch; ++i) {
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
    messages_[i].msg_hdr.msg_name = &destination_.storage;
  }
}

Result<> DatagramLink::open(std::uint32_t interface_index) {
  close();
  interface_index_ = interface_index;
  auto opened = open_receiver(interface_index);
  if (opened) opened = open_sender(interface_index);
  if (!opened) {
    close();
    return opened;
  }
  learn_own_address(interface_index);
  if (auto ok = c_.loop.watch(receiver_.get(), EPOLLIN, [this](std::uint32_t) { receive(); }); !ok) {
    close();
    return open_error(options_, "watching the socket", ok.error().code);
  }
  if (current_) flush();
  return {};
}

void DatagramLink::close() {
  stop_waiting();
  if (receiver_) c_.loop.unwatch(receiver_.get());
  receiver_.reset();
  received_.clear();
  drained_ = coming_back_ = false;
  sender_.reset();
  outage_.reset();
  refusals_ = 0;
  own_address_.reset();
}

Result<> DatagramLink::open_receiver(std::uint32_t interface_index) {
  auto fd = open_socket(options_, SOCK_DGRAM);
  if (!fd) return std::unexpected(fd.error());
  receiver_ = std::move(*fd);
  // Two sockets of UDP on one address and port: only one of them hears. So only links of one configuration may share
  // (they are bound to different interfaces), and groups, of which everybody gets a copy.
  const int reuse = options_.kind == LinkKind::multicast || shares_port_ ? 1 : 0;
  if (auto r = set_option(receiver_.get(), SOL_SOCKET, SO_REUSEADDR, reuse, options_, "SO_REUSEADDR"); !r) return r;
  if (auto r = set_receive_buffer(receiver_.get(), options_); !r) return r;
  // Multicast: bound to the group, so that unicast to the port and other groups on it stay away (as conntrackd 1.4.9).
  // With the scope, link-local groups can be bound too.
  const auto local = socket_address(local_address(options_), options_.port, interface_index);
  if (::bind(receiver_.get(), local.get(), local.length) < 0) {
    return open_error(options_, "bind to " + describe(local_address(options_), options_.port));
  }
  return options_.kind == LinkKind::multicast ? join(interface_index) : Result<>{};
}

Result<> DatagramLink::join(std::uint32_t interface_index) {
  const int fd = receiver_.get();
  const int off = 0;
  const auto step = "join group " + describe(local_address(options_), options_.port);
  // Only what arrives by the interface of this membership: two links may use one group.
  if (options_.family() == Family::ipv6) {
    (void)::setsockopt(fd, IPPROTO_IPV6, kIpv6MulticastAll, &off, sizeof off);
    ipv6_mreq request{};
    std::memcpy(&request.ipv6mr_multiaddr, options_.address.bytes.data(), sizeof request.ipv6mr_multiaddr);
    request.ipv6mr_interface = interface_index;
    return set_option(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, request, options_, step);
  }
  (void)::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off);
  ip_mreqn request{};
  request.imr_multiaddr = ipv4(options_.address.bytes);
  request.imr_address = ipv4(options_.ipv4_interface.bytes);
  if (request.imr_address.s_addr == INADDR_ANY) {
    request.imr_ifindex = static_cast<int>(interface_index);
    return set_option(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, request, options_, step);
  }
  return set_option(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, request, options_,
                    step + ", IPv4_interface " + to_string(options_.ipv4_interface));
}

Result<> DatagramLink::open_sender(std::uint32_t interface_index) {
  auto fd = open_socket(options_, SOCK_DGRAM);
  if (!fd) return std::unexpected(fd.error());
  sender_ = std::move(*fd);
  if (auto r = set_send_buffer(sender_.get(), options_); !r) return r;
  if (options_.family() == Family::ipv4) {  // IPv6 has no such thing
    const int no_check = options_.checksum ? 0 : 1;
    if (auto r = set_option(sender_.get(), SOL_SOCKET, SO_NO_CHECK, no_check, options_, "Checksum"); !r) return r;
  }
  const bool multicast = options_.kind == LinkKind::multicast;
  if (multicast) {
    if (auto r = set_multicast_output(sender_.get(), interface_index); !r) return r;
  }
  destination_ = socket_address(peer_address(options_), options_.port, interface_index);
  for (auto& m : messages_) m.msg_hdr.msg_namelen = destination_.length;
  return {};
}

Result<> DatagramLink::set_multicast_output(int fd, std::uint32_t interface_index) {
  if (options_.family() == Family::ipv6) {
    if (auto r = set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, options_, "IPV6_MULTICAST_LOOP"); !r) return r;
    return set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, static_cast<int>(interface_index), options_,
                      "choosing the outgoing interface");
  }
  if (auto r = set_option(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0, options_, "IP_MULTICAST_LOOP"); !r) return r;
  ip_mreqn request{};
  request.imr_address = ipv4(options_.ipv4_interface.bytes);
  if (request.imr_address.s_addr == INADDR_ANY) request.imr_ifindex = static_cast<int>(interface_index);
  const auto step = options_.ipv4_interface.is_set() ? " by IPv4_interface " + to_string(options_.ipv4_interface) : "";
  return set_option(fd, IPPROTO_IP, IP_MULTICAST_IF, request, options_, "choosing the outgoing interface" + step);
}

// A network that returns our own datagrams would make us our own peer. They are told by address and port, so that
// another program on this host can still send to us.
void DatagramLink::learn_own_address(std::uint32_t interface_index) {
  if (options_.kind != LinkKind::multicast) return;
  const auto any = socket_address({.family = options_.family()}, 0, 0);
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (::bind(sender_.get(), any.get(), any.length) < 0) return;
  if (::getsockname(sender_.get(), reinterpret_cast<sockaddr*>(&name), &length) < 0) return;
  own_port_ = port_of(name);

  const auto fd = probe(interface_index);
  length = sizeof name;
  if (!fd || ::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&name), &length) < 0) return;
  own_address_ = ip_address_of(name);
}

// A socket connected to the destination: an error if there is no way to it. Sends nothing.
Result<UniqueFd> DatagramLink::probe(std::uint32_t interface_index) {
  auto fd = open_socket(options_, SOCK_DGRAM);
  if (!fd) return fd;
  if (options_.kind == LinkKind::multicast) {
    if (auto r = set_multicast_output(fd->get(), interface_index); !r) return std::unexpected(r.error());
  }
  if (::connect(fd->get(), destination_.get(), destination_.length) < 0) return open_error(options_, "route");
  return fd;
}

// --- Receiving ---

void DatagramLink::receive() {
  std::size_t bytes = 0;
  for (std::size_t n = 0; n < c_.receive_limit && bytes < kTurnBytes; ++n) {
    if (received_.empty() && !fetch(c_.receive_limit - n)) return;
    const auto datagram = received_.take();
    bytes += datagram.bytes.size();
    deliver(datagram);
    if (!receiver_) return;  // closed by the handler
  }
  come_back();
}

// False if nothing waits.
bool DatagramLink::fetch(std::size_t limit) {
  if (std::exchange(coming_back_, false)) c_.loop.change(receiver_.get(), EPOLLIN);
  if (std::exchange(drained_, false)) return false;
  const int n = received_.fetch(receiver_.get(), limit);
  if (n > 0) {
    drained_ = static_cast<std::size_t>(n) < std::min(limit, ReceiveBuffers::kDatagrams);
    return true;
  }
  if (errno != EAGAIN && errno != EINTR) {
    ++statistics_.receive_errors;
    c_.handlers.on_error(number_, "receive", errno);
  }
  return false;
}

void DatagramLink::deliver(const ReceiveBuffers::Received& datagram) {
  if (datagram.bytes.empty()) return;
  if (is_own(*datagram.from)) {
    ++statistics_.receive_errors;
    return;
  }
  ++statistics_.packets_received;
  statistics_.bytes_received += datagram.bytes.size();
  c_.handlers.on_datagram(number_, ip_address_of(*datagram.from), datagram.bytes);
}

// The turn was long enough, and there is more. What was fetched already does not make the descriptor readable; but it
// can always be written to, and so wakes the loop.
void DatagramLink::come_back() {
  if (received_.empty() && drained_) {
    drained_ = false;
    return;
  }
  c_.loop.hurry();
  if (!received_.empty() && !std::exchange(coming_back_, true)) c_.loop.change(receiver_.get(), EPOLLIN | EPOLLOUT);
}

bool DatagramLink::is_own(const sockaddr_storage& from) const {
  return own_address_ && port_of(from) == own_port_ && ip_address_of(from) == *own_address_;
}

// --- Sending ---

void DatagramLink::set_current(bool current) {
  if (current == current_) return;
  current_ = current;
  if (current) {
    flush();
  } else {
    stop_waiting();
  }
}

void DatagramLink::send(std::span<const Datagram> datagrams) {
  while (!datagrams.empty() && sender_ && !outage_ && c_.queue.empty()) {
    const auto n = std::min(datagrams.size(), kBatch);
    for (std::size_t i = 0; i < n; ++i) {
      parts_[i] = {const_cast<std::uint8_t*>(datagrams[i].data()), datagrams[i].size()};
    }
    const auto done = send_parts(n);
    datagrams = datagrams.subspan(done);
    if (done < n) break;
  }
  for (const auto& d : datagrams) keep(d);
}

// Sends the first `count` of parts_. Returns how many are dealt with: sent or lost. The others have to wait.
std::size_t DatagramLink::send_parts(std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const int n = ::sendmmsg(sender_.get(), messages_.data() + done, static_cast<unsigned>(count - done), MSG_NOSIGNAL);
    if (n > 0) {
      outage_.reset();
      refusals_ = 0;
      for (const auto end = done + static_cast<std::size_t>(n); done < end; ++done) {
        ++statistics_.packets_sent;
        statistics_.bytes_sent += parts_[done].iov_len;
      }
      continue;
    }
    const int code = errno;
    if (code == EINTR) continue;
    const bool lost = give_up(code);
    if (lost) ++done;
    if (!lost || outage_) break;
  }
  return done;
}

// A datagram was refused. True if it is lost, false if it waits for room or for the end of the outage that has begun.
bool DatagramLink::give_up(int code) {
  if (code == EAGAIN || code == EWOULDBLOCK) {
    wait_for_room();
    return false;
  }
  if (code == ENOBUFS || code == ENOMEM) {
    room_timer_.arm_in(kMemoryPause);
    return false;
  }
  if (is_unreachable(code)) {
    ++statistics_.send_errors;
    begin_outage(code);
    return false;
  }
  count_lost(code);
  if (code != EMSGSIZE && ++refusals_ >= kManyRefusals) begin_outage(code);
  return true;
}

void DatagramLink::begin_outage(int code) {
  const bool began = !outage_;
  if (began) outage_ = Outage{.since = c_.loop.now()};
  outage_->code = code;
  if (began) c_.on_outage();
}

void DatagramLink::keep(const Datagram& datagram) {
  if (c_.queue.full()) {
    ++statistics_.send_errors;
    if (sender_ && !outage_) c_.handlers.on_error(number_, "send", ENOBUFS);  // else it was said what is wrong
  }
  c_.queue.push(datagram);
}

void DatagramLink::flush() {
  if (!sender_) return;
  while (!c_.queue.empty()) {
    const auto n = c_.queue.fill(parts_);
    const auto done = send_parts(n);
    c_.queue.pop(done);
    if (done < n) return;
  }
  stop_waiting();
}

void DatagramLink::wait_for_room() {
  if (waiting_for_room_) return;
  waiting_for_room_ = c_.loop.watch(sender_.get(), EPOLLOUT, [this](std::uint32_t) { flush(); }).has_value();
  if (!waiting_for_room_) room_timer_.arm_in(kMemoryPause);
}

void DatagramLink::stop_waiting() {
  room_timer_.cancel();
  if (std::exchange(waiting_for_room_, false)) c_.loop.unwatch(sender_.get());
}

void DatagramLink::try_again() {
  if (!outage_) return;
  if (current_ && !c_.queue.empty()) return flush();
  if (!(is_unreachable(outage_->code) ? probe(interface_index_).has_value() : may_send())) return;
  outage_.reset();
  refusals_ = 0;
}

// What a rule set refuses can only be found out by sending. An empty datagram means nothing to a peer, conntrackd
// included, which only counts it.
bool DatagramLink::may_send() {
  return ::sendto(sender_.get(), nullptr, 0, MSG_NOSIGNAL, destination_.get(), destination_.length) == 0;
}

void DatagramLink::count_lost(int code) {
  ++statistics_.send_errors;
  if (!outage_) c_.handlers.on_error(number_, "send", code);
}

}  // namespace ctsync::link
