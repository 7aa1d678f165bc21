// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/injector.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "conflict.h"
#include "ctsync/flow/progress.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/kernel/netlink_socket.h"
#include "encode.h"
#include "netlink_message.h"

namespace ctsync::kernel {
namespace {

constexpr std::uint32_t kMaxBatch = 256;
constexpr std::uint32_t kMaxMessages = 2 * kMaxBatch;  // destroy and create of each entry

// What to ask the kernel next for an entry. No step leads back to an earlier one.
enum class Step : std::uint8_t {
  look_first,  // before an update that may be refused, or take a live entry back
  create,
  update,
  destroy,
  create_instead,      // nothing to update
  look_up,             // refused: what is it that is there?
  merge,               // update with the status of both
  destroy_and_create,  // in the way
  finished,
};

Step first_step(WriteOp op, const Flow& flow) {
  switch (op) {
    case WriteOp::create:
    case WriteOp::create_only:
      return Step::create;
    case WriteOp::destroy:
      return Step::destroy;
    case WriteOp::update:
      return may_go_on(flow) ? Step::look_first : Step::update;
    case WriteOp::adopt:
      return Step::look_first;
    default:
      return may_be_refused(flow) ? Step::look_first : Step::update;
  }
}

// The answers to the one or two requests of a step.
struct Answers {
  int destroy = 0;
  int write = 0;                   // create, update or look-up
  std::optional<Verdict> verdict;  // of what a look-up found
};

// The next step, and if that is `finished`, the outcome.
Step next_step(Step step, const Answers& a, WriteResult& result) {
  const auto end = [&result](WritePhase phase, int error) {
    result.phase = phase;
    result.error = error;
    return Step::finished;
  };
  const auto looked_up = [&](Step if_nothing, Step if_other) {
    if (!a.verdict) return a.write == ENOENT ? if_nothing : end(WritePhase::kept, a.write != 0 ? a.write : EBADMSG);
    switch (*a.verdict) {
      case Verdict::keep:
        return end(WritePhase::kept, 0);
      case Verdict::merge:
        return Step::merge;
      default:
        return if_other;
    }
  };
  switch (step) {
    case Step::look_first:
      if (result.op == WriteOp::adopt && a.verdict == Verdict::replace) return end(WritePhase::kept, 0);
      return looked_up(Step::create_instead, Step::update);
    case Step::create:
      if (a.write == EEXIST && result.op != WriteOp::create_only) return Step::look_up;
      return end(WritePhase::create, a.write);
    case Step::update:
      if (a.write == 0) return end(WritePhase::update, 0);
      if (a.write == EBUSY) return Step::look_up;
      return a.write == ENOENT ? Step::create_instead : Step::destroy_and_create;
    case Step::create_instead:
      return a.write == EEXIST ? Step::look_up : end(WritePhase::create_instead, a.write);
    case Step::look_up:
      return looked_up(Step::destroy_and_create, Step::destroy_and_create);
    case Step::merge:
      if (a.write == 0) return end(WritePhase::update, 0);
      return a.write == EBUSY ? end(WritePhase::kept, 0) : Step::destroy_and_create;  // EBUSY: went on meanwhile
    case Step::destroy_and_create:
      if (a.destroy != 0 && a.destroy != ENOENT) return end(WritePhase::destroy, a.destroy);
      return end(WritePhase::create_again, a.write);
    default:
      return end(WritePhase::destroy, a.destroy);
  }
}

// The kernel's answers, read many a call. Of an error only the head matters, and more than the head does not come (the
// socket has NETLINK_CAP_ACK; else the rest, the request, may be cut off). An entry that was looked up comes whole.
struct AnswerReader {
  static constexpr std::size_t kCount = 64;
  static constexpr std::size_t kSize = 2112;  // as in EventSource
  struct Answer {
    std::uint32_t seq = 0;
    bool entry = false;  // else an error
    int error = 0;       // errno, unless an entry
    std::span<const std::uint8_t> body;
  };

