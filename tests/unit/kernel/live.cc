// SPDX-License-Identifier: GPL-2.0-or-later
#include "live.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace ctsync::kernel::test {

void LiveTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: needs root for a network namespace; nothing was tested";
  ASSERT_EQ(0, ::unshare(CLONE_NEWNET)) << std::strerror(errno);
}

void LiveTest::run(const std::string& command) {
  ASSERT_EQ(0, std::system(("timeout 10 " + command).c_str())) << command;  // NOLINT: fixed strings
}

NetlinkTable& LiveTest::open_table(const InjectorOptions& options) {
  table_ = std::make_unique<NetlinkTable>(clock_, options);
  const auto ok = table_->open();
  EXPECT_TRUE(ok) << ok.error().text;
  return *table_;
}

Address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) { return {a, b, c, d}; }

Address v6(std::uint8_t last) {
  Address a{0x20, 0x01, 0x0d, 0xb8};
  a[15] = last;
  return a;
}

FlowRecord make_flow(std::uint8_t l4, Family family, std::uint16_t src_port, std::uint16_t dst_port) {
  FlowRecord r;
  auto& f = r.flow;
  f.orig.family = family;
  f.orig.l4 = l4;
  f.orig.src = family == Family::ipv4 ? v4(10, 0, 0, 1) : v6(1);
  f.orig.dst = family == Family::ipv4 ? v4(10, 0, 1, 2) : v6(2);
  f.orig.src_port = src_port;
  f.orig.dst_port = dst_port;
  f.status = status::kSeenReply | status::kAssured | status::kConfirmed;
  f.timeout = 300;
  f.present = has::kPorts | has::kStatus | has::kTimeout;
  if (l4 == kTcp) {
    f.proto_state = 3;
    f.present |= has::kProtoState;
  }
  return r;
}

FlowRecord make_tcp(std::uint32_t number) {
  auto r = make_flow(kTcp, Family::ipv4, static_cast<std::uint16_t>(1024 + number % 60000), 80);
  r.flow.orig.src = v4(10, 1, static_cast<std::uint8_t>(number / 60000), 1);
  return r;
}

const WriteResult& Written::of(std::uint64_t cookie) const {
  static const WriteResult kNone{.cookie = 0, .op = {}, .phase = {}, .error = -1};
  const auto it = std::find_if(results.begin(), results.end(), [&](const auto& r) { return r.cookie == cookie; });
  return it == results.end() ? kNone : *it;
}

std::size_t Written::failures() const {
  return static_cast<std::size_t>(
      std::count_if(results.begin(), results.end(), [](const auto& r) { return r.error != 0; }));
}

std::size_t dump_all(KernelTable& table, DumpHandler& handler, DumpWhat what, const DumpOptions& options) {
  auto dump = table.dump(what, options);
  EXPECT_TRUE(dump) << dump.error().text;
  if (!dump) return 0;
  const SystemClock clock;
  std::size_t steps = 0;
  for (;;) {
    ++steps;
    const auto state = (*dump)->step(handler, clock.now() + std::chrono::microseconds(500));
    if (state == DumpState::done) return steps;
    if (state == DumpState::failed) {
      ADD_FAILURE() << (*dump)->error().text;
      return steps;
    }
    if (state != DumpState::waiting) continue;
    pollfd p{(*dump)->fd(), POLLIN, 0};
    if (::poll(&p, 1, 2000) != 1) {
      ADD_FAILURE() << "dump stalled";
      return steps;
    }
  }
}

}  // namespace ctsync::kernel::test
