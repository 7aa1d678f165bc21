// SPDX-License-Identifier: GPL-2.0-or-later
// One dedicated link: a transport between the nodes. It sends datagrams to the peer (or group) and hands over what
// arrives. Multicast and UDP keep datagram borders; TCP hands over whole messages, several at a time. Descriptors are
// watched in the event loop from open() to close(). Errors of the network at run time are counted, never fatal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "ctsync/base/clock.h"
#include "ctsync/base/result.h"
#include "ctsync/link/link_options.h"

namespace ctsync::link {

using Datagram = std::span<const std::uint8_t>;

// Called for everything received: index of the link in the configuration, who sent it, the bytes (valid during the
// call).
using DatagramHandler = std::function<void(std::size_t link, const IpAddress& from, Datagram bytes)>;

// Called when something goes wrong at run time: index of the link, what was tried ("send", "receive", "connect" ...),
// the errno value. It comes as often as it happens: whoever logs it limits the rate.
using ErrorHandler = std::function<void(std::size_t link, std::string_view what, int code)>;

struct LinkHandlers {  // none may be empty
  DatagramHandler on_datagram;
  ErrorHandler on_error;
  // LinkSet::buffer_size() may have another value now: another current link or another MTU. Must not send.
  std::function<void()> on_buffer_size;
};

// Counters of the `-s` output (spec cli.md 7.4).
struct LinkStatistics {
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t packets_sent = 0;  // datagrams; TCP: buffers written, reads
  std::uint64_t packets_received = 0;
  // Datagrams lost here, and attempts that failed; TCP: connections lost or refused (once, not every attempt).
  std::uint64_t send_errors = 0;
  std::uint64_t receive_errors = 0;
};

// TCP alone, for `-s`.
struct ConnectionState {
  bool server = false;  // the peer is connected to us
  bool client = false;  // we are connected to the peer
};

// An open link that cannot send: no route, a rule set that forbids it; TCP: no connection to the peer.
struct Outage {
  TimePoint since;
  int code = 0;  // errno of the last attempt
};

// Smallest and largest size of the coalescing buffer, whatever the MTU says.
constexpr std::size_t kMinBufferSize = 64;
constexpr std::size_t kMaxBufferSize = 65488;  // fits a UDP datagram over IPv4 and IPv6

// Bytes of a coalescing buffer on an interface of this MTU (spec replication.md 1.4): a datagram holds fewer bytes than
// this. IPv4 takes 28 off, IPv6 48 (conntrackd: 28, which makes two fragments), TCP 40.
std::size_t buffer_size_for(LinkKind kind, Family family, std::uint32_t mtu);

class Link {
 public:
  virtual ~Link() = default;

  // Opens the sockets on the interface with this index; a link already open is closed first. The error is one line:
  // "can't open channel socket: <system error> (<kind and interface>: <step, address, port>)".
  virtual Result<> open(std::uint32_t interface_index) = 0;
  virtual void close() = 0;
  // Its index from now on.
  virtual void set_number(std::size_t number) = 0;
  virtual bool is_open() const = 0;

  // Sends in order, many with one system call, and never waits: what cannot be sent now is copied into the queue of the
  // set and goes out when there is room. Takes no ownership.
  virtual void send(std::span<const Datagram> datagrams) = 0;
  // The transport takes no more at the moment: data should wait. Not an error; urgent things may still be sent.
  virtual bool congested() const = 0;

  // Whether this is the link that sends, and empties the queue of the set.
  virtual void set_current(bool current) = 0;

  virtual std::optional<Outage> outage() const = 0;
  // During an outage: looks whether it is over. To be called about once a second.
  virtual void try_again() {}

  virtual ConnectionState connection() const { return {}; }
  const LinkStatistics& statistics() const { return statistics_; }

 protected:
  LinkStatistics statistics_;
};

}  // namespace ctsync::link
