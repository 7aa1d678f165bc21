// SPDX-License-Identifier: GPL-2.0-or-later
// Redundant links: who sends, when that changes, what happens to interfaces that vanish (spec replication.md 3.6, 9
// (30)).
#include <net/if.h>

#include "two_nodes.h"

namespace ctsync::link::testing {
namespace {

using namespace std::chrono_literals;

class LinkSetTest : public TwoNodes {
 protected:
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

  // What the link watcher would say of the interface now.
  static void tell(Node& node, const char* interface, bool up, bool running, std::uint32_t mtu = 1500) {
    const Inside inside(node.ns());
    node.links->interface_changed(interface, ::if_nametoindex(interface), up, running, mtu);
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
    a->links->interface_removed("sync0");
    b->links->interface_removed("sync0");
    EXPECT_EQ(a->log.count(Level::error, "no dedicated links available!"), 1U);
    a->send({message(1)});
    EXPECT_EQ(a->links->statistics(0).send_errors, 1U);

    // It is there again, but its address comes a moment later.
    a->ip(fmt::format("link add sync0 type veth peer name sync0 netns /proc/{}/fd/{}", ::getpid(), b->ns()));
    for (auto* node : {a.get(), b.get()}) {
      node->ip("link set sync0 up");
      tell(*node, "sync0", true, true);
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
    EXPECT_EQ(b->stream(), message(2));
    EXPECT_EQ(a->stream(), message(3));
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
  EXPECT_EQ(a->links->statistics(0).send_errors, 1U);
  EXPECT_TRUE(a->failures.empty());                            // a warning a second would say nothing new
  ASSERT_TRUE(run([&] { return a->links->current() == 1; }));  // once it is clear that the default link does not come

  a->ip("link set sync0 down");
  a->ip("link set sync0 name late0");
  a->ip("link set late0 up");
  tell(*a, "late0", true, true);
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

TEST_F(LinkSetTest, it_is_an_error_if_no_link_can_be_opened) {
  auto options = unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2");
  options.interface = "late0";
  const auto no_interface = a->open(options);
  ASSERT_FALSE(no_interface);
  EXPECT_NE(no_interface.error().text.find("`late0'"), std::string::npos);
  a->ip("addr flush dev sync0 scope global");
  EXPECT_FALSE(a->open(unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2")));
  EXPECT_TRUE(a->log.lines.empty());
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
  // What the old connection still held would now undo newer states.
  b->ip("link set sync0 up");
  EXPECT_TRUE(run([&] { return a->links->connection(0).client; }, 8s));
  run_for(500ms);
  for (const auto& r : b->received) EXPECT_EQ(r.link, 1U);
}

}  // namespace
}  // namespace ctsync::link::testing
