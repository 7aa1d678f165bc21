// SPDX-License-Identifier: GPL-2.0-or-later
//
// traffic: short connections and a ping-pong through a firewall.
//
//   traffic serve PORT                              accepts TCP connections and closes them, answers UDP datagrams
//   traffic connect ADDRESS PORT SECONDS [RATE]     one TCP connection after the other, each opened and reset
//   traffic pingpong ADDRESS PORT SECONDS           one UDP datagram there and back after the other
//
// Print "connections N" or "rounds N p50 NANOSECONDS p99 NANOSECONDS". Exit status 1 if anything failed.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "flow_times.h"

namespace {

using Steady = std::chrono::steady_clock;

int made(int type, const sockaddr_in& address, int (*join)(int, const sockaddr*, socklen_t)) {
  const int made = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (made >= 0 && join(made, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return made;
  ::close(made);
  return -1;
}

int serve(const sockaddr_in& here) {
  const int tcp = made(SOCK_STREAM | SOCK_NONBLOCK, here, ::bind);
  const int udp = made(SOCK_DGRAM | SOCK_NONBLOCK, here, ::bind);
  if (tcp < 0 || udp < 0 || ::listen(tcp, 4096) != 0) return 1;
  std::array<pollfd, 2> ready{
      {{.fd = tcp, .events = POLLIN, .revents = 0}, {.fd = udp, .events = POLLIN, .revents = 0}}};
  for (;;) {
    if (::poll(ready.data(), ready.size(), -1) < 0) return 1;
    for (int one = 0; (one = ::accept(tcp, nullptr, nullptr)) >= 0;) ::close(one);
    std::array<char, 64> data{};
    sockaddr_in from{};
    socklen_t length = sizeof from;
    auto* name = reinterpret_cast<sockaddr*>(&from);
    while (::recvfrom(udp, data.data(), data.size(), 0, name, &length) > 0)
      ::sendto(udp, data.data(), 1, 0, name, length);
  }
}

int connect_often(const sockaddr_in& server, Steady::duration length, std::uint32_t rate) {
  ::prctl(PR_SET_TIMERSLACK, 1000UL);  // nanoseconds
  const auto start = Steady::now();
  std::uint32_t count = 0;
  while (Steady::now() - start < length) {
    const int one = made(SOCK_STREAM, server, ::connect);
    if (one < 0) {
      fmt::print(stderr, "traffic: connection {}: {}\n", count, std::strerror(errno));
      return 1;
    }
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    ::close(one);
    ++count;
    if (rate > 0) std::this_thread::sleep_until(start + std::chrono::duration<double>(1.0 * count / rate));
  }
  fmt::print("connections {}\n", count);
  return 0;
}

int pingpong(const sockaddr_in& server, Steady::duration length) {
  const int udp = made(SOCK_DGRAM, server, ::connect);
  const timeval limit{.tv_sec = 1, .tv_usec = 0};
  ::setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::vector<Steady::duration> taken;
  for (const auto start = Steady::now(); Steady::now() - start < length;) {
    const auto sent = Steady::now();
    char byte = 0;
    if (::send(udp, &byte, 1, 0) != 1 || ::recv(udp, &byte, 1, 0) != 1) {
      fmt::print(stderr, "traffic: ping-pong: {}\n", std::strerror(errno));
      return 1;
    }
    taken.push_back(Steady::now() - sent);
  }
  std::ranges::sort(taken);
  const auto share = [&](std::size_t percent) {
    return std::chrono::nanoseconds(taken[taken.size() * percent / 100]).count();
  };
  fmt::print("rounds {} p50 {} p99 {}\n", taken.size(), share(50), share(99));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view action = argc > 1 ? argv[1] : "";
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {INADDR_ANY}, .sin_zero = {}};
  const auto number = [&](int at) { return argc > at ? bench::number_of(argv[at]) : 0; };
  if (action == "serve" && argc == 3) {
    address.sin_port = htons(static_cast<std::uint16_t>(number(2)));
    return serve(address);
  }
  if (argc >= 5 && ::inet_pton(AF_INET, argv[2], &address.sin_addr) == 1) {
    address.sin_port = htons(static_cast<std::uint16_t>(number(3)));
    const std::chrono::seconds length(number(4));
    if (action == "connect") return connect_often(address, length, number(5));
    if (action == "pingpong") return pingpong(address, length);
  }
  fmt::print(stderr,
             "usage: traffic serve PORT | connect ADDRESS PORT SECONDS [RATE] | pingpong ADDRESS PORT SECONDS\n");
  return 2;
}
