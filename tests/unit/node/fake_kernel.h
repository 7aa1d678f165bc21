// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's table in memory: dumps in parts of a given size, look-ups, and writers that answer as the kernel does,
// with faults where a test wants them. Events are the test's own matter.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "ctsync/kernel/kernel_table.h"

namespace ctsync::node::test {

struct TupleLess {
  bool operator()(const Tuple& a, const Tuple& b) const { return std::memcmp(&a, &b, sizeof a) < 0; }
};

// Conntrack table, expectations, and one writer for all origins.
class FakeKernel final : public kernel::KernelTable, public kernel::TableWriter {
 public:
  enum class Step { create, update, destroy };

  // --- What tests see and set ---
  std::map<Tuple, FlowRecord, TupleLess> flows;
  std::vector<Expectation> expectations;
  // The error of a step, 0 = as the table is.
  std::function<int(Step, const Flow&)> fault = [](Step, const Flow&) { return 0; };
  std::function<int(Step, const Expectation&)> expectation_fault = [](Step, const Expectation&) { return 0; };
  std::vector<std::pair<kernel::WriteOp, FlowRecord>> written;  // in order, done or not
  int batches = 0;                                              // finish() with something to do
  std::size_t dump_part = 1000;                                 // entries a step of a dump
  int dump_error = 0;                                           // errno at the end of a dump
  int dump_errors_left = 1;                                     // of how many dumps
  int queries = 0;

  void put(const FlowRecord& r) { flows.insert_or_assign(r.flow.orig, r); }
  bool has_flow(const FlowRecord& r) const { return flows.contains(r.flow.orig); }

  // --- kernel::KernelTable ---
  Result<> open_events(const kernel::EventOptions&) override { return {}; }
  Result<> set_event_filter(const FlowFilter&, bool) override { return {}; }
  void read_events(std::uint32_t, kernel::EventHandler&) override {}
  const kernel::EventStats& event_stats() const override { return stats_; }
  using KernelTable::dump;
  Result<std::unique_ptr<kernel::Dump>> dump(kernel::DumpWhat what, const kernel::DumpOptions&) override {
    return std::make_unique<FakeDump>(*this, what);
  }
  Result<bool> get(const Tuple& orig, FlowRecord& out) override {
    ++queries;
    const auto it = flows.find(orig);
    if (it == flows.end()) return false;
    out = it->second;
    return true;
  }
  kernel::TableWriter& writer(kernel::Origin) override { return *this; }

  // --- kernel::TableWriter ---
  void write(kernel::WriteOp op, const FlowRecord& record, std::uint64_t cookie,
             kernel::WriteHandler& handler) override {
    const auto same = [&](const Entry& e) { return e.record.flow.orig == record.flow.orig; };
    if (std::any_of(batch_.begin(), batch_.end(), same)) finish(handler);
    batch_.push_back({{.cookie = cookie, .op = op, .phase = {}, .error = 0}, record});
  }
  void finish(kernel::WriteHandler& handler) override {
    auto batch = std::exchange(batch_, {});
    if (!batch.empty()) ++batches;
    for (auto& [result, record] : batch) {
      written.emplace_back(result.op, record);
      run(result, record);
    }
    for (auto& [result, record] : batch) handler.on_written(result, record);
  }
  kernel::WriteResult write_expectation(kernel::WriteOp op, const Expectation& e) override {
    const auto same = [&](const Expectation& o) { return same_key(o, e); };
    const bool there = std::any_of(expectations.begin(), expectations.end(), same);
    kernel::WriteResult r{.cookie = 0, .op = op, .phase = kernel::WritePhase::destroy, .error = 0};
    if (op == kernel::WriteOp::destroy) {
      r.error = expectation_fault(Step::destroy, e);
      if (r.error == 0 && !there) r.error = ENOENT;
      if (r.error == 0) std::erase_if(expectations, same);
      return r;
    }
    if (there) std::erase_if(expectations, same);
    r.phase = there ? kernel::WritePhase::create_again : kernel::WritePhase::create;
    r.error = expectation_fault(Step::create, e);
    if (r.error == 0) expectations.push_back(e);
    return r;
  }
  Result<> flush_flows() override { return flows.clear(), Result<>{}; }
  Result<> flush_expectations() override { return expectations.clear(), Result<>{}; }

