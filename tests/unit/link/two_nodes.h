// SPDX-License-Identifier: GPL-2.0-or-later
// Two nodes in two unnamed network namespaces of this process, joined by two cables (sync0, sync1). The namespaces end
// with the process. Every node has an event loop of its own; turning it happens inside the node's namespace.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ctsync/base/bytes.h"
#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/link/link_set.h"
#include "ctsync/wire/header.h"

namespace ctsync::link::testing {

using Bytes = std::vector<std::uint8_t>;

inline IpAddress address(const char* text) {
  return parse_ip(std::strchr(text, ':') ? Family::ipv6 : Family::ipv4, text).value();
}

// A well-formed message: `size` bytes with the sequence number `seq`, filled with its low byte.
inline Bytes message(std::uint32_t seq, std::size_t size = 40) {
  Bytes out(size, static_cast<std::uint8_t>(seq));
  ByteWriter w(out);
  wire::encode_header(w, {wire::MsgType::flow_update, 0, static_cast<std::uint16_t>(size), seq});
  return out;
}

inline bool wait_until(const std::function<bool()>& turn_and_ask, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!turn_and_ask()) {
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

class RecordingLog final : public Log {
 public:
  void write(Level level, std::string_view text) override { lines.emplace_back(level, text); }
  void write_entry(Level level, std::string_view text) override { lines.emplace_back(level, text); }
  std::size_t count(Level level, std::string_view text) const {
    std::size_t n = 0;
    for (const auto& l : lines) n += l.first == level && l.second == text;
    return n;
  }
  std::vector<std::pair<Level, std::string>> lines;
};

// The namespace of whoever makes one of these, until it goes.
class Inside {
 public:
  explicit Inside(int ns) : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    if (::setns(ns, CLONE_NEWNET) < 0) std::abort();
  }
  ~Inside() {
    if (::setns(before_.get(), CLONE_NEWNET) < 0) std::abort();
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  UniqueFd before_;
};

struct Received {
  std::size_t link;
  IpAddress from;
  Bytes bytes;
};

struct Failure {
  std::size_t link;
  std::string what;
  int code;
};

class Node {
 public:
  explicit Node(int ns) : ns_(ns), loop(clock_) {
    if (!loop.open()) std::abort();
  }

  // Runs an ip(8) command line in the namespace.
  void ip(const std::string& arguments) const {
    const Inside inside(ns_);
    ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << arguments;
  }
  int ns() const { return ns_; }

  Result<> open(LinkSetOptions options) {
    const Inside inside(ns_);
    options.find_interface = [this](std::string_view name) { return find(std::string(name)); };
    links = std::make_unique<LinkSet>(loop, log, std::move(options));
    return links->open({.on_datagram =
                            [this](std::size_t link, const IpAddress& from, Datagram bytes) {
                              received.push_back({link, from, Bytes(bytes.begin(), bytes.end())});
                            },
                        .on_error =
                            [this](std::size_t link, std::string_view what, int code) {
                              failures.push_back({link, std::string(what), code});
                            },
                        .on_buffer_size = [this] { ++buffer_size_calls; }});
  }
  Result<LinkSet::NumbersBefore> change(LinkSetOptions options) {
    const Inside inside(ns_);
    return links->change(std::move(options));
  }
  // What the link watcher would tell now, unless a test pretends something else.
  std::optional<InterfaceInfo> find(const std::string& name) const {
    if (const auto i = pretended.find(name); i != pretended.end()) return i->second;
    const Inside inside(ns_);
    const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    if (name.size() >= sizeof request.ifr_name) return std::nullopt;
    std::copy(name.begin(), name.end(), request.ifr_name);
    InterfaceInfo info{.index = ::if_nametoindex(name.c_str())};
    if (info.index == 0 || ::ioctl(fd.get(), SIOCGIFMTU, &request) < 0) return std::nullopt;
    info.mtu = static_cast<std::uint32_t>(request.ifr_mtu);
    if (::ioctl(fd.get(), SIOCGIFFLAGS, &request) < 0) return std::nullopt;
    info.up = (request.ifr_flags & IFF_UP) != 0;
    info.running = (request.ifr_flags & IFF_RUNNING) != 0;
    return info;
  }

  Result<> open(const LinkOptions& link) { return open(LinkSetOptions{.links = {link}}); }

  void turn(std::chrono::milliseconds wait = std::chrono::milliseconds(2)) {
    const Inside inside(ns_);
    loop.run_once(wait);
  }
  void send(const std::vector<Bytes>& datagrams) {
    const Inside inside(ns_);
    const std::vector<Datagram> views(datagrams.begin(), datagrams.end());
    links->send(views);
  }
  // Everything received, in one piece.
  Bytes stream() const {
    Bytes out;
    for (const auto& r : received) out.insert(out.end(), r.bytes.begin(), r.bytes.end());
    return out;
  }

 private:
  SystemClock clock_;
  int ns_;

 public:
  EventLoop loop;
  RecordingLog log;
  std::vector<Received> received;
  std::vector<Failure> failures;
  int buffer_size_calls = 0;
  std::map<std::string, InterfaceInfo> pretended;
  std::unique_ptr<LinkSet> links;
};

// Addresses of node a and b on cable N: 10.9.N.1 and .2, fd09:N::1 and ::2, fe80::a and fe80::b.
class TwoNodes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: network namespaces";
    const UniqueFd home(current());
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    ns_a_.reset(current());
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    ns_b_.reset(current());
    ASSERT_EQ(::setns(home.get(), CLONE_NEWNET), 0);
    a = std::make_unique<Node>(ns_a_.get());
    b = std::make_unique<Node>(ns_b_.get());
    a->ip("link set lo up");
    b->ip("link set lo up");
    add_cable(0);
    add_cable(1);
    for (const auto* node : {a.get(), b.get()}) {
      for (const auto* cable : {"sync0", "sync1"}) ASSERT_TRUE(wait_for_carrier(*node, cable));
    }
  }

