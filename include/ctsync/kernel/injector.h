// SPDX-License-Identifier: GPL-2.0-or-later
// Writes flows and expectations into the kernel (spec replication.md 5.2 to 5.5), many a system call. Only errors are
// answered; each is matched to its entry by the sequence number, and one acknowledgement at the end of a batch tells
// that the kernel has seen all of it. The kernel works on a batch inside the system call: when finish() returns,
// everything is done.
#pragma once

#include <cstdint>
#include <memory>

#include "ctsync/base/result.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::kernel {

struct InjectorOptions {
  // Marks TCP flows "be liberal" in both directions, so the kernel does not check windows it knows nothing of. Off with
  // TCPWindowTracking On.
  bool be_liberal = true;
  // Entries a system call; 1 to 256. The kernel is done with all of them before the loop goes on: four to ten
  // microseconds for each, more where NAT has to look for a free tuple. Of half the size a commit costs a tenth more.
  std::uint32_t batch = 32;
  std::uint64_t hash_seed = 0;  // random bits
};

class Injector final : public TableWriter {
 public:
  explicit Injector(const InjectorOptions& options);
  ~Injector() override;
  Injector(const Injector&) = delete;
  Injector& operator=(const Injector&) = delete;

  Result<> open();
  std::uint32_t port_id() const { return port_id_; }  // netlink port of the socket, for EventSource::register_port()

  void write(WriteOp op, const FlowRecord& record, std::uint64_t cookie, WriteHandler& handler) override;
  void finish(WriteHandler& handler) override;
  WriteResult write_expectation(WriteOp op, const Expectation& expectation) override;
  Result<> flush_expectations() override;

 private:
  class Batch;

  std::unique_ptr<Batch> batch_;
  std::uint32_t port_id_ = 0;
};

}  // namespace ctsync::kernel
