// SPDX-License-Identifier: GPL-2.0-or-later
// Direct injection: what the peers tell goes straight into the kernel (spec replication.md 5.5). A related flow that
// comes before its master is tried again at the end of the turn.
#pragma once

#include <bitset>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ctsync/base/log.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/text/render_expectation.h"
#include "ctsync/text/render_flow.h"
#include "external_store.h"

namespace ctsync::node {

class Injection final : public ExternalStore, private kernel::WriteHandler {
 public:
  Injection(kernel::TableWriter& writer, const Clock& clock, Log& log) : writer_(writer), clock_(clock), log_(log) {}

  enum class Wanted : std::uint8_t {
    yes,
    no,
    anew,  // what is there has ended, though nobody said so: it is removed first
  };
  // What to do with what a peer says of a flow; and what was written, without error. May be empty.
  std::function<Wanted(wire::MsgType, const Flow&)> judge;
  std::function<void(const kernel::WriteResult&, const Flow&)> written;

  void take(wire::MsgType type, const FlowRecord& record, const table::Origin& from = {}) override;
  void take(wire::MsgType type, const Expectation& e, const table::Origin& from = {}) override;
  void end_turn() override;
  std::unique_ptr<Job> dump(const Command&, const Client&) override { return nullptr; }
  text::StoreNumbers flow_numbers() const override { return flows_; }
  text::StoreNumbers expectation_numbers() const override { return expectations_; }

 private:
  struct Orphan {
    kernel::WriteOp op;
    FlowRecord record;
  };

  void on_written(const kernel::WriteResult& result, const FlowRecord& record) override;
  const char* count(const kernel::WriteResult& r);
  void keep_orphan(kernel::WriteOp op, const FlowRecord& record);
  void warn(const char* text, int error, const std::string& entry);

  kernel::TableWriter& writer_;
  const Clock& clock_;
  Log& log_;
  text::InjectNumbers flows_;
  text::InjectNumbers expectations_;
  bool pending_ = false;
  std::bitset<4096> judged_;  // by hash: something of such a flow waits to be written
  TupleHash hash_{0};
  std::vector<Orphan> orphans_;  // of this turn
  bool retrying_ = false;
  RateLimit limit_{std::chrono::seconds(1)};
  text::FlowRenderer flow_text_;
  text::ExpectationRenderer expectation_text_;
};

}  // namespace ctsync::node
