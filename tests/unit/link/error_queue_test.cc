// SPDX-License-Identifier: GPL-2.0-or-later
// The queue of buffers that TCP could not send: order, borders, and what goes when it is full.
#include "error_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace ctsync::link {
namespace {

std::span<const std::uint8_t> bytes(std::string_view s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

std::string content(ErrorQueue& queue) {
  std::array<iovec, 16> parts;
  const auto n = queue.fill(parts);
  std::string out;
  for (std::size_t i = 0; i < n; ++i) {
    out.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    out += '|';
  }
  return out;
}

TEST(ErrorQueue, keeps_the_order_and_goes_on_where_a_write_stopped) {
  ErrorQueue queue(4);
  queue.push(bytes("abcd"), 1);
  queue.push(bytes("ef"));
  queue.push(bytes("ghi"));
  EXPECT_EQ(content(queue), "bcd|ef|ghi|");
  EXPECT_EQ(queue.advance(4), 1U);  // bcd and e
  EXPECT_EQ(content(queue), "f|ghi|");
  EXPECT_TRUE(queue.partly_written());
  EXPECT_EQ(queue.advance(4), 2U);
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.partly_written());
  EXPECT_EQ(queue.dropped(), 0U);
}

TEST(ErrorQueue, a_new_connection_starts_with_a_whole_buffer) {
  ErrorQueue queue(4);
  queue.push(bytes("abcd"), 3);
  queue.rewind();
  EXPECT_EQ(content(queue), "abcd|");
}

TEST(ErrorQueue, drops_the_oldest_when_full) {
  ErrorQueue queue(2);
  for (const auto* s : {"a", "b", "c", "d"}) queue.push(bytes(s));
  EXPECT_EQ(content(queue), "c|d|");
  EXPECT_EQ(queue.dropped(), 2U);
  EXPECT_EQ(queue.size(), 2U);
}

TEST(ErrorQueue, never_drops_what_is_half_on_the_wire) {
  ErrorQueue queue(2);
  queue.push(bytes("abcd"), 2);
  queue.push(bytes("e"));
  queue.push(bytes("f"));
  EXPECT_EQ(content(queue), "cd|f|");
  EXPECT_EQ(queue.dropped(), 1U);

  ErrorQueue one(1);
  one.push(bytes("abcd"), 2);
  one.push(bytes("e"));
  EXPECT_EQ(content(one), "cd|");
  EXPECT_EQ(one.dropped(), 1U);
}

}  // namespace
}  // namespace ctsync::link
