// SPDX-License-Identifier: GPL-2.0-or-later
// The seam between the daemon and the kernel's conntrack table: events, dumps, single look-ups and writes. NetlinkTable
// (netlink_table.h) is the real one; tests implement it in memory.
#pragma once

#include <cstdint>
#include <memory>

#include "ctsync/base/clock.h"
#include "ctsync/base/result.h"
#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"
#include "ctsync/flow/flow_filter.h"
#include "ctsync/kernel/decode.h"

namespace ctsync::kernel {

// Who caused an event (spec replication.md 4.4): one of the daemon's own sockets, or anybody else.
enum class Origin : std::uint8_t { foreign, commit, flush, inject };

// ---- events

struct EventOptions {
  std::uint32_t buffer_size =
      0;  // receive buffer in bytes; used if not 0 and not above buffer_size_max, else kernel default
  std::uint32_t buffer_size_max = 0;  // ceiling of the doubling on overrun, bytes
  bool reliable = false;              // the kernel keeps events it could not deliver, and overruns are not reported
  bool expectations = false;          // the three expectation groups as well
  bool counters = false;              // decode traffic counters
};

// What happened to the receive buffer on an overrun.
enum class BufferGrowth : std::uint8_t {
  doubled,
  refused,  // would pass buffer_size_max: stays as it is
};

struct EventStats {
  std::uint64_t received = 0;      // flow and expectation events
  std::uint64_t unknown_type = 0;  // messages that are no event
  std::uint64_t catch_failed = 0;  // failed reads, overruns included, and events that could not be decoded
  std::uint64_t overruns = 0;
  std::uint32_t buffer_size = 0;  // bytes, as the kernel counts
};

class EventHandler {
 public:
  virtual ~EventHandler() = default;
  // The record may be changed by the handler; it is valid during the call.
  virtual void on_flow(EventType type, FlowRecord& record, Origin origin) = 0;
  virtual void on_expectation(EventType type, Expectation& expectation, Origin origin) = 0;
  // An event without layer 3 protocol or addresses, or one that is cut: to be logged and counted as filtered.
  virtual void on_bad_event(DecodeStatus why) = 0;
  // Events were lost. `buffer_size` is the size after the growth, in bytes.
  virtual void on_overrun(BufferGrowth growth, std::uint32_t buffer_size) = 0;
};

// ---- dumps

enum class DumpWhat : std::uint8_t { flows, expectations };

struct DumpOptions {
  Family family = Family::none;  // none = both
  // Whether an entry may be handed over again when the dump has to be started again. If not (a listing that is
  // printed), a dump that the kernel reports as interrupted goes on to its end, which is `interrupted`, not `done`.
  bool repeatable = true;
};

enum class DumpState : std::uint8_t {
  more,         // the budget is used up: call again in the next turn
  waiting,      // call again when fd() is readable
  done,         // every entry that was there all the time has been handed over
  interrupted,  // the end of a dump that is not repeatable: entries may be missing, or there twice
  failed,       // see error(); what was handed over is not all
};

class DumpHandler {
 public:
  virtual ~DumpHandler() = default;
  // `attributes` (struct nlattr, valid during the call): all that the kernel told, for who shows what FlowRecord has no
  // place for.
  virtual void on_flow(FlowRecord&, std::span<const std::uint8_t> /*attributes*/) {}
  virtual void on_expectation(Expectation&) {}
  // Entry that could not be decoded ("dump unknown type").
  virtual void on_bad_entry(DecodeStatus) {}
};

// A dump under way. Dropping the object ends it.
//
// What ctnetlink promises is little: it walks its hash table from bucket to bucket, one read after the other, and takes
// no snapshot. Each entry is whole in itself. One that is there all the time is handed over at least once, and may be
// twice when its bucket changes between two reads; one that comes or goes meanwhile may be in the dump or not. If the
// kernel notices that it cannot keep this promise it says so (NLM_F_DUMP_INTR), as it does when it had to drop a part
// (ENOBUFS) or give up (EINTR, EBUSY). Such a dump is started again as long as that makes no difference to the
// consumer: always if it is repeatable, else only before the first entry. After five interrupted attempts, and after
// any other error, it has failed: what is missing from it must not be taken for gone.
class Dump {
 public:
  virtual ~Dump() = default;
  virtual int fd() const = 0;  // may change when step() starts the dump again, i.e. watch it only while `waiting`
  // Works until `budget_end`; what the kernel has told and is not handed over by then comes in the next step. With
  // TimePoint::min(): one read of the kernel, whole, for who tells others what it brings, which must not be older than
  // the events that come after it.
  virtual DumpState step(DumpHandler& handler, TimePoint budget_end) = 0;
  virtual const Error& error() const = 0;  // after `failed`
};

// ---- writes

// A live entry of the kernel that is further on is never replaced by an older picture of the same flow. So where the
// kernel refuses, and before an update by what may be older (a connection that has not begun to end), its entry is
// looked up:
//   - the same flow, further on (more of "reply seen" and "assured", or a later protocol state): left alone;
//   - the same flow, not further on: updated in place, with the status bits of both;
//   - another flow (another NAT, or a closed connection whose ports are used again), or one that lacks a helper or a
//     master, which only a creation can write: destroyed and created.
// Packets may change the entry between look-up and write; the kernel's refusal is the last word then.
enum class WriteOp : std::uint8_t {
  create,  // spec 5.2: create; if there is such an entry, as above
  update,  // spec 5.5: update; no such entry -> create; refused -> as above; any other error -> destroy and create
  // As create, for a caller who knows that the kernel has the entry with the same NAT and not further on: starts with an
  // update, after a look-up only if the kernel could refuse it (a flow that is not assured).
  replace,
  // Creates; if there is such an entry it is left alone, whatever it is: EEXIST.
  create_only,
  // As update, of an entry that packets may have changed, though nobody has told yet: it is looked up in any case. Another
  // flow is left alone, too, and none gets less time than it has.
  adopt,
  destroy,  // by original tuple and zone; exactly that entry if has::kId
};

// The request that ended it, well or not.
enum class WritePhase : std::uint8_t {
  create,          // the first request of a create; all of a create_only
  update,          // in place; never with an error, that leads to one of the phases below
  kept,            // the kernel's entry is further on and unchanged; with an error: it could not be looked up
  destroy,         // WriteOp::destroy, or the destroy between two attempts
  create_instead,  // create after an update found nothing
  create_again,    // create after a destroy
};

struct WriteResult {
  std::uint64_t cookie = 0;  // the caller's
  WriteOp op{};
  WritePhase phase{};
  int error = 0;  // errno, 0 = done
};

class WriteHandler {
 public:
  virtual ~WriteHandler() = default;
  // `record` is what was to be written (after an update in place, with the status written); valid during the call. The
  // handler must not write to the same writer.
  virtual void on_written(const WriteResult& result, const FlowRecord& record) = 0;
};

// Flows go to the kernel in batches: write() collects, runs a batch when it is full (or when the same flow is already
// in it, so that order is kept), and finish() runs the rest. Each entry gets exactly one on_written(), not necessarily
// in order. All writes up to finish() use the same handler.
class TableWriter {
 public:
  virtual ~TableWriter() = default;
  // The timeout written is record.flow.timeout if known, else default_timeout(). Expected and dying bits are removed
  // from the status of what is created.
  virtual void write(WriteOp op, const FlowRecord& record, std::uint64_t cookie, WriteHandler& handler) = 0;
  virtual void finish(WriteHandler& handler) = 0;
  // One expectation, at once; op is create or destroy. Call finish() first if flows are pending.
  virtual WriteResult write_expectation(WriteOp op, const Expectation& expectation) = 0;
  // All of them, in one request.
  virtual Result<> flush_expectations() = 0;
};

// ---- all together

class KernelTable {
 public:
  virtual ~KernelTable() = default;

