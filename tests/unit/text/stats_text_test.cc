// SPDX-License-Identifier: GPL-2.0-or-later
// Every statistics block of the golden files is read back into numbers and printed again: the bytes must be the same.
#include "blocks.h"

#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <vector>

#include "golden.h"

namespace ctsync::text {
namespace {

// All numbers that stand alone (not parts of names like "sync0"), in order.
std::vector<std::uint64_t> numbers_of(std::string_view text) {
  std::vector<std::uint64_t> r;
  for (std::size_t i = 0; i < text.size();) {
    const bool start = std::isdigit(text[i]) && (i == 0 || !std::isalnum(text[i - 1]));
    if (!start) {
      ++i;
      continue;
    }
    std::uint64_t n = 0;
    for (; i < text.size() && std::isdigit(text[i]); ++i) n = n * 10 + static_cast<std::uint64_t>(text[i] - '0');
    r.push_back(n);
  }
  return r;
}

std::string between(std::string_view text, std::string_view from, std::string_view to) {
  const auto at = text.find(from) + from.size();
  return std::string(text.substr(at, text.find(to, at) - at));
}

LinkKind kind_of(std::string_view head) {
  if (head.starts_with("UDP")) return LinkKind::udp;
  return head.starts_with("TCP") ? LinkKind::tcp : LinkKind::multicast;
}

LinkNumbers link_of(std::string_view head, const std::vector<std::uint64_t>& n) {
  LinkNumbers l;
  l.kind = kind_of(head);
  l.sent_bytes = n.at(0);
  l.received_bytes = n.at(1);
  l.sent_packets = n.at(2);
  l.received_packets = n.at(3);
  l.send_errors = n.at(4);
  l.receive_errors = n.at(5);
  return l;
}

// Prints the block again that starts with `head`; empty if it is none of ours. Blocks end with an empty line, except
// that network, runtime and queue statistics consist of several paragraphs, which come together.
std::string again(const std::string& block) {
  const auto head = block.substr(0, block.find('\n'));
  const auto n = numbers_of(std::string_view(block).substr(head.size()));
  std::string out;
  if (head.starts_with("cache ")) {
    CacheNumbers c;
    c.active = n.at(0);
    c.created = n.at(1);
    c.create_failed = n.at(2);
    c.updated = n.at(3);
    c.update_failed = n.at(4);
    c.destroyed = n.at(5);
    append_cache(out, between(head, "cache ", ":"), c);
  } else if (head.starts_with("cache:")) {
    CacheNumbers c;
    c.active = n.at(0);
    c.total = n.at(1);
    EXPECT_EQ(c.total, numbers_of(head).at(0));
    c.created = n.at(2);
    c.create_failed = n.at(3);
    c.no_memory = n.at(4);
    c.no_space = n.at(5);
    c.updated = n.at(6);
    c.update_failed = n.at(7);
    c.destroyed = n.at(9);
    append_cache_extended(out, between(head, "cache:", "\t"), c);
  } else if (head == "internal bypass:") {
    append_internal_bypass(out, {n.at(0), n.at(1), n.at(2)});
  } else if (head == "external inject:") {
    append_external_inject(out, {n.at(0), n.at(1), n.at(2), n.at(3), n.at(4), n.at(5)});
  } else if (head == "traffic processed:") {
    append_traffic(out, {n.at(0), n.at(1)});
  } else if (head.find(" traffic (active device=") != std::string::npos) {
    auto l = link_of(head, n);
    const auto device = between(head, "device=", ")");
    l.device = device;
    l.server_connected = head.find("server=connected") != std::string::npos;
    l.client_connected = head.find("client=connected") != std::string::npos;
    append_active_link(out, l);
  } else if (head.find(" traffic device=") != std::string::npos) {
    auto l = link_of(head, n);
    const auto device = between(head, "device=", " ");
    l.device = device;
    l.active = head.ends_with("role=ACTIVE:");
    const auto status = between(head, "status=", " ");
    l.status = status == "RUNNING"      ? LinkState::running
               : status == "NO-CARRIER" ? LinkState::no_carrier
                                        : LinkState::down;
    append_link(out, l);
  } else if (head == "message tracking:") {
    append_message_tracking(out, {.malformed = n.at(0), .lost = n.at(1)});
  } else if (head == "network statistics:") {
    append_network(out, {n.at(0), n.at(1), n.at(2), n.at(3), n.at(4), n.at(5), n.at(6), n.at(8), n.at(9)});
  } else if (head.starts_with("daemon uptime: ") && n.at(9) == 0) {  // not where a child process has failed
    append_runtime(out, {numbers_of(head).at(0) * 60, n.at(0), n.at(1), n.at(2), n.at(3), n.at(4), n.at(5), n.at(6),
                         n.at(7), n.at(8), n.at(14), n.at(15)});
  } else if (head.starts_with("allocated queue nodes:")) {
    std::vector<QueueNumbers> queues;
    const std::vector<std::string_view> names = {"txqueue", "errorq", "rsqueue"};
    for (std::size_t i = 0; i + 2 < n.size(); i += 3) queues.push_back({names.at(i / 3), n[i], n[i + 1], n[i + 2]});
    append_queues(out, numbers_of(head).at(0), queues);
  } else if (head.starts_with("resent queue (len=")) {
    append_resend_queue_head(out, n.empty() ? 0 : n.size() / 2);
    for (std::size_t i = 0; i + 1 < n.size(); i += 2) {
      append_resend_control(out, static_cast<std::uint32_t>(n[i]), static_cast<std::uint32_t>(n[i + 1]));
    }
  }
  return out;
}

// Is this paragraph the continuation of the block before it?
bool continues(const std::string& line) {
  return line == "sequence tracking statistics:" || line == "netlink stats:" || line == "runtime stats:" ||
         line.starts_with("queue ");
}

// Blocks with the empty line that ends them.
std::vector<std::string> blocks_of(const std::string& file) {
  std::vector<std::string> blocks;
  bool fresh = true;
  for (const auto& line : golden::lines_of(file)) {
    if (line.starts_with("(exit status") || line.starts_with("[")) {
      // A log line in the middle: the recording has cut the block short.
      if (line[0] == '[' && !fresh) blocks.pop_back();
      fresh = true;
      continue;
    }
    if (fresh && !(continues(line) && !blocks.empty())) blocks.emplace_back();
    blocks.back() += line + "\n";
    fresh = line.empty();
  }
  return blocks;
}

TEST(StatsText, EveryGoldenBlockComesOutAgain) {
  std::map<std::string, int> seen;
  for (const auto& file : golden::files_of_daemon_149()) {
    for (const auto& block : blocks_of(file)) {
      std::string got;
      ASSERT_NO_THROW(got = again(block)) << file << "\n" << block;
      if (got.empty()) continue;
      EXPECT_EQ(got, block) << file;
      ++seen[block.substr(0, 12)];
    }
  }
  const std::vector<std::string> kinds = {
      "cache intern", "cache extern", "cache stats:", "cache:intern", "cache:extern", "cache:stats\t",
      "internal byp", "external inj", "traffic proc", "UDP traffic ", "TCP traffic ", "multicast tr",
      "message trac", "network stat", "daemon uptim", "allocated qu", "resent queue"};
  for (const auto& kind : kinds) EXPECT_GE(seen[kind], 1) << kind;
}

TEST(StatsText, Uptime) {
  const auto first_line = [](std::uint64_t seconds) {
    std::string out;
    append_runtime(out, {.uptime_seconds = seconds});
    return out.substr(0, out.find('\n'));
  };
  EXPECT_EQ(first_line(59), "daemon uptime: 0 min");
  EXPECT_EQ(first_line(61 * 60), "daemon uptime: 1 h 1 min");
  EXPECT_EQ(first_line(86400), "daemon uptime: 1 day 0 min");
  EXPECT_EQ(first_line(86400 + 3600), "daemon uptime: 1 day 1 h 0 min");
  EXPECT_EQ(first_line(3 * 86400 + 23 * 3600 + 59 * 60 + 59), "daemon uptime: 3 days 23 h 59 min");
}

TEST(StatsText, LinkStates) {
  std::string out;
  append_link(out, {.kind = LinkKind::multicast, .device = "eth2", .status = LinkState::no_carrier});
  EXPECT_TRUE(out.starts_with("multicast traffic device=eth2 status=NO-CARRIER role=BACKUP:\n"));
}

// 1.4.9-control-socket.txt shows these lines within a list.
TEST(StatsText, LinesOfQueuedFlows) {
  std::string out;
  append_resend_queue_head(out, 777);
  append_resend_object(out, 1795358518);
  append_resend_object(out, 1795358519);
  EXPECT_EQ(out, "resent queue (len=777)\nobject -> seq:1795358518\nobject -> seq:1795358519\n");
}

TEST(StatsText, NumbersWiderThanTheirColumnAreNotCut) {
  std::string out;
  append_cache(out, "internal", {.active = 12345678901234});
  EXPECT_NE(out.find("current active connections:\t12345678901234\n"), std::string::npos);
}

}  // namespace
}  // namespace ctsync::text
