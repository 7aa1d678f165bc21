// SPDX-License-Identifier: GPL-2.0-or-later
// Links whose interface is there but which cannot send: what happens to what they were to send, and who sends instead.
#include "two_nodes.h"

namespace ctsync::link::testing {
namespace {

using namespace std::chrono_literals;

using OutageTest = TwoNodes;

constexpr auto kCannotSend = "link on device `sync0' cannot send: Network is unreachable";
constexpr auto kUsableAgain = "link on device `sync0' can be used again";

TEST_F(OutageTest, a_link_whose_address_is_gone_hands_over_to_one_that_can_send) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  a->ip("addr del 10.9.0.1/24 dev sync0");
  a->send({message(0)});
  EXPECT_TRUE(a->links->congested());
  for (std::uint32_t i = 1; i < 20; ++i) a->send({message(i)});
  EXPECT_TRUE(run([&] { return a->links->current() == 1; }, 3s));
  EXPECT_FALSE(a->links->congested());
  EXPECT_TRUE(run([&] { return b->received.size() == 20; }));
  for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(b->received[i].bytes, message(i));  // nothing lost, in order
  run_for(1500ms);
  EXPECT_EQ(a->log.count(Level::warning, kCannotSend), 1U);
  EXPECT_EQ(a->log.count(Level::notice, "device `sync1' becomes dedicated link"), 1U);
  EXPECT_EQ(a->log.lines.size(), 2U);
  EXPECT_TRUE(a->failures.empty());

  a->ip("addr add 10.9.0.1/24 dev sync0");
  EXPECT_TRUE(run([&] { return a->log.count(Level::notice, kUsableAgain) == 1; }, 2s));
  EXPECT_EQ(a->links->current(), 1U);  // no return without need
  a->ip("addr del 10.9.1.1/24 dev sync1");
  a->send({message(20)});
  EXPECT_TRUE(run([&] { return a->links->current() == 0; }, 3s));
  EXPECT_TRUE(run([&] { return b->received.size() == 21; }));
  EXPECT_EQ(b->received[20].link, 0U);
}

TEST_F(OutageTest, a_short_outage_is_no_reason_to_leave_and_loses_nothing) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  a->ip("addr del 10.9.0.1/24 dev sync0");
  a->send({message(1), message(2)});
  run_for(300ms);
  a->ip("addr add 10.9.0.1/24 dev sync0");
  EXPECT_TRUE(run([&] { return b->received.size() == 2; }));
  EXPECT_EQ(b->received[1].link, 0U);
  run_for(1500ms);
  EXPECT_EQ(a->links->current(), 0U);
  EXPECT_TRUE(a->log.lines.empty());
}

TEST_F(OutageTest, the_only_link_goes_on_trying_and_says_so_once) {
  const auto options = unicast(LinkKind::udp, "10.9.0.1", "10.9.0.2");
  ASSERT_TRUE(a->open(options));
  ASSERT_TRUE(b->open(unicast(LinkKind::udp, "10.9.0.2", "10.9.0.1")));
  a->ip("addr del 10.9.0.1/24 dev sync0");
  for (std::uint32_t i = 0; i < 100; ++i) a->send({message(i)});
  run_for(4s);
  EXPECT_EQ(a->log.count(Level::warning, kCannotSend), 1U);
  EXPECT_EQ(a->log.lines.size(), 1U);
  EXPECT_TRUE(a->links->congested());
  EXPECT_LT(a->links->statistics(0).send_errors, 30U);  // ten a second at first, then one
  a->ip("addr add 10.9.0.1/24 dev sync0");
  EXPECT_TRUE(run([&] { return b->received.size() == 100; }, 2s));
  for (std::uint32_t i = 0; i < 100; ++i) EXPECT_EQ(b->received[i].bytes, message(i));
  EXPECT_TRUE(run([&] { return a->log.count(Level::notice, kUsableAgain) == 1; }, 2s));
  EXPECT_EQ(a->log.lines.size(), 2U);
}

TEST_F(OutageTest, two_links_that_cannot_send_do_not_take_turns) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  a->ip("addr del 10.9.0.1/24 dev sync0");
  a->ip("addr del 10.9.1.1/24 dev sync1");
  for (std::uint32_t i = 0; i < 10; ++i) a->send({message(i)});
  run_for(6s);
  EXPECT_LE(a->log.lines.size(), 3U);  // each cannot send, one change
  const auto other = 1 - a->links->current();
  a->ip(fmt::format("addr add 10.9.{0}.1/24 dev sync{0}", other));
  EXPECT_TRUE(run([&] { return b->received.size() == 10; }, 4s));
  EXPECT_EQ(a->links->current(), other);
}