  AnswerReader() {
    for (std::size_t i = 0; i < kCount; ++i) {
      io[i] = {data[i].data(), kSize};
      headers[i].msg_hdr.msg_iov = &io[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
  }
  // The number of datagrams that were waiting, or -errno.
  int receive(int fd) {
    const int got = ::recvmmsg(fd, headers.data(), kCount, MSG_DONTWAIT, nullptr);
    return got < 0 ? -errno : got;
  }
  bool get(std::size_t i, Answer& answer) const {
    const std::span whole(data[i].data(), headers[i].msg_len);
    if (whole.size() < NLMSG_HDRLEN + sizeof(std::int32_t)) return false;
    ByteReader r(whole);
    r.skip(4);  // length
    const auto type = r.host16();
    r.skip(2);  // flags
    answer.seq = r.host32();
    r.skip(4);  // port id
    answer.entry = type == kFlowNew;
    answer.body = whole.subspan(NLMSG_HDRLEN);
    answer.error = error_of(answer.body);
    return answer.entry || type == NLMSG_ERROR;
  }

  std::array<std::array<std::uint8_t, kSize>, kCount> data{};
  std::array<iovec, kCount> io{};
  std::array<mmsghdr, kCount> headers{};
};

struct Entry {
  WriteResult result;
  Step step{};
  Answers answers;
  FlowRecord record;
};

struct Sent {
  std::uint32_t entry = 0;
  bool destroy = false;
  bool answered = false;
  std::uint32_t offset = 0;  // in the bytes of the batch
  std::uint32_t size = 0;
};

}  // namespace

// The entries collected, the requests of the step under way and the kernel's answers to them.
class Injector::Batch {
 public:
  explicit Batch(const InjectorOptions& options)
      : be_liberal_(options.be_liberal),
        hash_(options.hash_seed),
        entries_(std::clamp(options.batch, 1U, kMaxBatch)),
        bytes_(entries_.size() * 2 * kMaxRequest) {}

  Result<std::uint32_t> open();
  bool full() const { return count_ == entries_.size(); }
  bool contains(const Tuple& t) const;
  void add(WriteOp op, const FlowRecord& r, std::uint64_t cookie);
  void run(WriteHandler& handler);
  // One request that `encode(writer, seq)` writes, alone. 0 or errno.
  template <typename Encode>
  int run_single(Encode encode);

 private:
  bool build_requests();
  void add_request(std::uint32_t entry, bool destroy);
  void exchange();
  bool collect(std::uint32_t base);
  int transact(std::uint32_t seq, std::size_t offset, std::size_t size, Sent* request = nullptr);
  void request_acknowledgement(std::size_t offset);
  void store_answer(Sent& r, int error);
  void store_entry(const Sent& r, std::span<const std::uint8_t> body);