  // Events. Open first, dump second.
  virtual Result<> open_events(const EventOptions& options) = 0;
  // After open_events(): lets the kernel drop what `filter` refuses, as far as it can (what comes has still to be filtered),
  // and with `hide_own` the events that our own writers cause. An error changes nothing.
  virtual Result<> set_event_filter(const FlowFilter& filter, bool hide_own) = 0;
  // After open_events(): whether events of new flows come, as they do at first. While nobody on the machine wants them a
  // creation costs the kernel less than half. An error changes nothing.
  virtual Result<> hear_new_flows(bool on) = 0;
  // Hands over what waits, about `limit` messages of the kernel at most. True if more may wait.
  virtual bool read_events(std::uint32_t limit, EventHandler& handler) = 0;
  virtual const EventStats& event_stats() const = 0;

  virtual Result<std::unique_ptr<Dump>> dump(DumpWhat what, const DumpOptions& options) = 0;
  Result<std::unique_ptr<Dump>> dump(DumpWhat what) { return dump(what, DumpOptions{}); }

  // The entry with this original tuple (zone included) as the kernel has it now. false = no such entry.
  virtual Result<bool> get(const Tuple& orig, FlowRecord& out) = 0;

  // The writer whose events come back with this origin; commit, flush or inject. Valid as long as the table.
  virtual TableWriter& writer(Origin origin) = 0;
};

}  // namespace ctsync::kernel
