// SPDX-License-Identifier: GPL-2.0-or-later
// Dumps that do not go well. The kernel's part is played by the test: it takes the place of the socket behind the dump,
// so that it can answer what a kernel does not answer on request.
#include "table_dump.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "ctsync/base/unique_fd.h"
#include "kernel_messages.h"
#include "netlink_message.h"

namespace ctsync::kernel::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes message(std::uint16_t type, std::uint16_t flags, std::span<const std::uint8_t> body) {
  Bytes bytes(NLMSG_HDRLEN + body.size());
  ByteWriter w(bytes);
  w.host32(static_cast<std::uint32_t>(bytes.size()));
  w.host16(type);
  w.host16(flags | NLM_F_MULTI);
  w.zeros(8);
  if (!body.empty()) w.copy(body.data(), body.size());
  return bytes;
}

Bytes entry(std::uint16_t flags = 0) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < std::strlen(kPingNew); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(std::string(kPingNew + i, 2), nullptr, 16)));
  }
  return message(kFlowNew, flags, std::span(bytes).subspan(NLMSG_HDRLEN));
}

Bytes end(int error = 0, std::uint16_t flags = 0, std::uint16_t type = NLMSG_DONE) {
  const auto code = static_cast<std::uint32_t>(-error);
  std::array<std::uint8_t, sizeof code> body;
  ByteWriter(body).host32(code);
  return message(type, flags, body);
}

struct Counter final : DumpHandler {
  void on_flow(FlowRecord&, std::span<const std::uint8_t>) override { ++flows; }
  int flows = 0;
};

class TableDumpTest : public testing::Test {
 protected:
  void start(const DumpOptions& options) {
    dump_ = std::make_unique<TableDump>(clock_, DumpWhat::flows, options);
    const auto ok = dump_->start();
    if (!ok && ok.error().code == EPERM) GTEST_SKIP() << "SKIPPED: needs root; nothing was tested";
    ASSERT_TRUE(ok) << ok.error().text;
  }
  // The dump's next datagrams, whatever the kernel would have said, each taken by a step.
  DumpState answer(std::initializer_list<Bytes> datagrams, TimePoint budget_end = TimePoint::min()) {
    std::array<int, 2> pair;
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair.data()));
    EXPECT_GE(::dup2(pair[0], dump_->fd()), 0);
    const UniqueFd ours(pair[0]);
    const UniqueFd kernel(pair[1]);
    auto state = DumpState::more;
    for (const auto& d : datagrams) {
      EXPECT_EQ(static_cast<ssize_t>(d.size()), ::send(kernel.get(), d.data(), d.size(), 0));
      state = dump_->step(seen_, budget_end);
    }
    return state;
  }

  const SystemClock clock_;
  std::unique_ptr<TableDump> dump_;
  Counter seen_;
};

TEST_F(TableDumpTest, GoodEndIsDone) {
  start({});
  EXPECT_EQ(DumpState::done, answer({entry(), end()}));
  EXPECT_EQ(1, seen_.flows);
}

TEST_F(TableDumpTest, InterruptedDumpsStartAgainAndNeverCountAsWhole) {
  start({});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(DumpState::more, answer({entry(), end(0, NLM_F_DUMP_INTR)})) << i;
  EXPECT_EQ(DumpState::failed, answer({entry(NLM_F_DUMP_INTR), end()}));
  EXPECT_EQ("can't get kernel conntrack table: interrupted 5 times", dump_->error().text);
  EXPECT_EQ(EINTR, dump_->error().code);
}

TEST_F(TableDumpTest, DumpThatGetsThroughInTheEndIsDone) {
  start({});
  EXPECT_EQ(DumpState::more, answer({entry(), end(EBUSY)}));
  EXPECT_EQ(DumpState::more, answer({end(EINTR, 0, NLMSG_ERROR)}));
  EXPECT_EQ(DumpState::more, answer({entry(), message(NLMSG_OVERRUN, 0, {})}));
  EXPECT_EQ(DumpState::more, answer({entry(), end(ENOBUFS)}));
  EXPECT_EQ(DumpState::done, answer({entry(), entry(), end()}));
  EXPECT_EQ(5, seen_.flows);  // those of the attempts before came again
}

TEST_F(TableDumpTest, ListingGoesOnThroughAnInterruptionAndSaysSo) {
  start({.repeatable = false});
  EXPECT_EQ(DumpState::interrupted, answer({entry(), entry(NLM_F_DUMP_INTR), entry(), end()}));
  EXPECT_EQ(3, seen_.flows);
}

TEST_F(TableDumpTest, ListingStartsAgainOnlyBeforeItsFirstEntry) {
  start({.repeatable = false});
  EXPECT_EQ(DumpState::more, answer({end(ENOBUFS)}));
  EXPECT_EQ(DumpState::failed, answer({entry(), end(ENOBUFS)}));
  EXPECT_EQ("can't get kernel conntrack table: No buffer space available", dump_->error().text);
  EXPECT_EQ(ENOBUFS, dump_->error().code);
}

TEST_F(TableDumpTest, OtherErrorsFailAtOnce) {
  start({});
  EXPECT_EQ(DumpState::failed, answer({entry(), end(EINVAL)}));
  EXPECT_EQ(EINVAL, dump_->error().code);
}

// What a read has brought takes longer to work on than to read.
TEST_F(TableDumpTest, ReadIsHandedOverInPartsWhenTheBudgetIsUsedUp) {
  start({});
  Bytes read;
  for (int i = 0; i < 20; ++i) {
    const auto bytes = entry();
    read.insert(read.end(), bytes.begin(), bytes.end());
  }
  const auto bytes = end();
  read.insert(read.end(), bytes.begin(), bytes.end());
  const auto past = clock_.now();
  EXPECT_EQ(DumpState::more, answer({read}, past));
  EXPECT_EQ(8, seen_.flows);
  EXPECT_EQ(DumpState::more, dump_->step(seen_, past));
  EXPECT_EQ(16, seen_.flows);
  EXPECT_EQ(DumpState::done, dump_->step(seen_, past));
  EXPECT_EQ(20, seen_.flows);
}

TEST_F(TableDumpTest, EndThatIsCutIsNoGoodEnd) {
  start({});
  EXPECT_EQ(DumpState::failed, answer({entry(), message(NLMSG_DONE, 0, {})}));
  start({});
  auto cut = entry();
  cut.resize(cut.size() - 4);
  EXPECT_EQ(DumpState::failed, answer({cut}));
  EXPECT_EQ(EBADMSG, dump_->error().code);
}

}  // namespace
}  // namespace ctsync::kernel::test
