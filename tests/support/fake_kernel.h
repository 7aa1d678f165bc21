// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's table in memory: dumps in parts of a given size, look-ups, and writers that answer as the kernel does,
// with faults where a test wants them. Events are the matter of who derives from it.
#pragma once

#include <algorithm>
#include <array>
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

class FakeKernel : public kernel::KernelTable {
 public:
  enum class Step { create, update, destroy };

  // --- What tests see and set ---
  std::map<Tuple, FlowRecord, TupleLess> flows;
  std::vector<Expectation> expectations;
  // The error of a step, 0 = as the table is.
  std::function<int(Step, const Flow&)> fault = [](Step, const Flow&) { return 0; };
  std::function<int(Step, const Expectation&)> expectation_fault = [](Step, const Expectation&) { return 0; };
  bool remembers_writes = true;
  bool knows_its_flows = false;  // updates in place what it has of the same flow, as the real writers do
  std::vector<std::pair<kernel::WriteOp, FlowRecord>> written;  // in order, done or not
  int batches = 0;                                              // finish() with something to do
  std::size_t dump_part = 1000;                                 // entries a step of a dump
  int dump_error = 0;                                           // errno at the end of a dump
  int dump_errors_left = 1;                                     // of how many dumps
  int dumps = 0;
  bool hears_new_flows = true;
  int queries = 0;

  FlowRecord& put(const FlowRecord& r) { return flows.insert_or_assign(r.flow.orig, r).first->second; }
  bool has_flow(const FlowRecord& r) const { return flows.contains(r.flow.orig); }

  // --- kernel::KernelTable ---
  Result<> open_events(const kernel::EventOptions&) override { return {}; }
  Result<> set_event_filter(const FlowFilter&, bool) override { return {}; }
  Result<> hear_new_flows(bool on) override {
    hears_new_flows = on;
    return {};
  }
  bool read_events(std::uint32_t, kernel::EventHandler&) override { return false; }
  const kernel::EventStats& event_stats() const override { return stats_; }
  using KernelTable::dump;
  Result<std::unique_ptr<kernel::Dump>> dump(kernel::DumpWhat what, const kernel::DumpOptions&) override {
    ++dumps;
    return std::make_unique<FakeDump>(*this, what);
  }
  Result<bool> get(const Tuple& orig, FlowRecord& out) override {
    ++queries;
    const auto it = flows.find(orig);
    if (it == flows.end()) return false;
    out = it->second;
    return true;
  }
  kernel::TableWriter& writer(kernel::Origin origin) override { return writers_[static_cast<std::size_t>(origin)]; }

 protected:
  // A writer has stored `record`, or removed it. What is stored may be completed, as the kernel does.
  virtual void changed(kernel::EventType, FlowRecord& /*record*/, kernel::Origin) {}

  kernel::EventStats stats_;

 private:
  // A part is read from the table when the one before it is handed over, as the kernel does: what is handed over may be
  // older than what has happened since.
  class FakeDump final : public kernel::Dump {
   public:
    FakeDump(FakeKernel& kernel, kernel::DumpWhat what) : kernel_(kernel), what_(what) { read_ahead(); }
    int fd() const override { return -1; }
    kernel::DumpState step(kernel::DumpHandler& handler, TimePoint) override {
      auto flows_read = std::exchange(flows_, {});
      auto expectations_read = std::exchange(expectations_, {});
      read_ahead();
      for (auto& r : flows_read) handler.on_flow(r, {});
      for (auto& e : expectations_read) handler.on_expectation(e);
      if (!flows_.empty() || !expectations_.empty()) return kernel::DumpState::more;
      if (const int code = kernel_.dump_error; code != 0 && kernel_.dump_errors_left-- > 0) {
        error_ = {"can't get kernel conntrack table", code};
        return kernel::DumpState::failed;
      }
      return kernel::DumpState::done;
    }
    const Error& error() const override { return error_; }

   private:
    void read_ahead() {
      if (what_ == kernel::DumpWhat::expectations) {
        for (; expectations_.size() < kernel_.dump_part && read_ < kernel_.expectations.size(); ++read_) {
          expectations_.push_back(kernel_.expectations[read_]);
        }
        return;
      }
      auto it = read_ == 0 ? kernel_.flows.begin() : kernel_.flows.upper_bound(last_);
      for (; flows_.size() < kernel_.dump_part && it != kernel_.flows.end(); ++it, ++read_) {
        flows_.push_back(it->second);
        last_ = it->first;
      }
    }

    FakeKernel& kernel_;
    kernel::DumpWhat what_;
    std::vector<FlowRecord> flows_;
    std::vector<Expectation> expectations_;
    std::size_t read_ = 0;
    Tuple last_;
    Error error_;
  };

  class Writer final : public kernel::TableWriter {
   public:
    Writer(FakeKernel& kernel, kernel::Origin origin) : kernel_(kernel), origin_(origin) {}