  const bool be_liberal_;
  const TupleHash hash_;
  NetlinkSocket socket_;
  std::uint32_t seq_ = 1;
  std::vector<Entry> entries_;
  std::uint32_t count_ = 0;
  std::array<std::uint16_t, kMaxBatch * 4> slots_{};  // open addressing by tuple: index of the entry + 1, 0 = free
  std::vector<std::uint8_t> bytes_;                   // the requests of the step, one after the other
  std::size_t used_ = 0;
  std::array<Sent, kMaxMessages> requests_;
  std::uint32_t request_count_ = 0;
  AnswerReader answers_;
  FlowRecord there_;  // scratch: the kernel's entry
};

Result<std::uint32_t> Injector::Batch::open() {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return std::unexpected(socket.error());
  // Short error messages. Kernels without the option also send the request back, which only costs memory.
  const int on = 1;
  (void)::setsockopt(socket->fd(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  // A whole batch in one call, and room for an error for each request of it (the kernel counts memory, not bytes).
  socket->set_send_buffer(static_cast<std::uint32_t>(2 * bytes_.size()));
  socket->set_receive_buffer(kMaxMessages * 4096);
  socket_ = std::move(*socket);
  return socket_.port_id();
}

bool Injector::Batch::contains(const Tuple& t) const {
  for (auto i = hash_(t) % slots_.size(); slots_[i] != 0; i = (i + 1) % slots_.size()) {
    if (entries_[slots_[i] - 1U].record.flow.orig == t) return true;
  }
  return false;
}

void Injector::Batch::add(WriteOp op, const FlowRecord& r, std::uint64_t cookie) {
  auto& e = entries_[count_];
  e.result = {.cookie = cookie, .op = op, .phase = {}, .error = 0};
  e.step = first_step(op, r.flow);
  e.record.flow = r.flow;
  copy_extra(e.record.extra, r.extra, r.flow.present);
  ++count_;
  auto i = hash_(r.flow.orig) % slots_.size();
  while (slots_[i] != 0) i = (i + 1) % slots_.size();
  slots_[i] = static_cast<std::uint16_t>(count_);
}

void Injector::Batch::run(WriteHandler& handler) {
  while (build_requests()) {
    exchange();
    for (std::uint32_t i = 0; i < count_; ++i) {
      auto& e = entries_[i];
      if (e.step == Step::finished) continue;
      e.step = next_step(e.step, e.answers, e.result);
      if (e.step == Step::finished) handler.on_written(e.result, e.record);
    }
  }
  count_ = 0;
  slots_.fill(0);
}

// The requests of every unfinished entry; false if there is none.
bool Injector::Batch::build_requests() {
  request_count_ = 0;
  used_ = 0;
  for (std::uint32_t i = 0; i < count_; ++i) {
    auto& e = entries_[i];
    if (e.step == Step::finished) continue;
    e.answers = {};
    if (e.step == Step::destroy || e.step == Step::destroy_and_create) add_request(i, true);
    if (e.step != Step::destroy) add_request(i, false);
  }
  return request_count_ != 0;
}

void Injector::Batch::add_request(std::uint32_t entry, bool destroy) {
  const auto& e = entries_[entry];
  const auto& flow = e.record.flow;
  const auto room = std::span(bytes_).subspan(used_);
  const auto seq = seq_ + request_count_;
  std::size_t size = 0;
  if (destroy) {
    // Only a caller's own destroy means that very entry; what stands in the way of a create may be any.
    const bool by_id = e.step == Step::destroy && flow.knows(has::kId);
    size = encode_destroy(room, seq, flow.orig, by_id ? &flow.id : nullptr);
  } else if (e.step == Step::look_first || e.step == Step::look_up) {
    size = encode_get(room, seq, flow.orig);
  } else if (e.step == Step::update || e.step == Step::merge) {
    size = encode_update(room, seq, e.record, be_liberal_);
  } else {
    size = encode_create(room, seq, e.record, be_liberal_);
  }
  requests_[request_count_++] = {.entry = entry,
                                 .destroy = destroy,
                                 .answered = false,
                                 .offset = static_cast<std::uint32_t>(used_),
                                 .size = static_cast<std::uint32_t>(size)};
  used_ += size;
}

// Sends all requests in one call and collects the errors. If any answer may be lost, each request without one is
// repeated alone, which is safe: repeating a create, an update or a destroy leads to the same table.
void Injector::Batch::exchange() {
  const auto base = seq_;
  seq_ += request_count_;
  const auto& last = requests_[request_count_ - 1];
  request_acknowledgement(last.offset);
  const std::size_t size = last.offset + last.size;
  if (socket_.send(std::span(bytes_).first(size)) == 0 && collect(base)) return;
  for (std::uint32_t i = 0; i < request_count_; ++i) {
    auto& r = requests_[i];
    if (r.answered) continue;
    request_acknowledgement(r.offset);
    store_answer(r, transact(base + i, r.offset, r.size, &r));
  }
}

// Reads the answers to the requests, numbered from `base`. False if some may be lost.
bool Injector::Batch::collect(std::uint32_t base) {
  bool complete = false;
  bool lost = false;
  while (!complete) {
    const int got = answers_.receive(socket_.fd());
    if (got == -ENOBUFS) lost = true;
    if (got < 0 && got != -ENOBUFS && got != -EINTR) break;  // the queue is empty and the last answer not seen
    for (int i = 0; i < got; ++i) {
      AnswerReader::Answer a;
      if (!answers_.get(static_cast<std::size_t>(i), a)) continue;
      const auto number = a.seq - base;
      if (number >= request_count_) continue;
      if (a.entry) {
        store_entry(requests_[number], a.body);
        continue;
      }
      store_answer(requests_[number], a.error);
      complete |= number == request_count_ - 1;
    }
  }
  return complete && !lost;
}

// One request on its own, with acknowledgement. 0 or errno.
int Injector::Batch::transact(std::uint32_t seq, std::size_t offset, std::size_t size, Sent* request) {
  if (const int code = socket_.send(std::span(bytes_).subspan(offset, size)); code != 0) return code;
  for (;;) {
    const int got = answers_.receive(socket_.fd());
    if (got == -EINTR) continue;
    if (got < 0) return -got;
    for (int i = 0; i < got; ++i) {
      AnswerReader::Answer a;
      if (!answers_.get(static_cast<std::size_t>(i), a) || a.seq != seq) continue;
      if (!a.entry) return a.error;
      if (request != nullptr) store_entry(*request, a.body);
    }
  }
}

void Injector::Batch::request_acknowledgement(std::size_t offset) {
  const auto field = std::span(bytes_).subspan(offset + offsetof(nlmsghdr, nlmsg_flags), 2);
  const auto flags = ByteReader(field).host16();
  ByteWriter(field).host16(flags | NLM_F_ACK);
}

void Injector::Batch::store_answer(Sent& r, int error) {
  auto& answers = entries_[r.entry].answers;
  (r.destroy ? answers.destroy : answers.write) = error;
  r.answered = true;
}

void Injector::Batch::store_entry(const Sent& r, std::span<const std::uint8_t> body) {
  auto& e = entries_[r.entry];
  if (decode_flow(body, {}, there_) != DecodeStatus::ok) return;
  e.answers.verdict = judge(there_, e.record);
  if (e.result.op == WriteOp::adopt && there_.flow.knows(has::kTimeout) && e.record.flow.knows(has::kTimeout)) {
    e.record.flow.timeout = std::max(e.record.flow.timeout, there_.flow.timeout);
  }
  if (e.answers.verdict == Verdict::merge) e.record.flow.status = merged_status(there_.flow, e.record.flow);
}

template <typename Encode>
int Injector::Batch::run_single(Encode encode) {
  const auto seq = seq_++;
  const auto size = encode(std::span(bytes_), seq);
  request_acknowledgement(0);
  return transact(seq, 0, size);
}

Injector::Injector(const InjectorOptions& options) : batch_(std::make_unique<Batch>(options)) {}
Injector::~Injector() = default;

Result<> Injector::open() {
  auto port = batch_->open();
  if (!port) return std::unexpected(port.error());
  port_id_ = *port;
  return {};
}

void Injector::write(WriteOp op, const FlowRecord& record, std::uint64_t cookie, WriteHandler& handler) {
  if (!encodable(record.flow.orig)) {
    const auto phase = op == WriteOp::destroy ? WritePhase::destroy : WritePhase::create;
    return handler.on_written({.cookie = cookie, .op = op, .phase = phase, .error = EINVAL}, record);
  }
  if (batch_->full() || batch_->contains(record.flow.orig)) batch_->run(handler);
  batch_->add(op, record, cookie);
}

void Injector::finish(WriteHandler& handler) { batch_->run(handler); }

WriteResult Injector::write_expectation(WriteOp op, const Expectation& e) {
  const auto create = [&](bool minimal) {
    return batch_->run_single(
        [&](std::span<std::uint8_t> room, std::uint32_t seq) { return encode_expect_create(room, seq, e, minimal); });
  };
  const auto destroy = [&] {
    return batch_->run_single(
        [&](std::span<std::uint8_t> room, std::uint32_t seq) { return encode_expect_destroy(room, seq, e); });
  };
  WriteResult result{.cookie = 0, .op = op, .phase = WritePhase::destroy, .error = EINVAL};
  const bool complete = encodable(e.expected) && encodable(e.master) && encodable(e.mask);
  if (op == WriteOp::destroy) {
    if (encodable(e.expected)) result.error = destroy();
    return result;
  }
  result.phase = WritePhase::create;
  if (!complete) return result;
  bool minimal = false;
  result.error = create(minimal);
  if (result.error == EINVAL || result.error == EOPNOTSUPP) {
    // This kernel may lack the NAT function or know fewer classes; then an expectation as conntrackd makes it must do.
    minimal = true;
    result.error = create(minimal);
  }
  if (result.error != EEXIST) return result;
  if (const int code = destroy(); code != 0 && code != ENOENT) {
    result.phase = WritePhase::destroy;
    result.error = code;
    return result;
  }
  result.phase = WritePhase::create_again;
  result.error = create(minimal);
  return result;
}

Result<> Injector::flush_expectations() {
  const int code = batch_->run_single(encode_flush_expectations);
  return code == 0 ? Result<>{} : fail(std::string("can't flush kernel expect table: ") + std::strerror(code), code);
}

}  // namespace ctsync::kernel
