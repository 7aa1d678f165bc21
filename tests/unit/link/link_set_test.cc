// SPDX-License-Identifier: GPL-2.0-or-later
// Redundant links: who sends, when that changes, what happens to interfaces that vanish (spec replication.md 3.6, 9
// (30)).
#include <net/if.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "two_nodes.h"

namespace ctsync::link::testing {
namespace {

using namespace std::chrono_literals;

class LinkSetTest : public TwoNodes {
 protected:
  // As if the link watcher said this of the interface.
  static void tell(Node& node, const char* interface, bool up, bool running) {
    const Inside inside(node.ns());
    node.pretended[interface] = {.index = ::if_nametoindex(interface), .mtu = 1500, .up = up, .running = running};
    node.links->interface_changed(interface);
  }
};

TEST_F(LinkSetTest, starts_with_the_last_default_else_with_the_first) {
  auto options = links_of(LinkKind::udp, true);
  ASSERT_TRUE(a->open(options));
  EXPECT_EQ(a->links->current(), 0U);
  options.links[1].is_default = true;
  ASSERT_TRUE(a->open(options));
  EXPECT_EQ(a->links->current(), 1U);
  EXPECT_EQ(a->links->interface_state(0), LinkState::running);
}

TEST_F(LinkSetTest, moves_to_the_other_link_when_the_interface_goes_down_and_does_not_move_back) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  a->send({message(1)});
  ASSERT_TRUE(run([&] { return b->received.size() == 1; }));
  EXPECT_EQ(b->received[0].link, 0U);

  a->ip("link set sync0 down");
  tell(*a, "sync0", false, false);
  EXPECT_EQ(a->links->current(), 1U);
  EXPECT_EQ(a->log.count(Level::notice, "device `sync1' becomes dedicated link"), 1U);
  EXPECT_EQ(a->links->interface_state(0), LinkState::down);
  a->send({message(2)});
  ASSERT_TRUE(run([&] { return b->received.size() == 2; }));
  EXPECT_EQ(b->received[1].link, 1U);
  EXPECT_EQ(a->links->statistics(0).packets_sent, 1U);
  EXPECT_EQ(a->links->statistics(1).packets_sent, 1U);

  a->ip("link set sync0 up");
  tell(*a, "sync0", true, true);
  EXPECT_EQ(a->links->current(), 1U);
}

TEST_F(LinkSetTest, takes_only_an_interface_that_is_up_and_running) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  tell(*a, "sync1", true, false);
  EXPECT_EQ(a->links->interface_state(1), LinkState::no_carrier);
  tell(*a, "sync0", true, false);
  tell(*a, "sync1", false, true);
  EXPECT_EQ(a->links->current(), 0U);
  EXPECT_EQ(a->log.count(Level::error, "no dedicated links available!"), 1U);
  EXPECT_EQ(a->log.lines.size(), 1U);  // said once, not at every notification
  tell(*a, "sync1", true, true);
  EXPECT_EQ(a->links->current(), 1U);
  EXPECT_EQ(a->log.count(Level::notice, "device `sync1' becomes dedicated link"), 1U);
  tell(*a, "sync1", false, false);
  EXPECT_EQ(a->log.count(Level::error, "no dedicated links available!"), 2U);
}

TEST_F(LinkSetTest, other_links_on_the_interface_that_went_down_are_skipped) {
  auto options = links_of(LinkKind::udp, true);
  auto same = options.links[0];
  same.port = 3781;
  options.links = {options.links[0], same, options.links[1]};
  ASSERT_TRUE(a->open(options));
  tell(*a, "sync0", true, false);
  EXPECT_EQ(a->links->current(), 2U);
}

TEST_F(LinkSetTest, an_accepted_message_on_another_link_moves_there_silently) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  const auto calls = a->buffer_size_calls;
  a->links->note_accepted(1);
  EXPECT_EQ(a->links->current(), 1U);
  EXPECT_EQ(a->buffer_size_calls, calls + 1);
  EXPECT_TRUE(a->log.lines.empty());
  a->links->note_accepted(1);
  EXPECT_EQ(a->buffer_size_calls, calls + 1);
}