    void write(kernel::WriteOp op, const FlowRecord& record, std::uint64_t cookie,
               kernel::WriteHandler& handler) override {
      const auto same = [&](const Entry& e) { return e.record.flow.orig == record.flow.orig; };
      if (std::any_of(batch_.begin(), batch_.end(), same)) finish(handler);
      batch_.push_back({{.cookie = cookie, .op = op, .phase = {}, .error = 0}, record});
    }
    void finish(kernel::WriteHandler& handler) override {
      auto batch = std::exchange(batch_, {});
      if (!batch.empty()) ++kernel_.batches;
      for (auto& [result, record] : batch) {
        if (kernel_.remembers_writes) kernel_.written.emplace_back(result.op, record);
        run(result, record);
      }
      for (auto& [result, record] : batch) handler.on_written(result, record);
    }
    kernel::WriteResult write_expectation(kernel::WriteOp op, const Expectation& e) override {
      auto& all = kernel_.expectations;
      const auto same = [&](const Expectation& o) { return same_key(o, e); };
      const bool there = std::any_of(all.begin(), all.end(), same);
      kernel::WriteResult r{.cookie = 0, .op = op, .phase = kernel::WritePhase::destroy, .error = 0};
      if (op == kernel::WriteOp::destroy) {
        r.error = kernel_.expectation_fault(Step::destroy, e);
        if (r.error == 0 && !there) r.error = ENOENT;
        if (r.error == 0) std::erase_if(all, same);
        return r;
      }
      if (there) std::erase_if(all, same);
      r.phase = there ? kernel::WritePhase::create_again : kernel::WritePhase::create;
      r.error = kernel_.expectation_fault(Step::create, e);
      if (r.error == 0) all.push_back(e);
      return r;
    }
    Result<> flush_expectations() override { return kernel_.expectations.clear(), Result<>{}; }

   private:
    struct Entry {
      kernel::WriteResult result;
      FlowRecord record;
    };

    int destroy(const Flow& f) {
      if (const int code = kernel_.fault(Step::destroy, f); code != 0) return code;
      const auto it = kernel_.flows.find(f.orig);
      if (it == kernel_.flows.end() || (f.knows(has::kId) && it->second.flow.id != f.id)) return ENOENT;
      auto gone = kernel_.flows.extract(it);
      kernel_.changed(kernel::EventType::destroy, gone.mapped(), origin_);
      return 0;
    }
    int create(const FlowRecord& r) {
      if (kernel_.flows.contains(r.flow.orig)) return EEXIST;
      if (const int code = kernel_.fault(Step::create, r.flow); code != 0) return code;
      if (r.flow.knows(has::kMaster) && !kernel_.flows.contains(r.extra.master)) return ENOENT;
      kernel_.changed(kernel::EventType::new_, kernel_.put(r), origin_);
      return 0;
    }
    int update(const FlowRecord& r) {
      const auto it = kernel_.flows.find(r.flow.orig);
      if (it == kernel_.flows.end()) return ENOENT;
      if (const int code = kernel_.fault(Step::update, r.flow); code != 0) return code;
      merge(it->second.flow, r.flow);
      copy_extra(it->second.extra, r.extra, r.flow.present);
      kernel_.changed(kernel::EventType::update, it->second, origin_);
      return 0;
    }

    // An entry that has seen more of its flow than `r` tells; the real rule knows more (src/kernel/conflict.h).
    bool further_on(const FlowRecord& r) const {
      constexpr auto kProgress = status::kSeenReply | status::kAssured;
      const auto it = kernel_.flows.find(r.flow.orig);
      return it != kernel_.flows.end() && (it->second.flow.status & ~r.flow.status & kProgress) != 0;
    }
    FlowRecord with_longer_time(FlowRecord r) const {
      const auto it = kernel_.flows.find(r.flow.orig);
      if (it != kernel_.flows.end()) r.flow.timeout = std::max(r.flow.timeout, it->second.flow.timeout);
      return r;
    }
    void create_after(kernel::WriteResult& result, kernel::WritePhase phase, const FlowRecord& r) {
      result.phase = phase;
      result.error = create(r);
      if (result.error == EEXIST) replace(result, r);
    }
    void replace(kernel::WriteResult& result, const FlowRecord& r) {
      const auto it = kernel_.flows.find(r.flow.orig);
      if (kernel_.knows_its_flows && it != kernel_.flows.end() && same_nat(it->second.flow, r.flow)) {
        result.phase = kernel::WritePhase::update;
        result.error = update(r);
        if (result.error == 0) return;
      }
      result.phase = kernel::WritePhase::destroy;
      Flow any = r.flow;
      any.present &= ~has::kId;
      result.error = destroy(any);
      if (result.error != 0 && result.error != ENOENT) return;
      result.phase = kernel::WritePhase::create_again;
      result.error = create(r);
    }
    void run(kernel::WriteResult& result, const FlowRecord& r) {
      if (result.op == kernel::WriteOp::create_only) {
        result.phase = kernel::WritePhase::create;
        result.error = create(r);
        return;
      }
      if (result.op != kernel::WriteOp::destroy && further_on(r)) {
        result.phase = kernel::WritePhase::kept;
        return;
      }
      switch (result.op) {
        case kernel::WriteOp::create_only:
        case kernel::WriteOp::create:
          return create_after(result, kernel::WritePhase::create, r);
        case kernel::WriteOp::destroy:
          result.phase = kernel::WritePhase::destroy;
          result.error = destroy(r.flow);
          return;
        case kernel::WriteOp::adopt:
        case kernel::WriteOp::update:
        case kernel::WriteOp::replace: {
          result.phase = kernel::WritePhase::update;
          result.error = result.op == kernel::WriteOp::adopt ? update(with_longer_time(r)) : update(r);
          if (result.error == 0) return;
          if (result.error == ENOENT) return create_after(result, kernel::WritePhase::create_instead, r);
          return replace(result, r);
        }
      }
    }

    FakeKernel& kernel_;
    kernel::Origin origin_;
    std::vector<Entry> batch_;
  };

  std::array<Writer, 4> writers_{Writer{*this, kernel::Origin::foreign}, Writer{*this, kernel::Origin::commit},
                                 Writer{*this, kernel::Origin::flush}, Writer{*this, kernel::Origin::inject}};
};

}  // namespace ctsync::node::test