TEST_F(OutageTest, a_link_that_a_rule_set_forbids_hands_over) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  const Inside inside(a->ns());
  ASSERT_EQ(std::system("nft 'table ip t { chain o { type filter hook output priority 0; oifname sync0 drop; }; }'"),
            0);
  for (std::uint32_t i = 0; i < 100; ++i) a->send({message(i)});
  EXPECT_EQ(a->links->statistics(0).send_errors, 16U);  // the first ones might have been single cases
  EXPECT_TRUE(run([&] { return a->links->current() == 1; }, 3s));
  EXPECT_EQ(a->log.count(Level::warning, "link on device `sync0' cannot send: Operation not permitted"), 1U);
  EXPECT_TRUE(run([&] { return b->received.size() >= 60; }));
}

TEST_F(OutageTest, a_link_that_a_rule_set_forbade_can_be_used_as_soon_as_the_rule_is_gone) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  const auto forbid = [&](const char* device) {
    const Inside inside(a->ns());
    const auto rules = fmt::format(
        "nft 'table ip t {{ }}; delete table ip t; table ip t {{ chain o {{ type filter hook output priority 0; "
        "oifname {} drop; }}; }}'",
        device);
    ASSERT_EQ(std::system(rules.c_str()), 0);
  };
  forbid("sync0");
  for (std::uint32_t i = 0; i < 20; ++i) a->send({message(i)});
  ASSERT_TRUE(run([&] { return a->links->current() == 1; }, 3s));
  run_for(2500ms);
  EXPECT_EQ(a->log.count(Level::notice, kUsableAgain), 0U);
  forbid("sync1");
  EXPECT_TRUE(run([&] { return a->log.count(Level::notice, kUsableAgain) == 1; }, 2s));
  b->received.clear();
  for (std::uint32_t i = 100; i < 120; ++i) a->send({message(i)});
  EXPECT_TRUE(run([&] { return a->links->current() == 0; }, 3s));
  a->send({message(120)});
  EXPECT_TRUE(run([&] { return !b->received.empty() && b->received.back().bytes == message(120); }));
  EXPECT_EQ(b->received.back().link, 0U) << "and nobody was bothered with what was sent to find out";
}

TEST_F(OutageTest, a_datagram_that_a_rule_set_forbids_is_lost_alone) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::udp, false)));
  const Inside inside(a->ns());
  ASSERT_EQ(
      std::system("nft 'table ip t { chain o { type filter hook output priority 0; meta length > 1000 drop; }; }'"), 0);
  a->send({message(1), message(2, 1200), message(3)});
  EXPECT_TRUE(run([&] { return b->received.size() == 2; }));
  EXPECT_EQ(a->links->statistics(0).send_errors, 1U);
  EXPECT_FALSE(a->links->congested());
  ASSERT_EQ(a->failures.size(), 1U);
  EXPECT_EQ(a->failures[0].code, EPERM);
}

TEST_F(OutageTest, a_message_heard_on_a_link_that_cannot_send_does_not_make_it_the_current_one) {
  ASSERT_TRUE(a->open(links_of(LinkKind::udp, true)));
  a->ip("addr del 10.9.0.1/24 dev sync0");
  a->send({message(1)});
  ASSERT_TRUE(run([&] { return a->links->current() == 1; }, 3s));
  a->links->note_accepted(0);
  EXPECT_EQ(a->links->current(), 1U);
}

TEST_F(OutageTest, tcp_without_a_connection_hands_over_to_a_link_that_has_one) {
  ASSERT_TRUE(a->open(links_of(LinkKind::tcp, true)));
  ASSERT_TRUE(b->open(links_of(LinkKind::tcp, false)));
  ASSERT_TRUE(run([&] { return a->links->connection(0).client && a->links->connection(1).client; }));
  {
    const Inside inside(b->ns());
    ASSERT_EQ(std::system("nft 'table ip t { chain i { type filter hook input priority 0; "
                          "iifname sync0 meta l4proto tcp reject with tcp reset; }; }'"),
              0);
  }
  for (std::uint32_t i = 0; i < 10; ++i) a->send({message(i)});
  EXPECT_TRUE(run([&] { return a->links->current() == 1; }, 6s));
  EXPECT_EQ(a->log.count(Level::notice, "device `sync1' becomes dedicated link"), 1U);
  a->send({message(10)});
  EXPECT_TRUE(run([&] { return !b->received.empty() && b->received.back().link == 1; }));
}

TEST_F(OutageTest, tcp_stays_on_its_link_while_the_peer_restarts) {
  ASSERT_TRUE(a->open(links_of(LinkKind::tcp, true)));
  run_for(4s);  // longer than the patience with a link
  EXPECT_EQ(a->links->current(), 0U);
  ASSERT_TRUE(b->open(links_of(LinkKind::tcp, false)));
  ASSERT_TRUE(run([&] { return a->links->connection(0).client && a->links->connection(1).client; }));
  run_for(2s);
  EXPECT_EQ(a->links->current(), 0U);
}

}  // namespace
}  // namespace ctsync::link::testing
