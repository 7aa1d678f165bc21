// SPDX-License-Identifier: GPL-2.0-or-later
// Multicast and UDP links between two network namespaces (spec replication.md 1.6).
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#include "two_nodes.h"

namespace ctsync::link::testing {
namespace {

using DatagramLinkTest = TwoNodes;

LinkOptions group(const char* group_address, const char* local, const char* interface = "sync0") {
  LinkOptions o;
  o.kind = LinkKind::multicast;
  o.interface = interface;
  o.address = address(group_address);
  if (o.family() == Family::ipv4) o.ipv4_interface = address(local);
  o.port = 3780;
  return o;
}

std::vector<Bytes> many(std::uint32_t count, std::size_t size) {
  std::vector<Bytes> out;
  for (std::uint32_t i = 0; i < count; ++i) out.push_back(message(i, size));
  return out;
}

void expect_in_order(const std::vector<Received>& received, const std::vector<Bytes>& sent, const char* from) {
  ASSERT_EQ(received.size(), sent.size());
  for (std::size_t i = 0; i < sent.size(); ++i) {
    ASSERT_EQ(received[i].bytes, sent[i]) << i;
    ASSERT_EQ(to_string(received[i].from), from);
  }
}

// A UDP socket of somebody else in the namespace of `node`.
UniqueFd stranger(const Node& node, int family = AF_INET) {
  const Inside inside(node.ns());
  return UniqueFd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

void send_to(int fd, const char* to, std::uint16_t port, const Bytes& bytes) {
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(port);
  ASSERT_EQ(::inet_pton(AF_INET, to, &target.sin_addr), 1);
  ASSERT_EQ(::sendto(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&target), sizeof target),
            static_cast<ssize_t>(bytes.size()));
}

// The first IPv4 UDP packet that leaves sync0 of `node` while `send` runs.
struct Packet {
  iphdr ip{};
  udphdr udp{};
};
Packet seen_leaving(const Node& node, const std::function<void()>& send) {
  UniqueFd tap;
  {
    const Inside inside(node.ns());
    tap.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL)));
  }
  send();
  Packet packet;
  for (int i = 0; i < 20; ++i) {
    std::array<std::uint8_t, 256> bytes{};
    const auto n = ::recv(tap.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n < static_cast<ssize_t>(sizeof(iphdr) + sizeof(udphdr)) || bytes[0] >> 4 != 4) continue;
    std::memcpy(&packet.ip, bytes.data(), sizeof packet.ip);
    std::memcpy(&packet.udp, bytes.data() + packet.ip.ihl * 4U, sizeof packet.udp);
    if (packet.ip.protocol == IPPROTO_UDP) return packet;
  }
  ADD_FAILURE() << "no UDP packet was sent";
  return packet;
}

TEST_F(DatagramLinkTest, udp_over_ipv4_carries_many_datagrams_in_order) {
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")));
  const auto sent = many(1000, 1400);
  a->send(sent);
  EXPECT_TRUE(run([&] { return b->received.size() >= sent.size(); }));
  expect_in_order(b->received, sent, "10.9.0.1");
  const auto& out = a->links->statistics(0);
  EXPECT_EQ(out.packets_sent, 1000U);
  EXPECT_EQ(out.bytes_sent, 1'400'000U);
  EXPECT_EQ(out.send_errors, 0U);
  const auto& in = b->links->statistics(0);
  EXPECT_EQ(in.packets_received, 1000U);
  EXPECT_EQ(in.bytes_received, 1'400'000U);
  EXPECT_EQ(in.receive_errors, 0U);
}

TEST_F(DatagramLinkTest, udp_over_ipv6_global_and_link_local) {
  for (const auto& [local, peer] : {std::pair{"fd09:0::1", "fd09:0::2"}, std::pair{"fe80::a", "fe80::b"}}) {
    ASSERT_TRUE(a->open(unicast(LinkKind::udp, local, peer)));
    ASSERT_TRUE(b->open(unicast(LinkKind::udp, peer, local)));
    b->received.clear();
    const auto sent = many(100, 1400);
    a->send(sent);
    EXPECT_TRUE(run([&] { return b->received.size() >= sent.size(); })) << local;
    expect_in_order(b->received, sent, to_string(address(local)).c_str());
  }
}

