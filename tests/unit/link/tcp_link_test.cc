// SPDX-License-Identifier: GPL-2.0-or-later
// TCP links between two network namespaces, and against a peer made of bare sockets (spec replication.md 1.7 and 9,
// 29).
#include <netinet/in.h>
#include <sys/socket.h>

#include "no_watches.h"
#include "two_nodes.h"

namespace ctsync::link::testing {
namespace {

using namespace std::chrono_literals;

sockaddr_in ipv4(const char* text, std::uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  if (::inet_pton(AF_INET, text, &out.sin_addr) != 1) std::abort();
  return out;
}

// The messages in a run of bytes, by sequence number.
std::vector<std::uint32_t> sequences(const Bytes& bytes) {
  std::vector<std::uint32_t> out;
  for (std::size_t at = 0; at + wire::kHeaderSize <= bytes.size();) {
    ByteReader r({bytes.data() + at, bytes.size() - at});
    r.skip(2);
    const auto length = r.be16();
    out.push_back(r.be32());
    at += std::max<std::size_t>(length, wire::kHeaderSize);
  }
  return out;
}

class TcpLinkTest : public TwoNodes {
 protected:
  static LinkOptions link_a() { return unicast(LinkKind::tcp, "10.9.0.1", "10.9.0.2"); }
  static LinkOptions link_b() { return unicast(LinkKind::tcp, "10.9.0.2", "10.9.0.1"); }