 private:
  class FakeDump final : public kernel::Dump {
   public:
    FakeDump(FakeKernel& kernel, kernel::DumpWhat what) : kernel_(kernel), what_(what) {
      for (const auto& [tuple, record] : kernel.flows) flows_.push_back(record);
      expectations_ = kernel.expectations;
    }
    int fd() const override { return -1; }
    // As the kernel: what is handed over may be older than what has happened since.
    kernel::DumpState step(kernel::DumpHandler& handler, TimePoint) override {
      const auto size = what_ == kernel::DumpWhat::flows ? flows_.size() : expectations_.size();
      for (std::size_t i = 0; i < kernel_.dump_part && next_ < size; ++i, ++next_) {
        if (what_ == kernel::DumpWhat::flows) {
          handler.on_flow(flows_[next_]);
        } else {
          handler.on_expectation(expectations_[next_]);
        }
      }
      if (next_ < size) return kernel::DumpState::more;
      if (const int code = kernel_.dump_error; code != 0 && kernel_.dump_errors_left-- > 0) {
        error_ = {"can't get kernel conntrack table", code};
        return kernel::DumpState::failed;
      }
      return kernel::DumpState::done;
    }
    const Error& error() const override { return error_; }

   private:
    FakeKernel& kernel_;
    kernel::DumpWhat what_;
    std::vector<FlowRecord> flows_;
    std::vector<Expectation> expectations_;
    std::size_t next_ = 0;
    Error error_;
  };

  int destroy(const Flow& f) {
    if (const int code = fault(Step::destroy, f); code != 0) return code;
    const auto it = flows.find(f.orig);
    if (it == flows.end() || (f.knows(has::kId) && it->second.flow.id != f.id)) return ENOENT;
    flows.erase(it);
    return 0;
  }
  int create(const FlowRecord& r) {
    if (flows.contains(r.flow.orig)) return EEXIST;
    if (const int code = fault(Step::create, r.flow); code != 0) return code;
    if (r.flow.knows(has::kMaster) && !flows.contains(r.extra.master)) return ENOENT;
    put(r);
    return 0;
  }
  int update(const FlowRecord& r) {
    if (!flows.contains(r.flow.orig)) return ENOENT;
    if (const int code = fault(Step::update, r.flow); code != 0) return code;
    put(r);
    return 0;
  }

  // An entry that has seen more of its flow than `r` tells; the real rule knows more (src/kernel/conflict.h).
  bool further_on(const FlowRecord& r) const {
    constexpr auto kProgress = status::kSeenReply | status::kAssured;
    const auto it = flows.find(r.flow.orig);
    return it != flows.end() && (it->second.flow.status & ~r.flow.status & kProgress) != 0;
  }
  void create_after(kernel::WriteResult& result, kernel::WritePhase phase, const FlowRecord& r) {
    result.phase = phase;
    result.error = create(r);
    if (result.error == EEXIST) replace(result, r);
  }
  void replace(kernel::WriteResult& result, const FlowRecord& r) {
    result.phase = kernel::WritePhase::destroy;
    Flow any = r.flow;
    any.present &= ~has::kId;
    result.error = destroy(any);
    if (result.error != 0 && result.error != ENOENT) return;
    result.phase = kernel::WritePhase::create_again;
    result.error = create(r);
  }
  void run(kernel::WriteResult& result, const FlowRecord& r) {
    if (result.op != kernel::WriteOp::destroy && further_on(r)) {
      result.phase = kernel::WritePhase::kept;
      return;
    }
    switch (result.op) {
      case kernel::WriteOp::create:
        return create_after(result, kernel::WritePhase::create, r);
      case kernel::WriteOp::destroy:
        result.phase = kernel::WritePhase::destroy;
        result.error = destroy(r.flow);
        return;
      case kernel::WriteOp::update:
      case kernel::WriteOp::replace: {
        result.phase = kernel::WritePhase::update;
        result.error = update(r);
        if (result.error == 0) return;
        if (result.error == ENOENT) return create_after(result, kernel::WritePhase::create_instead, r);
        return replace(result, r);
      }
    }
  }

  struct Entry {
    kernel::WriteResult result;
    FlowRecord record;
  };
  std::vector<Entry> batch_;
  kernel::EventStats stats_;
};

}  // namespace ctsync::node::test
