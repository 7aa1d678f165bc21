// SPDX-License-Identifier: GPL-2.0-or-later
// An asynchronous dump of the kernel's flows or expectations over a socket of its own: large reads, resumable, starts
// again (three times at most) when the kernel reports an interrupted or overrun dump.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::kernel {

struct Message;

class TableDump final : public Dump {
 public:
  TableDump(const Clock& clock, DumpWhat what, Family family, bool raw);

  // Sends the request. Fails without privilege or kernel support.
  Result<> start();

  int fd() const override { return fd_.get(); }
  DumpState step(DumpHandler& handler, TimePoint budget_end) override;
  const Error& error() const override { return error_; }

 private:
  DumpState read_once(DumpHandler& handler);
  DumpState handle_datagram(std::span<const std::uint8_t> data, DumpHandler& handler);
  DumpState handle_error(int code);
  void handle_entry(const Message& m, DumpHandler& handler);

  const Clock& clock_;
  const DumpWhat what_;
  const Family family_;
  const bool raw_;
  UniqueFd fd_;
  std::vector<std::uint8_t> buffer_;
  FlowRecord record_;
  Error error_;
  unsigned restarts_left_ = 3;
  bool interrupted_ = false;
  bool handed_over_ = false;
};

}  // namespace ctsync::kernel