TEST_F(LinkSetTest, leaves_a_link_that_does_not_work_from_the_start_once_interfaces_had_time_to_settle) {
  a->ip("link set sync0 down");
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  EXPECT_EQ(a->links->interface_state(0), LinkState::down);
  EXPECT_EQ(a->links->current(), 0U);
  EXPECT_TRUE(a->log.lines.empty());
  EXPECT_TRUE(run([&] { return a->links->current() == 1; }));
}

TEST_F(LinkSetTest, stays_on_the_default_link_when_its_carrier_comes_a_moment_late) {
  a->ip("link set sync0 down");
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  a->ip("link set sync0 up");
  run_for(2500ms);
  EXPECT_EQ(a->links->current(), 0U);
  EXPECT_EQ(a->links->interface_state(0), LinkState::running);
  EXPECT_TRUE(a->log.lines.empty());
}

// As it is at every boot. The events that tell of the carrier made the node leave its default link, and so did the
// outage of a TCP link that has no connection yet, each for good.
TEST_F(LinkSetTest, events_while_the_carrier_comes_do_not_make_it_leave_the_default_link) {
  for (const auto kind : {LinkKind::udp, LinkKind::tcp}) {
    a->pretended.clear();
    a->ip("link set sync0 down");
    ASSERT_TRUE(a->open(links_of(kind, true)));
    ASSERT_TRUE(b->open(links_of(kind, false)));
    a->ip("link set sync0 up");
    tell(*a, "sync0", true, false);
    tell(*a, "sync1", true, true);
    run_for(1000ms);
    EXPECT_EQ(a->links->current(), 0U);
    tell(*a, "sync0", true, true);
    run_for(2500ms);
    EXPECT_EQ(a->links->current(), 0U);
    EXPECT_TRUE(a->log.lines.empty()) << a->log.lines[0].second;
    tell(*a, "sync0", true, false);
    EXPECT_EQ(a->links->current(), 1U) << "it has stood";
    a->log.lines.clear();
    b->links.reset();
  }
}

TEST_F(LinkSetTest, a_link_that_has_stood_is_left_at_once_however_short_it_stood) {
  a->ip("link set sync0 down");
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  tell(*a, "sync0", true, true);
  tell(*a, "sync0", true, false);
  EXPECT_EQ(a->links->current(), 1U);
}

TEST_F(LinkSetTest, an_interface_that_comes_back_under_another_index_is_opened_again) {
  for (const auto kind : {LinkKind::multicast, LinkKind::udp}) {
    LinkOptions at_a = unicast(kind, "10.9.0.1", "10.9.0.2");
    LinkOptions at_b = unicast(kind, "10.9.0.2", "10.9.0.1");
    if (kind == LinkKind::multicast) {
      at_a.address = at_b.address = address("225.0.0.50");
      at_a.ipv4_interface = address("10.9.0.1");
      at_b.ipv4_interface = address("10.9.0.2");
    }
    ASSERT_TRUE(a->open(at_a));
    ASSERT_TRUE(b->open(at_b));
    a->received.clear();
    b->received.clear();
    a->ip("link del sync0");
    for (auto* node : {a.get(), b.get()}) node->links->interface_changed("sync0");
    EXPECT_EQ(a->log.count(Level::error, "no dedicated links available!"), 1U);
    a->send({message(1)});  // waits
    EXPECT_TRUE(a->links->congested());

    // It is there again, but its address comes a moment later.
    a->ip(fmt::format("link add sync0 type veth peer name sync0 netns /proc/{}/fd/{}", ::getpid(), b->ns()));
    for (auto* node : {a.get(), b.get()}) {
      node->ip("link set sync0 up");
    }
    for (auto* node : {a.get(), b.get()}) {
      ASSERT_TRUE(wait_for_carrier(*node, "sync0"));
      const Inside inside(node->ns());
      node->links->interface_changed("sync0");
    }
    a->ip("addr add 10.9.0.1/24 dev sync0");
    b->ip("addr add 10.9.0.2/24 dev sync0");
    EXPECT_TRUE(run([&] {
      return a->log.count(Level::notice, "link on device `sync0' is open now") == 1 &&
             b->log.count(Level::notice, "link on device `sync0' is open now") == 1;
    }));
    a->send({message(2)});
    b->send({message(3)});
    EXPECT_TRUE(run([&] { return !a->received.empty() && !b->received.empty(); }));
    EXPECT_TRUE(run([&] { return b->received.back().bytes == message(2); }));
    EXPECT_EQ(a->stream(), message(3));
    EXPECT_EQ(a->links->statistics(0).send_errors, 0U);
    a->log.lines.clear();
    b->log.lines.clear();
  }
}