TEST_F(DatagramLinkTest, the_largest_datagram_passes_whole) {
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")));
  a->send({message(1, kMaxBufferSize)});
  EXPECT_TRUE(run([&] { return !b->received.empty(); }));
  ASSERT_EQ(b->received.size(), 1U);
  EXPECT_EQ(b->received[0].bytes, message(1, kMaxBufferSize));
}

TEST_F(DatagramLinkTest, multicast_over_ipv4_reaches_the_other_node_alone) {
  ASSERT_TRUE(a->open(group("225.0.0.50", "10.9.0.1")));
  ASSERT_TRUE(b->open(group("225.0.0.50", "10.9.0.2")));
  const auto sent = many(200, 1000);
  a->send(sent);
  EXPECT_TRUE(run([&] { return b->received.size() >= sent.size(); }));
  expect_in_order(b->received, sent, "10.9.0.1");
  b->send({message(7)});
  EXPECT_TRUE(run([&] { return !a->received.empty(); }));
  EXPECT_EQ(a->received.size(), 1U);  // loop is off: nothing of its own
  EXPECT_EQ(to_string(a->received[0].from), "10.9.0.2");
}

TEST_F(DatagramLinkTest, multicast_over_ipv6_takes_groups_of_every_scope) {
  for (const auto* g : {"ff02::50", "ff12::50", "ff05::50", "ff18::50"}) {
    ASSERT_TRUE(a->open(group(g, ""))) << g;
    ASSERT_TRUE(b->open(group(g, ""))) << g;
    a->received.clear();
    b->received.clear();
    a->send({message(1), message(2)});
    b->send({message(3)});
    EXPECT_TRUE(run([&] { return b->received.size() >= 2 && !a->received.empty(); })) << g;
    EXPECT_EQ(a->received.size(), 1U);
    EXPECT_EQ(b->received.size(), 2U);
  }
}

TEST_F(DatagramLinkTest, links_on_one_group_hear_only_their_own_interface) {
  const LinkSetOptions at_b{.links = {group("225.0.0.50", "10.9.0.2"), group("225.0.0.50", "10.9.1.2", "sync1")}};
  ASSERT_TRUE(b->open(at_b));
  ASSERT_TRUE(a->open(group("225.0.0.50", "10.9.1.1", "sync1")));
  a->send({message(1)});
  EXPECT_TRUE(run([&] { return !b->received.empty(); }));
  run_for(std::chrono::milliseconds(50));
  ASSERT_EQ(b->received.size(), 1U);
  EXPECT_EQ(b->received[0].link, 1U);
}

TEST_F(DatagramLinkTest, multicast_receiver_takes_no_unicast) {
  ASSERT_TRUE(b->open(group("225.0.0.50", "10.9.0.2")));
  const auto other = stranger(*a);
  send_to(other.get(), "10.9.0.2", 3780, message(1));
  run_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(b->received.empty());
}

TEST_F(DatagramLinkTest, any_sender_and_source_port_is_heard) {
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.77")));
  const auto other = stranger(*a);
  send_to(other.get(), "10.9.0.2", 3780, {});  // an empty datagram is nothing
  send_to(other.get(), "10.9.0.2", 3780, message(1));
  EXPECT_TRUE(run([&] { return !b->received.empty(); }));
  EXPECT_EQ(b->received.size(), 1U);
  EXPECT_EQ(b->links->statistics(0).packets_received, 1U);
}

