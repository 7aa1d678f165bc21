// SPDX-License-Identifier: GPL-2.0-or-later
// A dump of the kernel's flows or expectations over a socket of its own: large reads, resumable. What it promises, and
// when it starts again, is said at Dump.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/kernel/kernel_table.h"
#include "ctsync/kernel/netlink_socket.h"
#include "netlink_message.h"

namespace ctsync::kernel {

class TableDump final : public Dump {
 public:
  TableDump(const Clock& clock, DumpWhat what, const DumpOptions& options);

  // Sends the request. Fails without privilege or kernel support.
  Result<> start();

  int fd() const override { return socket_.fd(); }
  DumpState step(DumpHandler& handler, TimePoint budget_end) override;
  const Error& error() const override { return error_; }

 private:
  DumpState read_once();
  DumpState hand_over(DumpHandler& handler, TimePoint budget_end);
  DumpState handle_end(const Message& m);
  DumpState handle_interruption(int code);
  DumpState fail_with(int code);
  void handle_entry(const Message& m, DumpHandler& handler);

  const Clock& clock_;
  const DumpWhat what_;
  const DumpOptions options_;
  NetlinkSocket socket_;
  std::vector<std::uint8_t> buffer_;
  Messages unread_{{}};  // of what is in the buffer
  FlowRecord record_;
  Error error_;
  unsigned interruptions_ = 0;
  bool interrupted_ = false;  // the attempt under way, as the kernel says
  bool handed_over_ = false;  // an entry, in any attempt
};

}  // namespace ctsync::kernel