TEST_F(LinkSetTest, an_interface_that_is_missing_at_the_start_is_waited_for) {
  auto options = links_of(LinkKind::udp, true);
  options.links[0].interface = "late0";
  ASSERT_TRUE(a->open(options));
  ASSERT_EQ(a->log.lines.size(), 1U);
  EXPECT_EQ(a->log.lines[0].first, Level::warning);
  EXPECT_NE(a->log.lines[0].second.find("`late0'"), std::string::npos);
  EXPECT_EQ(a->links->interface_state(0), LinkState::down);
  a->send({message(1)});
  EXPECT_TRUE(a->failures.empty());                            // a warning a second would say nothing new
  ASSERT_TRUE(run([&] { return a->links->current() == 1; }));  // once it is clear that the default link does not come

  a->ip("link set sync0 down");
  a->ip("link set sync0 name late0");
  a->ip("link set late0 up");
  ASSERT_TRUE(wait_for_carrier(*a, "late0"));
  const Inside inside(a->ns());
  a->links->interface_changed("late0");
  EXPECT_EQ(a->log.count(Level::notice, "link on device `late0' is open now"), 1U);
  EXPECT_EQ(a->links->current(), 1U);
}

TEST_F(LinkSetTest, an_address_that_is_missing_at_the_start_is_waited_for) {
  a->ip("addr flush dev sync0 scope global");
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_EQ(a->log.lines.size(), 1U);
  EXPECT_NE(a->log.lines[0].second.find("`sync0'"), std::string::npos);
  a->ip("addr add 10.9.0.1/24 dev sync0");
  EXPECT_TRUE(run([&] { return a->log.count(Level::notice, "link on device `sync0' is open now") == 1; }));
}

TEST_F(LinkSetTest, a_single_link_is_waited_for_as_well) {
  a->ip("addr flush dev sync0 scope global");
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  ASSERT_EQ(a->log.lines.size(), 1U);
  EXPECT_NE(a->log.lines[0].second.find("waiting for it"), std::string::npos);
  a->send({message(1, 1000)});
  a->ip("addr add 10.9.0.1/24 dev sync0");
  EXPECT_TRUE(run([&] { return a->log.count(Level::notice, "link on device `sync0' is open now") == 1; }));
  EXPECT_EQ(a->links->buffer_size(), 1472U);
}

TEST_F(LinkSetTest, an_address_of_nobody_on_a_configured_interface_is_an_error) {
  const auto opened = a->open(unicast(LinkKind::udp, "10.9.9.9", "10.9.0.2"));
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find("10.9.9.9"), std::string::npos);
}

TEST_F(LinkSetTest, a_link_without_its_address_is_left_for_one_that_is_open) {
  a->ip("addr flush dev sync0 scope global");
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  EXPECT_EQ(a->links->interface_state(0), LinkState::running);
  EXPECT_TRUE(run([&] { return a->links->current() == 1; }));
}

