// SPDX-License-Identifier: GPL-2.0-or-later
#include "datagram_link.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

namespace ctsync::link {
namespace {

// linux/in6.h, since 4.20; not in the C library's header.
constexpr int kIpv6MulticastAll = 29;

in_addr ipv4(const Address& bytes) {
  in_addr out{};
  std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}

}  // namespace

DatagramLink::DatagramLink(const LinkOptions& options, std::size_t number, EventLoop& loop, ReceiveBuffers& buffers,
                           const LinkHandlers& handlers, std::size_t receive_limit)
    : options_(options),
      number_(number),
      loop_(loop),
      buffers_(buffers),
      handlers_(handlers),
      receive_limit_(std::max<std::size_t>(receive_limit, 1)) {
  for (std::size_t i = 0; i < kBatch; ++i) {
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
    messages_[i].msg_hdr.msg_name = &destination_.storage;
  }
}

Result<> DatagramLink::open(std::uint32_t interface_index) {
  close();
  auto opened = open_receiver(interface_index);
  if (opened) opened = open_sender(interface_index);
  if (!opened) {
    close();
    return opened;
  }
  learn_own_address(interface_index);
  loop_.watch(receiver_.get(), EPOLLIN, [this](std::uint32_t) { receive(); });
  return {};
}

void DatagramLink::close() {
  if (receiver_) loop_.unwatch(receiver_.get());
  receiver_.reset();
  sender_.reset();
  own_address_.reset();
  stalled_ = false;
}

Result<> DatagramLink::open_receiver(std::uint32_t interface_index) {
  auto fd = open_socket(options_, SOCK_DGRAM);
  if (!fd) return std::unexpected(fd.error());
  receiver_ = std::move(*fd);
  if (auto r = set_option(receiver_.get(), SOL_SOCKET, SO_REUSEADDR, 1, options_, "SO_REUSEADDR"); !r) return r;
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
    return set_option(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, request, options_, step + ", no IPv4_interface given");
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
  return set_option(fd, IPPROTO_IP, IP_MULTICAST_IF, ipv4(options_.ipv4_interface.bytes), options_,
                    "choosing the outgoing interface by IPv4_interface " + to_string(options_.ipv4_interface));
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

  UniqueFd probe(::socket(socket_family(options_.family()), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  length = sizeof name;
  if (!probe || !set_multicast_output(probe.get(), interface_index)) return;
  if (::connect(probe.get(), destination_.get(), destination_.length) < 0) return;
  if (::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&name), &length) < 0) return;
  own_address_ = ip_address_of(name);
}

bool DatagramLink::is_own(const sockaddr_storage& from) const {
  return own_address_ && port_of(from) == own_port_ && ip_address_of(from) == *own_address_;
}

void DatagramLink::receive() {
  std::size_t left = receive_limit_;
  while (left > 0) {
    const auto asked = std::min(left, ReceiveBuffers::kDatagrams);
    const int n = buffers_.receive(receiver_.get(), asked);
    if (n <= 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      ++statistics_.receive_errors;
      handlers_.on_error(number_, "receive", errno);
      return;
    }
    const auto count = static_cast<std::size_t>(n);
    for (std::size_t i = 0; i < count; ++i) {
      if (buffers_.size(i) == 0) continue;
      if (is_own(buffers_.sender(i))) {
        ++statistics_.receive_errors;
        continue;
      }
      ++statistics_.packets_received;
      statistics_.bytes_received += buffers_.size(i);
      handlers_.on_datagram(number_, ip_address_of(buffers_.sender(i)), {buffers_.data(i), buffers_.size(i)});
      if (!receiver_) return;  // closed by the handler
    }
    if (count < asked) return;
    left -= count;
  }
}

void DatagramLink::send(std::span<const Datagram> datagrams) {
  if (!sender_) {  // waiting for its interface, and that was said
    statistics_.send_errors += datagrams.size();
    return;
  }
  while (!datagrams.empty()) {
    const auto n = std::min(datagrams.size(), kBatch);
    send_batch(datagrams.first(n));
    datagrams = datagrams.subspan(n);
  }
}

void DatagramLink::send_batch(std::span<const Datagram> datagrams) {
  for (std::size_t i = 0; i < datagrams.size(); ++i) {
    parts_[i] = {const_cast<std::uint8_t*>(datagrams[i].data()), datagrams[i].size()};
  }
  std::size_t done = 0;
  while (done < datagrams.size()) {
    const int n = ::sendmmsg(sender_.get(), messages_.data() + done, static_cast<unsigned>(datagrams.size() - done),
                             MSG_NOSIGNAL);
    if (n > 0) {
      stalled_ = false;
      for (const auto end = done + static_cast<std::size_t>(n); done < end; ++done) {
        ++statistics_.packets_sent;
        statistics_.bytes_sent += datagrams[done].size();
      }
      continue;
    }
    const int code = errno;
    if (code == EINTR) continue;
    if (code == EAGAIN || code == EWOULDBLOCK) {
      // conntrackd blocks here, which paces it to the speed of the wire but hangs it on a dead device. So wait, but not
      // long, and not again until something went through.
      pollfd p{sender_.get(), POLLOUT, 0};
      if (!stalled_ && ::poll(&p, 1, kPatienceMs) > 0) continue;
      stalled_ = true;
      return count_lost(datagrams.size() - done, code);
    }
    count_lost(1, code);  // this one; the next may have better luck
    ++done;
  }
}

void DatagramLink::count_lost(std::size_t datagrams, int code) {
  statistics_.send_errors += datagrams;
  handlers_.on_error(number_, "send", code);
}

bool DatagramLink::congested() const {
  if (!stalled_) return false;
  pollfd p{sender_.get(), POLLOUT, 0};
  return ::poll(&p, 1, 0) <= 0;
}

}  // namespace ctsync::link