TEST_F(DatagramLinkTest, checksum_and_ttl_on_the_wire) {
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")));
  for (const bool checksum : {true, false}) {
    auto udp = unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2");
    udp.checksum = checksum;
    ASSERT_TRUE(a->open(udp));
    const auto u = seen_leaving(*a, [&] { a->send({message(1)}); });
    EXPECT_EQ(u.udp.check == 0, !checksum);
    EXPECT_EQ(u.ip.ttl, 64);

    auto mcast = group("225.0.0.50", "10.9.0.1");
    mcast.checksum = checksum;
    ASSERT_TRUE(a->open(mcast));
    const auto m = seen_leaving(*a, [&] { a->send({message(1)}); });
    EXPECT_EQ(m.udp.check == 0, !checksum);
    EXPECT_EQ(m.ip.ttl, 1);
    EXPECT_EQ(ntohs(m.udp.dest), 3780);
    EXPECT_NE(ntohs(m.udp.source), 3780);
  }
}

TEST_F(DatagramLinkTest, a_reflected_datagram_of_our_own_is_dropped) {
  ASSERT_TRUE(a->open(group("225.0.0.50", "10.9.0.1")));
  const auto own = seen_leaving(*a, [&] { a->send({message(1)}); });
  // The network returns it: same address, same port, sent by b on a raw socket.
  Bytes packet(sizeof(udphdr));
  udphdr udp{};
  udp.source = own.udp.source;
  udp.dest = htons(3780);
  const auto payload = message(1);
  udp.len = htons(static_cast<std::uint16_t>(sizeof udp + payload.size()));
  const auto reflect = [&](std::uint16_t source) {
    udp.source = source;
    iphdr ip = own.ip;
    ip.ihl = 5;
    ip.tot_len = htons(static_cast<std::uint16_t>(sizeof ip + sizeof udp + payload.size()));
    ip.check = 0;
    Bytes raw(sizeof ip + sizeof udp);
    std::memcpy(raw.data(), &ip, sizeof ip);
    std::memcpy(raw.data() + sizeof ip, &udp, sizeof udp);
    raw.insert(raw.end(), payload.begin(), payload.end());
    const Inside inside(b->ns());
    const UniqueFd fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    const ip_mreqn out{{}, {}, static_cast<int>(::if_nametoindex("sync0"))};
    ASSERT_EQ(::setsockopt(fd.get(), IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out), 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    ASSERT_EQ(::inet_pton(AF_INET, "225.0.0.50", &to.sin_addr), 1);
    ASSERT_GT(::sendto(fd.get(), raw.data(), raw.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  };
  {
    // Over IPv4 the kernel drops such packets unless told otherwise; over IPv6 it does not.
    const Inside inside(a->ns());
    ASSERT_EQ(std::system("cd /proc/sys/net/ipv4/conf && for i in all sync0; do echo 1 >$i/accept_local; "
                          "echo 0 >$i/rp_filter; done"),
              0);
  }
  reflect(own.udp.source);
  EXPECT_TRUE(run([&] { return a->links->statistics(0).receive_errors == 1; }));
  EXPECT_TRUE(a->received.empty());
  reflect(htons(5555));  // another program on this host
  EXPECT_TRUE(run([&] { return !a->received.empty(); }));
}

TEST_F(DatagramLinkTest, multicast_needs_neither_a_route_nor_an_address_of_its_interface) {
  auto at_a = group("225.0.0.50", "10.9.0.1");
  auto at_b = group("225.0.0.50", "10.9.0.2");
  at_a.ipv4_interface = at_b.ipv4_interface = {};
  for (const auto* node : {a.get(), b.get()}) {  // a route to the wrong cable, and then none
    node->ip("route add 225.0.0.0/8 dev sync1");
  }
  for (const bool route : {true, false}) {
    ASSERT_TRUE(a->open(at_a));
    ASSERT_TRUE(b->open(at_b));
    b->received.clear();
    a->send({message(1)});
    EXPECT_TRUE(run([&] { return b->received.size() == 1; }));
    EXPECT_EQ(a->links->statistics(0).send_errors, 0U);
    if (route) {
      for (const auto* node : {a.get(), b.get()}) node->ip("route flush root 225.0.0.0/8");
    }
  }
}

TEST_F(DatagramLinkTest, errors_at_the_start_name_the_link) {
  const auto text = [&](const LinkOptions& o) {
    const auto r = a->open(o);
    return r ? std::string("no error") : r.error().text;
  };
  EXPECT_EQ(text(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2", "an-interface-of-17")),
            "can't open channel socket: Invalid argument (UDP link on `an-interface-of-17': no interface can have this "
            "name)");
  EXPECT_EQ(
      text(unicast(LinkKind::udp, "10.9.0.9", "10.9.0.2")),
      "can't open channel socket: Cannot assign requested address (UDP link on `sync0': bind to 10.9.0.9 port 3780)");
  EXPECT_EQ(
      text(unicast(LinkKind::udp, "fe80::c", "fe80::b")),
      "can't open channel socket: Cannot assign requested address (UDP link on `sync0': bind to fe80::c port 3780)");
  EXPECT_EQ(text(group("225.0.0.50", "10.9.0.9")),
            "can't open channel socket: No such device (Multicast link on `sync0': join group 225.0.0.50 port 3780, "
            "IPv4_interface 10.9.0.9)");
  EXPECT_EQ(
      text(group("192.0.2.9", "10.9.0.1")),
      "can't open channel socket: Cannot assign requested address (Multicast link on `sync0': bind to 192.0.2.9 port "
      "3780)");

  const auto other = stranger(*a);
  sockaddr_in taken{};
  taken.sin_family = AF_INET;
  taken.sin_port = htons(3780);
  ASSERT_EQ(::bind(other.get(), reinterpret_cast<sockaddr*>(&taken), sizeof taken), 0);
  EXPECT_EQ(
      text(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")),
      "can't open channel socket: Address already in use (UDP link on `sync0': bind to 10.9.0.1 port 3780): UDP port "
      "3780 is taken (by another link of this configuration)");
}

TEST_F(DatagramLinkTest, a_set_with_a_bad_link_opens_none) {
  const auto good = unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2");
  const auto bad = unicast(LinkKind::udp, "10.9.5.1", "10.9.5.2", "sync1");
  ASSERT_FALSE(a->open(LinkSetOptions{.links = {good, bad}}));
  const auto other = stranger(*a);
  sockaddr_in taken{};
  taken.sin_family = AF_INET;
  taken.sin_port = htons(3780);
  EXPECT_EQ(::bind(other.get(), reinterpret_cast<sockaddr*>(&taken), sizeof taken), 0) << "the good link is still open";
}

TEST_F(DatagramLinkTest, buffer_size_follows_transport_and_mtu) {
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  EXPECT_EQ(a->links->buffer_size(), 1472U);
  const auto calls = a->buffer_size_calls;
  a->ip("link set sync0 mtu 9000");
  const Inside inside(a->ns());
  a->links->interface_changed("sync0");
  EXPECT_EQ(a->links->buffer_size(), 8972U);
  EXPECT_GT(a->buffer_size_calls, calls);
  EXPECT_EQ(buffer_size_for(LinkKind::udp, Family::ipv6, 1500), 1452U);
  EXPECT_EQ(buffer_size_for(LinkKind::multicast, Family::ipv6, 1500), 1452U);
  EXPECT_EQ(buffer_size_for(LinkKind::multicast, Family::ipv4, 1500), 1472U);
  EXPECT_EQ(buffer_size_for(LinkKind::tcp, Family::ipv4, 1500), 1460U);
  EXPECT_EQ(buffer_size_for(LinkKind::tcp, Family::ipv6, 1500), 1460U);
  EXPECT_EQ(buffer_size_for(LinkKind::udp, Family::ipv4, 65536), kMaxBufferSize);
  EXPECT_EQ(buffer_size_for(LinkKind::udp, Family::ipv4, 20), kMinBufferSize);
}

TEST_F(DatagramLinkTest, a_full_send_buffer_waits_for_the_wire) {
  auto slow = unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2");
  slow.send_buffer = 8192;
  a->ip("link set sync0 txqueuelen 1000");
  const Inside inside(a->ns());
  ASSERT_EQ(std::system("tc qdisc add dev sync0 root tbf rate 100mbit burst 10kb latency 1s"), 0);
  ASSERT_TRUE(a->open(slow));
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")));
  const auto sent = many(200, 1400);
  a->send(sent);
  EXPECT_TRUE(run([&] { return b->received.size() >= sent.size(); }));
  expect_in_order(b->received, sent, "10.9.0.1");
  EXPECT_EQ(a->links->statistics(0).send_errors, 0U);
}

TEST_F(DatagramLinkTest, a_stuck_device_costs_no_time_and_what_does_not_fit_waits) {
  auto slow = unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2");
  slow.send_buffer = 8192;
  const Inside inside(a->ns());
  ASSERT_EQ(std::system("tc qdisc add dev sync0 root tbf rate 8kbit burst 2kb latency 100s"), 0);
  ASSERT_TRUE(a->open(slow));
  const auto& s = a->links->statistics(0);
  const auto waiting = [&] { return a->links->error_queue().length; };
  // The quickest of several in a row: a busy machine may hold up any, a wait for the device holds up all.
  for (int i = 0; i < 10; ++i) {
    auto quickest = Duration::max();
    for (int j = 0; j < 10; ++j) {
      const auto start = std::chrono::steady_clock::now();
      a->send({message(1, 1400)});
      quickest = std::min<Duration>(quickest, std::chrono::steady_clock::now() - start);
    }
    EXPECT_LT(quickest, std::chrono::milliseconds(4));
  }
  EXPECT_TRUE(a->links->congested());
  EXPECT_EQ(s.send_errors, 0U);
  EXPECT_EQ(s.packets_sent + waiting(), 100U);
  EXPECT_GT(waiting(), 50U);

  // Beyond the bound the oldest go, counted and told.
  for (int i = 0; i < 1000; ++i) a->send({message(2, 1400)});
  EXPECT_EQ(waiting(), 512U);
  EXPECT_EQ(s.packets_sent + waiting() + s.send_errors, 1100U);
  EXPECT_EQ(a->links->error_queue().dropped, s.send_errors);
  ASSERT_EQ(a->failures.size(), s.send_errors);
  EXPECT_EQ(a->failures[0].what, "send");

  // The loop sleeps while there is no room.
  int turns = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < end) {
    a->turn(std::chrono::milliseconds(50));
    ++turns;
  }
  EXPECT_LT(turns, 12);
}

TEST_F(DatagramLinkTest, a_flood_of_large_datagrams_is_taken_in_turns) {
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")));
  std::vector<Bytes> sent;
  for (std::uint32_t i = 0; i < 40; ++i) sent.push_back(message(i, i % 4 == 0 ? 100 : 60'000));
  a->send(sent);
  std::size_t before = 0;
  int turns = 0;
  while (b->received.size() < sent.size() && turns < 1000) {
    b->turn();
    const auto bytes = b->links->statistics(0).bytes_received;
    EXPECT_LE(bytes - before, (128U << 10) + 60'000U);
    before = bytes;
    ++turns;
  }
  ASSERT_EQ(b->received.size(), sent.size());
  for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(b->received[i].bytes, sent[i]);
  EXPECT_GT(turns, 8);
  // Nothing is left to wake the loop.
  turns = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  for (; std::chrono::steady_clock::now() < end; ++turns) b->turn(std::chrono::milliseconds(50));
  EXPECT_LT(turns, 12);
}

TEST_F(DatagramLinkTest, the_iteration_limit_holds_and_loses_nothing) {
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  ASSERT_TRUE(b->open(LinkSetOptions{.links = {unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")}, .receive_limit = 5}));
  a->send(many(17, 100));
  for (const std::size_t expected : {5U, 10U, 15U, 17U}) {
    b->turn();
    EXPECT_EQ(b->received.size(), expected);
  }
}

}  // namespace
}  // namespace ctsync::link::testing
