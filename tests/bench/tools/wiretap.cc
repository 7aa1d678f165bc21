// SPDX-License-Identifier: GPL-2.0-or-later
//
// wiretap: takes down when each flow of flowgen arrives at the interface sync0 of the current network namespace.
//
//   wiretap FILE FIRST FLOWS       FILE: see flow_times.h
//
// The kernel stamps what comes, before any rule set drops it, so it does not matter when this program gets a processor: it
// looks every two milliseconds. Prints "ready", and on SIGTERM "messages N datagrams N missed N" (flow messages, those that come
// again included).
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "flow_times.h"

namespace {

volatile std::sig_atomic_t g_stop = 0;
constexpr std::size_t kUdpPayload = 28;  // behind the headers of IPv4 and UDP

struct Counts {
  std::uint64_t messages = 0;
  std::uint64_t datagrams = 0;
};

int listen() {
  const int packets = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  const int room = 1 << 28;
  ::setsockopt(packets, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  ::setsockopt(packets, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  ::setsockopt(packets, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_IP);
  address.sll_ifindex = static_cast<int>(::if_nametoindex("sync0"));
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  return address.sll_ifindex != 0 && ::bind(packets, name, sizeof address) == 0 ? packets : -1;
}

// By how much the clock of the kernel's stamps is ahead of the monotonic one; that one may be set while we look.
std::uint64_t stamps_ahead() {
  for (;;) {
    const auto before = bench::now();
    const auto stamp = bench::now(CLOCK_REALTIME);
    const auto after = bench::now();
    if (after - before < 2000) return stamp - before;
  }
}

// Takes one packet; false if there is none.
bool take(int packets, std::uint64_t ahead, const bench::FlowTimes& times, Counts& counts) {
  static std::array<unsigned char, 65536> data;
  std::array<unsigned char, 128> control{};
  iovec part{data.data(), data.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto size = ::recvmsg(packets, &message, 0);
  if (size < 0) return errno == EINTR;
  const cmsghdr* stamp = CMSG_FIRSTHDR(&message);
  if (stamp == nullptr || static_cast<std::size_t>(size) < kUdpPayload || data[9] != IPPROTO_UDP) return true;
  timespec time{};
  std::memcpy(&time, CMSG_DATA(stamp), sizeof time);
  const auto when = bench::nanoseconds(time) - ahead;
  ++counts.datagrams;
  times.read(bench::Bytes{data}.subspan(kUdpPayload, static_cast<std::size_t>(size) - kUdpPayload),
             [&](std::size_t entry) {
               ++counts.messages;
               times.note(entry, when);
             });
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  bench::FlowTimes times;
  if (argc != 4 || !times.open(argv[1], bench::number_of(argv[2]), bench::number_of(argv[3]))) {
    fmt::print(stderr, "usage: wiretap FILE FIRST FLOWS\n");
    return 2;
  }
  const int packets = listen();
  if (packets < 0) {
    fmt::print(stderr, "wiretap: sync0: {}\n", std::strerror(errno));
    return 1;
  }
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  fmt::print("ready\n");
  std::fflush(stdout);
  Counts counts;
  for (bool last = false; !last;) {
    last = g_stop != 0;
    const auto ahead = stamps_ahead();
    while (take(packets, ahead, times, counts)) {
    }
    if (!last) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  tpacket_stats missed{};
  socklen_t size = sizeof missed;
  ::getsockopt(packets, SOL_PACKET, PACKET_STATISTICS, &missed, &size);
  fmt::print("messages {} datagrams {} missed {}\n", counts.messages, counts.datagrams, missed.tp_drops);
}