TEST_F(LinkSetTest, what_tcp_could_not_send_moves_to_the_other_link) {
  ASSERT_TRUE(a->open(links_of(LinkKind::tcp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::tcp, false)));
  ASSERT_TRUE(run([&] { return a->links->connection(0).client && a->links->connection(1).client; }));
  b->ip("link set sync0 down");  // nothing gets through any more
  for (std::uint32_t i = 0; i < 3000; ++i) a->send({message(i, 1400)});
  const auto waiting = a->links->error_queue().length;
  ASSERT_EQ(waiting, 128U);
  EXPECT_TRUE(a->links->congested());
  tell(*a, "sync0", true, false);
  EXPECT_EQ(a->links->current(), 1U);
  EXPECT_TRUE(run([&] { return a->links->error_queue().length == 0; }));
  EXPECT_FALSE(a->links->congested());
  // At least what is still in the queue arrives, complete and in order, at last the newest.
  const auto last = message(2999, 1400);
  EXPECT_TRUE(run([&] {
    const auto got = b->stream();
    return got.size() >= last.size() && std::equal(last.begin(), last.end(), got.end() - 1400);
  }));
  EXPECT_EQ(b->stream().size() % 1400, 0U);
  EXPECT_GE(b->stream().size() / 1400, 127U);
  // What the old connection still held would now undo newer states. Of what waits for the neighbour's answer the kernel
  // lets nobody take anything back; it drops that itself after 3 s.
  a->ip("neigh flush dev sync0");
  b->ip("link set sync0 up");
  EXPECT_TRUE(run([&] { return a->links->connection(0).client; }, 8s));
  run_for(500ms);
  for (const auto& r : b->received) EXPECT_EQ(r.link, 1U);
}

// --- What is wrong from the start ---

// Another process of this program, inside the namespace, with a socket bound to the port.
class Squatter {
 public:
  Squatter(const Node& node, int type, const char* local, std::uint16_t port) {
    const Inside inside(node.ns());
    const UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const int on = 1;
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);  // as conntrackd does
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    ::inet_pton(AF_INET, local, &at.sin_addr);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(fd.get(), 1), 0);
    }
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_NAME, "leftover");
      for (;;) ::raise(SIGSTOP);
    }
    EXPECT_EQ(::waitpid(pid_, nullptr, WUNTRACED), pid_);  // it has its name
  }
  ~Squatter() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Squatter(const Squatter&) = delete;
  Squatter& operator=(const Squatter&) = delete;
  std::string taken(const char* what) const { return fmt::format("{} is taken (by leftover, pid {})", what, pid_); }

 private:
  pid_t pid_;
};

TEST_F(LinkSetTest, a_port_of_another_daemon_is_refused_and_its_owner_named) {
  for (const auto* local : {"10.9.0.1", "0.0.0.0"}) {
    const Squatter other(*a, SOCK_DGRAM, local, 3780);
    const auto opened = a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2"));
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().text,
              "can't open channel socket: Address already in use (UDP link on `sync0': bind to 10.9.0.1 port 3780): " +
                  other.taken("UDP port 3780"));
  }
  const Squatter other(*a, SOCK_STREAM, "10.9.0.1", 3780);
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));  // that is TCP
  const auto opened = a->open(unicast(LinkKind::tcp, "10.9.0.1", "10.9.0.2"));
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find(other.taken("TCP port 3780")), std::string::npos) << opened.error().text;
}

TEST_F(LinkSetTest, a_restart_does_not_wait_for_its_own_port) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
}

TEST_F(LinkSetTest, links_of_one_configuration_may_share_a_port_and_no_other_process) {
  auto options = links_of(LinkKind::udp, true);
  for (auto& link : options.links) link.address = {};
  ASSERT_TRUE(a->open(options));
  a->links.reset();
  const Squatter other(*a, SOCK_DGRAM, "0.0.0.0", 3780);
  const auto opened = a->open(options);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find(other.taken("UDP port 3780")), std::string::npos) << opened.error().text;
}

TEST_F(LinkSetTest, another_daemon_in_the_group_is_told) {
  auto link = unicast(LinkKind::multicast, "225.0.0.50", "0.0.0.0");
  link.ipv4_interface = address("10.9.0.1");
  ASSERT_TRUE(a->open(link));
  EXPECT_TRUE(a->log.lines.empty());
  a->links.reset();
  const Squatter other(*a, SOCK_DGRAM, "225.0.0.50", 3780);
  ASSERT_TRUE(a->open(link));
  EXPECT_EQ(a->log.count(Level::warning, "link on device `sync0': " + other.taken("UDP port 3780") +
                                             ": only one daemon of a host should be in a group"),
            1U);
}