  // A connection of a bare client in a's namespace to b's listener, from the address of b's peer or another one.
  UniqueFd connect_to_b(const char* from = "10.9.0.1") const {
    const Inside inside(a->ns());
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto local = ipv4(from, 0);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local), 0) << std::strerror(errno);
    const auto to = ipv4("10.9.0.2", 3780);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << std::strerror(errno);
    return fd;
  }
  // A bare listener in b's namespace, where a link of a connects to.
  UniqueFd listen_at_b(int receive_buffer = 0) const {
    const Inside inside(b->ns());
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (receive_buffer) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const auto local = ipv4("10.9.0.2", 3780);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd.get(), 4), 0);
    return fd;
  }
  UniqueFd accept_from(const UniqueFd& listener) {
    UniqueFd fd;
    run([&] {
      fd.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      return static_cast<bool>(fd);
    });
    return fd;
  }
  static void write_all(const UniqueFd& fd, const Bytes& bytes) {
    ASSERT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // True when the other end has closed the connection.
  static bool closed(const UniqueFd& fd) {
    char c = 0;
    const auto n = ::recv(fd.get(), &c, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
  }
  static void read_some(const UniqueFd& fd, Bytes& to) {
    std::array<std::uint8_t, 4096> part{};
    const auto n = ::recv(fd.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (n > 0) to.insert(to.end(), part.begin(), part.begin() + n);
  }
};

TEST_F(TcpLinkTest, both_directions_over_ipv4_and_link_local_ipv6) {
  for (const auto& [local, peer] : {std::pair{"10.9.0.1", "10.9.0.2"}, std::pair{"fe80::a", "fe80::b"}}) {
    a->received.clear();
    b->received.clear();
    ASSERT_TRUE(a->open(unicast(LinkKind::tcp, local, peer)));
    a->send({message(1)});  // nobody is there yet
    ASSERT_TRUE(b->open(unicast(LinkKind::tcp, peer, local)));
    b->send({message(10)});
    ASSERT_TRUE(run([&] { return !a->received.empty() && !b->received.empty(); })) << local;
    a->send({message(2), message(3)});
    ASSERT_TRUE(run([&] { return sequences(b->stream()).size() >= 3; })) << local;
    EXPECT_EQ(sequences(b->stream()), (std::vector<std::uint32_t>{1, 2, 3}));
    EXPECT_EQ(sequences(a->stream()), (std::vector<std::uint32_t>{10}));
    EXPECT_EQ(to_string(b->received[0].from), local);
    EXPECT_TRUE(a->links->connection(0).client && a->links->connection(0).server);
    EXPECT_EQ(a->links->statistics(0).packets_sent, 3U);
    EXPECT_EQ(a->links->statistics(0).bytes_sent, 120U);
    EXPECT_EQ(b->links->statistics(0).bytes_received, 120U);
    a->links.reset();
    b->links.reset();
  }
}

TEST_F(TcpLinkTest, connections_that_the_kernel_does_not_let_us_watch_are_closed_and_made_again) {
  ASSERT_TRUE(b->open(link_b()));
  const auto refused = connect_to_b();
  test::without_new_watches([&] {
    EXPECT_TRUE(wait_until(
        [&] {
          b->turn();
          return closed(refused);
        },
        1s));
    run_for(1100ms);  // it tries to connect, too
    EXPECT_FALSE(a->open(link_a()));
  });
  EXPECT_TRUE(
      std::ranges::any_of(b->failures, [](const Failure& f) { return f.what == "accept" && f.code == ENOSPC; }));
  ASSERT_TRUE(a->open(link_a()));
  b->send({message(1)});
  EXPECT_TRUE(run([&] { return a->links->connection(0).client && b->links->connection(0).client; }));
  EXPECT_TRUE(run([&] { return a->received.size() == 1; }));
}

TEST_F(TcpLinkTest, messages_arrive_whole_however_the_stream_is_cut) {
  ASSERT_TRUE(b->open(link_b()));
  Bytes stream;
  for (std::uint32_t i = 0; i < 5; ++i) {
    const auto m = message(i, 40 + 4 * i);
    stream.insert(stream.end(), m.begin(), m.end());
  }
  {
    // An ACK with its range, and a message of another version: to be stepped over by whoever reads the messages.
    Bytes more(24);
    ByteWriter w(more);
    wire::encode_control(w, wire::flag::kAck, 5, 1, 2);
    wire::encode_alive(w, 0, 6);
    more[16] = 0x2a;
    stream.insert(stream.end(), more.begin(), more.end());
  }
  const auto client = connect_to_b();
  for (const auto byte : stream) {
    write_all(client, {byte});
    b->turn();
  }
  EXPECT_TRUE(run([&] { return b->stream().size() >= stream.size(); }));
  EXPECT_EQ(b->stream(), stream);
  EXPECT_EQ(b->received.size(), 7U);  // one message at a time, none before its last byte
  EXPECT_FALSE(closed(client));
  EXPECT_EQ(b->links->statistics(0).receive_errors, 0U);
}

TEST_F(TcpLinkTest, a_burst_larger_than_the_stream_buffer) {
  ASSERT_TRUE(b->open(link_b()));
  const auto client = connect_to_b();
  Bytes stream;
  for (std::uint32_t i = 0; i < 300; ++i) {
    const auto m = message(i, 1000);
    stream.insert(stream.end(), m.begin(), m.end());
  }
  std::size_t at = 0;
  EXPECT_TRUE(run([&] {
    const auto n = ::send(client.get(), stream.data() + at, stream.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) at += static_cast<std::size_t>(n);
    return b->stream().size() >= stream.size();
  }));
  EXPECT_EQ(b->stream(), stream);
}

// One turn of the loop is to stay below about a millisecond, whatever has arrived.
TEST_F(TcpLinkTest, a_long_stream_is_read_in_turns) {
  ASSERT_TRUE(b->open(link_b()));
  const auto client = connect_to_b();
  b->turn();
  Bytes stream;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const auto m = message(i, 1000);
    stream.insert(stream.end(), m.begin(), m.end());
  }
  std::size_t at = 0;
  std::size_t before = 0;
  std::size_t most = 0;
  for (int turns = 0; b->links->statistics(0).bytes_received < stream.size() && turns < 10'000; ++turns) {
    while (at < stream.size()) {
      const auto n = ::send(client.get(), stream.data() + at, stream.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    b->turn();
    const auto bytes = b->links->statistics(0).bytes_received;
    most = std::max<std::size_t>(most, bytes - before);
    before = bytes;
  }
  EXPECT_LE(most, 128U << 10);
  EXPECT_EQ(b->stream(), stream);
}

TEST_F(TcpLinkTest, however_much_the_old_connection_holds_it_is_read_before_it_is_replaced) {
  auto link = link_b();
  link.receive_buffer = 2 << 20;
  ASSERT_TRUE(b->open(link));
  constexpr std::uint32_t kCount = 500;
  auto old_client = connect_to_b();
  b->turn();
  for (std::uint32_t i = 0; i < kCount; ++i) write_all(old_client, message(i, 1000));
  old_client.reset();
  const auto new_client = connect_to_b();
  write_all(new_client, message(kCount));
  EXPECT_TRUE(run([&] { return !b->received.empty() && b->received.back().bytes == message(kCount); }));
  EXPECT_EQ(sequences(b->stream()).size(), kCount + 1);
}

TEST_F(TcpLinkTest, a_stream_out_of_step_is_closed) {
  ASSERT_TRUE(b->open(link_b()));
  const Bytes no_length{0x11, 0, 0, 0, 0, 0, 0, 1};
  const Bytes short_length{0x11, 0, 0, 7, 0, 0, 0, 1};
  Bytes short_ack(16);
  ByteWriter w(short_ack);
  wire::encode_header(w, {wire::MsgType::control, wire::flag::kAck, 8, 1});
  const Bytes swallows_all{0x11, 0, 40000 >> 8, 40000 & 0xff, 0, 0, 0, 1};
  std::uint64_t errors = 0;
  for (const auto& bad : {no_length, short_length, short_ack, swallows_all}) {
    b->received.clear();
    const auto client = connect_to_b();
    auto stream = message(1);
    stream.insert(stream.end(), bad.begin(), bad.end());
    write_all(client, stream);
    EXPECT_TRUE(run([&] { return closed(client); }));
    // The bad message is handed over too: whoever reads it counts it.
    EXPECT_EQ(b->stream(), stream);
    EXPECT_EQ(b->links->statistics(0).receive_errors, ++errors);
    EXPECT_FALSE(b->links->connection(0).server);
  }
  b->received.clear();
  const auto client = connect_to_b();
  write_all(client, message(2));
  EXPECT_TRUE(run([&] { return !b->received.empty(); }));
  EXPECT_EQ(b->stream(), message(2));
}

TEST_F(TcpLinkTest, the_newest_connection_replaces_the_one_before_and_inherits_nothing) {
  ASSERT_TRUE(b->open(link_b()));
  const auto old_client = connect_to_b();
  const auto first = message(1);
  auto cut = message(2);
  cut.resize(20);
  write_all(old_client, first);
  write_all(old_client, cut);
  EXPECT_TRUE(run([&] { return !b->received.empty(); }));
  const auto new_client = connect_to_b();
  write_all(new_client, message(3));
  EXPECT_TRUE(run([&] { return sequences(b->stream()).size() >= 2; }));
  EXPECT_EQ(sequences(b->stream()), (std::vector<std::uint32_t>{1, 3}));
  EXPECT_TRUE(closed(old_client));
  EXPECT_FALSE(closed(new_client));
}

TEST_F(TcpLinkTest, what_the_old_connection_still_holds_is_read_before_it_is_replaced) {
  ASSERT_TRUE(b->open(link_b()));
  const auto old_client = connect_to_b();
  b->turn();
  write_all(old_client, message(1));
  const auto new_client = connect_to_b();
  write_all(new_client, message(2));
  EXPECT_TRUE(run([&] { return sequences(b->stream()).size() >= 2; }));
  EXPECT_EQ(sequences(b->stream()), (std::vector<std::uint32_t>{1, 2}));
}

// The real peer was locked out for as long as the stranger went on.
TEST_F(TcpLinkTest, a_stranger_that_never_stops_sending_is_replaced) {
  a->ip("addr add 10.9.0.77/24 dev sync0");
  ASSERT_TRUE(b->open(link_b()));
  const auto stranger = connect_to_b("10.9.0.77");
  const Bytes flood = [] {
    Bytes out;
    for (std::uint32_t i = 0; i < 512; ++i) {
      const auto m = message(i, 1024);
      out.insert(out.end(), m.begin(), m.end());
    }
    return out;
  }();
  std::size_t at = 0;
  const auto fill = [&] {
    for (;;) {
      const auto n = ::send(stranger.get(), flood.data() + at, flood.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n <= 0) return;
      at = (at + static_cast<std::size_t>(n)) % flood.size();
    }
  };
  const auto turn = [&] {
    fill();
    b->turn();
    b->received.resize(std::min<std::size_t>(b->received.size(), 1));
  };
  for (int i = 0; i < 20; ++i) turn();
  const auto peer = connect_to_b();
  for (int i = 0; i < 200 && !closed(stranger); ++i) turn();
  EXPECT_TRUE(closed(stranger));
  write_all(peer, message(4711));
  b->received.clear();
  EXPECT_TRUE(run([&] { return b->stream() == message(4711); }));
}

TEST_F(TcpLinkTest, a_stranger_does_not_replace_the_peer_unless_it_is_silent) {
  a->ip("addr add 10.9.0.77/24 dev sync0");
  ASSERT_TRUE(b->open(link_b()));
  const auto stranger = connect_to_b("10.9.0.77");
  EXPECT_TRUE(run([&] { return b->links->connection(0).server; }));
  const auto another = connect_to_b("10.9.0.77");
  EXPECT_TRUE(run([&] { return closed(stranger); })) << "of strangers the newest, as the peer may be one of them";
  const auto peer = connect_to_b();
  EXPECT_TRUE(run([&] { return closed(another); }));
  run_for(2s);
  write_all(peer, message(1));
  EXPECT_TRUE(run([&] { return !b->received.empty(); }));
  run_for(1500ms);
  const auto too_early = connect_to_b("10.9.0.77");
  EXPECT_TRUE(run([&] { return closed(too_early); }));
  EXPECT_FALSE(closed(peer));
  run_for(2s);
  const auto moved = connect_to_b("10.9.0.77");
  EXPECT_TRUE(run([&] { return closed(peer); }));
  EXPECT_FALSE(closed(moved));
}

TEST_F(TcpLinkTest, short_writes_go_on_where_they_stopped) {
  const auto listener = listen_at_b(2048);
  auto link = link_a();
  link.send_buffer = 4608;
  ASSERT_TRUE(a->open(LinkSetOptions{.links = {link}, .error_queue_length = 2000}));
  const auto peer = accept_from(listener);
  ASSERT_TRUE(peer);
  ASSERT_TRUE(run([&] { return a->links->connection(0).client; }));
  Bytes expected;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const auto m = message(i, 333 + i % 7);
    a->send({m});
    expected.insert(expected.end(), m.begin(), m.end());
  }
  EXPECT_GT(a->links->error_queue().length, 800U);
  Bytes got;
  EXPECT_TRUE(run(
      [&] {
        read_some(peer, got);
        return got.size() >= expected.size();
      },
      30s));
  EXPECT_EQ(got, expected);
  EXPECT_TRUE(run([&] { return a->links->error_queue().length == 0; }));
  EXPECT_EQ(a->links->error_queue().dropped, 0U);
  EXPECT_EQ(a->links->statistics(0).packets_sent, 1000U);
  EXPECT_EQ(a->links->statistics(0).bytes_sent, expected.size());
}

TEST_F(TcpLinkTest, a_peer_that_goes_is_noticed_without_sending_and_nothing_queued_is_lost) {
  ASSERT_TRUE(a->open(link_a()));
  ASSERT_TRUE(b->open(link_b()));
  ASSERT_TRUE(run([&] { return a->links->connection(0).client; }));
  b->links.reset();
  EXPECT_TRUE(run([&] { return !a->links->connection(0).client; }, 500ms));
  for (std::uint32_t i = 0; i < 20; ++i) a->send({message(i)});
  EXPECT_EQ(a->links->error_queue().length, 20U);
  EXPECT_EQ(a->links->statistics(0).packets_sent, 0U);
  EXPECT_FALSE(a->links->congested());
  run_for(1500ms);                    // an attempt or two are refused
  EXPECT_LE(a->failures.size(), 2U);  // the first connect, before b was there, and the loss: not every attempt
  ASSERT_TRUE(b->open(link_b()));
  EXPECT_TRUE(run([&] { return sequences(b->stream()).size() >= 20; }, 2s));
  std::vector<std::uint32_t> all(20);
  for (std::uint32_t i = 0; i < 20; ++i) all[i] = i;
  EXPECT_EQ(sequences(b->stream()), all);
  EXPECT_EQ(a->links->error_queue().length, 0U);
}

TEST_F(TcpLinkTest, a_buffer_cut_by_the_end_of_its_connection_is_sent_again_as_a_whole) {
  auto listener = listen_at_b(2048);
  auto link = link_a();
  link.send_buffer = 4608;
  ASSERT_TRUE(a->open(LinkSetOptions{.links = {link}, .error_queue_length = 2000}));
  auto peer = accept_from(listener);
  ASSERT_TRUE(run([&] { return a->links->connection(0).client; }));
  for (std::uint32_t i = 0; i < 200; ++i) a->send({message(i, 1001)});
  run_for(50ms);
  const auto waiting = a->links->error_queue().length;
  ASSERT_GT(waiting, 100U);
  peer.reset();
  peer = accept_from(listener);
  ASSERT_TRUE(peer);
  Bytes got;
  EXPECT_TRUE(run(
      [&] {
        read_some(peer, got);
        return got.size() >= waiting * 1001;
      },
      20s));
  run_for(20ms);
  read_some(peer, got);
  EXPECT_EQ(got.size(), waiting * 1001);
  const auto seen = sequences(got);
  ASSERT_EQ(seen.size(), waiting);
  for (std::size_t i = 0; i < waiting; ++i) ASSERT_EQ(seen[i], 200 - waiting + i);
}

TEST_F(TcpLinkTest, without_a_peer_half_of_the_queue_is_congestion) {
  ASSERT_TRUE(a->open(LinkSetOptions{.links = {link_a()}, .error_queue_length = 8}));
  for (std::uint32_t i = 0; i < 4; ++i) a->send({message(i)});
  EXPECT_FALSE(a->links->congested());
  a->send({message(4)});
  EXPECT_TRUE(a->links->congested());
  ASSERT_TRUE(b->open(link_b()));
  EXPECT_TRUE(run([&] { return !a->links->congested(); }, 2s));
  EXPECT_EQ(a->links->error_queue().dropped, 0U);
}

TEST_F(TcpLinkTest, a_full_error_queue_drops_the_oldest_and_keeps_the_order) {
  ASSERT_TRUE(a->open(LinkSetOptions{.links = {link_a()}, .error_queue_length = 4}));
  for (std::uint32_t i = 0; i < 10; ++i) a->send({message(i)});
  EXPECT_EQ(a->links->error_queue().length, 4U);
  EXPECT_EQ(a->links->error_queue().maximum, 4U);
  EXPECT_EQ(a->links->error_queue().dropped, 6U);
  ASSERT_TRUE(b->open(link_b()));
  EXPECT_TRUE(run([&] { return sequences(b->stream()).size() >= 4; }));
  EXPECT_EQ(sequences(b->stream()), (std::vector<std::uint32_t>{6, 7, 8, 9}));
}

TEST_F(TcpLinkTest, connects_to_a_listener_that_comes_later_at_most_once_a_second) {
  ASSERT_TRUE(a->open(link_a()));
  run_for(200ms);
  EXPECT_FALSE(a->links->connection(0).client);
  EXPECT_EQ(a->links->statistics(0).send_errors, 1U);
  ASSERT_EQ(a->failures.size(), 1U);
  EXPECT_EQ(a->failures[0].what, "connect");
  EXPECT_EQ(a->failures[0].code, ECONNREFUSED);
  const auto listener = listen_at_b();
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto peer = accept_from(listener);  // and close at once
    ASSERT_TRUE(peer);
    if (i > 0) {
      EXPECT_GT(std::chrono::steady_clock::now() - start, 700ms);
    }
  }
}

TEST_F(TcpLinkTest, errors_at_the_start_name_the_link) {
  auto opened = b->open(unicast(LinkKind::tcp, "10.9.0.9", "10.9.0.1"));
  ASSERT_FALSE(opened);
  EXPECT_EQ(
      opened.error().text,
      "can't open channel socket: Cannot assign requested address (TCP link on `sync0': bind to 10.9.0.9 port 3780)");
  const auto taken = listen_at_b();
  opened = b->open(link_b());
  ASSERT_FALSE(opened);
  EXPECT_EQ(
      opened.error().text,
      "can't open channel socket: Address already in use (TCP link on `sync0': bind to 10.9.0.2 port 3780): TCP port "
      "3780 is taken (by another link of this configuration)");
}

}  // namespace
}  // namespace ctsync::link::testing