  // The kernel sees a carrier up to a second after the interface was set up.
  static bool wait_for_carrier(const Node& node, const char* interface) {
    return wait_until(
        [&] {
          const auto info = node.find(interface);
          if (info && info->running) return true;
          ::usleep(1000);
          return false;
        },
        std::chrono::seconds(5));
  }

  void add_cable(int n) {
    a->ip(
        fmt::format("link add sync{0} type veth peer name sync{0} netns /proc/{1}/fd/{2}", n, ::getpid(), ns_b_.get()));
    for (const auto& [node, host, letter] : {std::tuple{a.get(), 1, 'a'}, std::tuple{b.get(), 2, 'b'}}) {
      node->ip(fmt::format("link set sync{} addrgenmode none", n));
      node->ip(fmt::format("link set sync{} up", n));
      node->ip(fmt::format("addr add 10.9.{}.{}/24 dev sync{}", n, host, n));
      node->ip(fmt::format("addr add fd09:{}::{}/64 dev sync{} nodad", n, host, n));
      node->ip(fmt::format("addr add fe80::{}/64 dev sync{} nodad", letter, n));
    }
  }

  // The same link seen from both ends.
  static LinkOptions unicast(LinkKind kind, const char* local, const char* peer, const char* interface = "sync0") {
    LinkOptions o;
    o.kind = kind;
    o.interface = interface;
    o.address = address(local);
    o.destination = address(peer);
    o.port = 3780;
    return o;
  }

  // A link on each cable, of either node.
  static LinkSetOptions links_of(LinkKind kind, bool node_a) {
    LinkSetOptions o;
    for (const int n : {0, 1}) {
      const auto one = fmt::format("10.9.{}.1", n);
      const auto two = fmt::format("10.9.{}.2", n);
      o.links.push_back(
          unicast(kind, (node_a ? one : two).c_str(), (node_a ? two : one).c_str(), n ? "sync1" : "sync0"));
    }
    return o;
  }

  // Turns both nodes until `done`.
  bool run(const std::function<bool()>& done, std::chrono::milliseconds limit = std::chrono::seconds(5)) {
    return wait_until(
        [&] {
          a->turn();
          b->turn();
          return done();
        },
        limit);
  }
  void run_for(std::chrono::milliseconds time) {
    run([] { return false; }, time);
  }

 private:
  static int current() { return ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }
  UniqueFd ns_a_;
  UniqueFd ns_b_;

 protected:
  std::unique_ptr<Node> a;
  std::unique_ptr<Node> b;
};

}  // namespace ctsync::link::testing