TEST_F(LinkSetTest, a_destination_that_is_this_node_is_told) {
  for (const auto& [kind, local, peer] :
       {std::tuple{LinkKind::udp, "10.9.0.1", "10.9.1.1"}, std::tuple{LinkKind::tcp, "fd09:0::1", "fd09:1::1"}}) {
    ASSERT_TRUE(a->open(unicast(kind, local, peer)));
    EXPECT_EQ(a->log.count(Level::warning, fmt::format("link on device `sync0': the destination {} is this node itself",
                                                       to_string(address(peer)))),
              1U);
    a->log.lines.clear();
  }
  ASSERT_TRUE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  EXPECT_TRUE(a->log.lines.empty());
}

TEST_F(LinkSetTest, a_link_that_is_kept_goes_on_under_its_new_number) {
  const auto options = links_of(LinkKind::tcp, true);
  ASSERT_TRUE(a->open(options));
  ASSERT_TRUE(b->open(links_of(LinkKind::tcp, false)));
  a->send({message(1)});
  ASSERT_TRUE(run([&] { return b->received.size() == 1; }));

  auto other = options;
  other.links = {options.links[1], options.links[0]};
  const auto before = a->change(other);
  ASSERT_TRUE(before);
  EXPECT_EQ(*before, (LinkSet::NumbersBefore{1, 0}));
  EXPECT_EQ(a->links->current(), 1U);
  EXPECT_EQ(a->links->options(1).interface, "sync0");
  EXPECT_EQ(a->links->statistics(1).packets_sent, 1U);
  EXPECT_TRUE(a->links->connection(1).client);
  a->send({message(2)});
  ASSERT_TRUE(run([&] { return b->received.size() == 2; }));
  b->send({message(3)});
  ASSERT_TRUE(run([&] { return a->received.size() == 1; }));
  EXPECT_EQ(a->received[0].link, 1U);
}

TEST_F(LinkSetTest, links_come_and_go_while_it_runs) {
  const auto both = links_of(LinkKind::udp, true);
  auto one = both;
  one.links = {both.links[0]};
  ASSERT_TRUE(a->open(one));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  ASSERT_EQ(a->change(both).value(), (LinkSet::NumbersBefore{0, std::nullopt}));
  ASSERT_EQ(a->links->size(), 2U);
  EXPECT_EQ(a->links->current(), 0U);

  auto second = both;
  second.links = {both.links[1]};
  ASSERT_EQ(a->change(second).value(), (LinkSet::NumbersBefore{1}));
  EXPECT_EQ(a->links->current(), 0U);
  EXPECT_EQ(a->links->options(0).interface, "sync1");
  a->send({message(1)});
  ASSERT_TRUE(run([&] { return b->received.size() == 1; }));
  EXPECT_EQ(b->received[0].link, 1U);
}

TEST_F(LinkSetTest, a_change_that_cannot_be_leaves_everything_as_it_was) {
  const auto options = links_of(LinkKind::udp, true);
  ASSERT_TRUE(a->open(options));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  auto wrong = options;
  wrong.links[0].port = 3999;
  wrong.links[1].interface = "a-name-too-long-for-one";
  const auto before = a->change(wrong);
  ASSERT_FALSE(before);
  EXPECT_NE(before.error().text.find("no interface can have this name"), std::string::npos) << before.error().text;
  EXPECT_EQ(a->links->options(0).port, options.links[0].port);
  EXPECT_EQ(a->links->current(), 0U);
  a->send({message(1)});
  b->send({message(2)});
  ASSERT_TRUE(run([&] { return a->received.size() == 1 && b->received.size() == 1; }));
}

}  // namespace
}  // namespace ctsync::link::testing
