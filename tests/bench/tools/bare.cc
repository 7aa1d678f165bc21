// SPDX-License-Identifier: GPL-2.0-or-later
//
// bare: the limit of what a daemon can reach on this machine. Makes the same netlink and UDP calls and does nothing else: no
// cache, no protocol.
//
//   bare events [PAUSE]            reads the kernel's events of flows
//   bare relay ADDRESS [PAUSE]     also sends a message for each to port 3780 there, as many in a datagram as are at hand
//   bare receive [PAUSE]           receives datagrams on port 3780
//   bare dump                      reads the kernel's table once
//
// PAUSE: microseconds of rest after each look, for what arrives at a high rate. Prints at the end (on SIGTERM)
// "items N seconds S": events, datagrams or entries. The creations of a commit are what flowgen does.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "flow_times.h"

namespace {

volatile std::sig_atomic_t g_stop = 0;

constexpr std::uint16_t kPort = 3780;
constexpr std::size_t kMessage = 60;  // bytes that a daemon sends for an established TCP connection
constexpr std::size_t kDatagram = 1472 / kMessage * kMessage;
constexpr std::size_t kBatch = 256;
constexpr std::size_t kRoom = 2048;

// Room for many datagrams, read and sent in one system call.
class Batch {
 public:
  Batch() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      parts_[i] = {data_.data() + i * kRoom, kRoom};
      headers_[i].msg_hdr.msg_iov = &parts_[i];
      headers_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  // How many have come; 0 if none.
  std::size_t receive(int socket) {
    const int got = ::recvmmsg(socket, headers_.data(), kBatch, MSG_DONTWAIT, nullptr);
    return static_cast<std::size_t>(std::max(got, 0));
  }

  void put(std::size_t message, const std::array<unsigned char, kMessage>& bytes) {
    const std::size_t each = kDatagram / kMessage;
    std::memcpy(data_.data() + message / each * kRoom + message % each * kMessage, bytes.data(), kMessage);
    parts_[message / each].iov_len = (message % each + 1) * kMessage;
  }

  void send(int socket, std::size_t messages) {
    const std::size_t each = kDatagram / kMessage;
    ::sendmmsg(socket, headers_.data(), static_cast<unsigned>((messages + each - 1) / each), 0);
  }

  [[nodiscard]] const unsigned char* datagram(std::size_t number) const { return data_.data() + number * kRoom; }

 private:
  std::vector<unsigned char> data_ = std::vector<unsigned char>(kBatch * kRoom);
  std::array<iovec, kBatch> parts_{};
  std::array<mmsghdr, kBatch> headers_{};
};

// A message as a daemon would send it for this event. The kernel always writes the original tuple first and in this order.
std::array<unsigned char, kMessage> message_of(const unsigned char* event) {
  std::array<unsigned char, kMessage> message{0x10, 0, 0, kMessage};
  const auto attribute = [&](std::size_t at, unsigned char size, unsigned char id) {
    message[at + 1] = size;
    message[at + 3] = id;
  };
  attribute(8, 12, 0);
  std::memcpy(&message[12], event + 32, 4);
  std::memcpy(&message[16], event + 40, 4);
  attribute(20, 8, 3);
  std::memcpy(&message[24], event + 60, 2);
  std::memcpy(&message[26], event + 68, 2);
  attribute(28, kMessage - 28, 5);
  return message;
}

// Calls look() whenever there is something to read, until SIGTERM.
template <typename Look>
std::uint64_t serve(int socket, std::chrono::microseconds pause, Look look) {
  ::prctl(PR_SET_TIMERSLACK, 1000UL);  // nanoseconds
  std::uint64_t items = 0;
  pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
  while (g_stop == 0) {
    if (::poll(&waiting, 1, 1000) <= 0) continue;
    std::size_t got = 0;
    do {
      got = look();
      items += got;
    } while (got == kBatch);
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
  }
  return items;
}

int event_socket() {
  mnl_socket* netlink = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  if (netlink == nullptr) return -1;
  const int events = mnl_socket_get_fd(netlink);
  const int room = 1 << 27;
  ::setsockopt(events, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  const unsigned groups = NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_UPDATE | NF_NETLINK_CONNTRACK_DESTROY;
  return mnl_socket_bind(netlink, groups, MNL_SOCKET_AUTOPID) == 0 ? events : -1;
}

int udp_socket() {
  const int udp = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int room = 1 << 24;
  ::setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  ::setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  return udp;
}

sockaddr_in port_of(in_addr address) {
  return {.sin_family = AF_INET, .sin_port = htons(kPort), .sin_addr = address, .sin_zero = {}};
}

std::uint64_t read_events(std::chrono::microseconds pause) {
  const int events = event_socket();
  Batch batch;
  return serve(events, pause, [&] { return batch.receive(events); });
}

std::uint64_t relay(in_addr address, std::chrono::microseconds pause) {
  const int events = event_socket();
  const int udp = udp_socket();
  const auto peer = port_of(address);
  ::connect(udp, reinterpret_cast<const sockaddr*>(&peer), sizeof peer);
  Batch in;
  Batch out;
  return serve(events, pause, [&] {
    const auto got = in.receive(events);
    for (std::size_t i = 0; i < got; ++i) out.put(i, message_of(in.datagram(i)));
    if (got > 0) out.send(udp, got);
    return got;
  });
}

std::uint64_t receive(std::chrono::microseconds pause) {
  const int udp = udp_socket();
  const auto here = port_of({INADDR_ANY});
  ::bind(udp, reinterpret_cast<const sockaddr*>(&here), sizeof here);
  Batch batch;
  return serve(udp, pause, [&] { return batch.receive(udp); });
}

std::uint64_t dump() {
  mnl_socket* netlink = mnl_socket_open(NETLINK_NETFILTER);
  std::array<char, 256> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  family->nfgen_family = AF_INET;
  mnl_socket_sendto(netlink, header, header->nlmsg_len);
  static std::array<char, 1 << 18> answer;
  std::uint64_t items = 0;
  for (;;) {
    const auto size = mnl_socket_recvfrom(netlink, answer.data(), answer.size());
    if (size <= 0) return items;
    int left = static_cast<int>(size);
    for (auto* entry = reinterpret_cast<const nlmsghdr*>(answer.data()); mnl_nlmsg_ok(entry, left);
         entry = mnl_nlmsg_next(entry, &left)) {
      if (entry->nlmsg_type == NLMSG_DONE || entry->nlmsg_type == NLMSG_ERROR) return items;
      ++items;
    }
  }
}

std::optional<std::uint64_t> perform(std::string_view action, int count, char** words) {
  const auto pause = [&](int at) { return std::chrono::microseconds(count > at ? bench::number_of(words[at]) : 0); };
  in_addr address{};
  if (action == "events") return read_events(pause(2));
  if (action == "relay" && count > 2 && ::inet_pton(AF_INET, words[2], &address) == 1) return relay(address, pause(3));
  if (action == "receive") return receive(pause(2));
  if (action == "dump") return dump();
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  const auto start = std::chrono::steady_clock::now();
  const auto items = perform(argc > 1 ? argv[1] : "", argc, argv);
  if (!items) {
    fmt::print(stderr, "usage: bare events [PAUSE] | relay ADDRESS [PAUSE] | receive [PAUSE] | dump\n");
    return 2;
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  fmt::print("items {} seconds {:.6f}\n", *items, taken.count());
}
