// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/wire/packer.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ctsync/wire/expectation_codec.h"

namespace ctsync::wire {
namespace {

// Room for a batch of full Ethernet frames; with larger datagrams a batch is smaller, never less than one.
constexpr std::size_t kArenaSize = Packer::kBatch * 1536;

// No message is longer, of data or of control.
constexpr std::size_t kMaxMessage = std::max(kMaxEncodedSize, kControlRangeSize + kMaxExtensionSize);
static_assert(kMaxMessage <= UINT16_MAX);  // what a header can say

}  // namespace

Packer::Packer(std::size_t buffer_size, const EncodeOptions& options, DatagramSink& sink)
    : sink_(sink), options_(options), buffer_size_(0), arena_size_(0) {
  set_buffer_size(buffer_size);
}

void Packer::set_buffer_size(std::size_t buffer_size) {
  buffer_size_ = buffer_size;
  // After a complete batch there must be room for one more datagram and for the message that does not fit into it.
  const auto need = std::max(kArenaSize, 2 * (buffer_size + kMaxMessage));
  if (need <= arena_size_) return;
  auto larger = std::make_unique_for_overwrite<std::uint8_t[]>(need);
  if (end_ != 0) std::memcpy(larger.get(), arena_.get(), end_);
  for (auto& d : std::span(closed_).first(closed_count_)) d = {larger.get() + (d.data() - arena_.get()), d.size()};
  arena_ = std::move(larger);
  arena_size_ = need;
}

void Packer::flow(MsgType type, std::uint8_t flags, std::uint32_t seq, const Flow& f, const FlowExtra* extra,
                  std::uint32_t age_seconds) {
  auto w = room();
  encode_flow(w, type, flags, seq, f, extra, age_seconds, options_);
  added(w.size());
}

void Packer::expectation(MsgType type, std::uint8_t flags, std::uint32_t seq, const Expectation& e,
                         std::uint32_t age_seconds) {
  auto w = room();
  encode_expectation(w, type, flags, seq, e, age_seconds, options_);
  added(w.size());
}

void Packer::control(std::uint8_t flags, std::uint32_t seq, std::uint32_t from, std::uint32_t to,
                     const Extension& tail) {
  auto w = room();
  encode_control(w, flags, seq, from, to);
  add_control(w, tail);
}

void Packer::alive(std::uint8_t flags, std::uint32_t seq, const Extension& tail) {
  auto w = room();
  encode_alive(w, flags, seq);
  add_control(w, tail);
}

void Packer::add_control(ByteWriter& w, const Extension& tail) {
  if (!tail.empty()) {
    write_extension(w, tail);
    set_length(w, 0);
  }
  added(w.size());
}

void Packer::flush() {
  if (end_ > open_begin_) close_open();
  send_closed();
}

ByteWriter Packer::room() {
  if (arena_size_ - end_ < kMaxMessage) send_closed();
  return ByteWriter({arena_.get() + end_, kMaxMessage});
}

// The message already follows the open datagram; this decides whether it belongs to it or begins the next one.
void Packer::added(std::size_t message_size) {
  const auto open_size = end_ - open_begin_;
  if (open_size != 0 && open_size + message_size >= buffer_size_) close_open();
  end_ += message_size;
  if (closed_count_ == kBatch) send_closed();
}

void Packer::close_open() {
  closed_[closed_count_++] = {arena_.get() + open_begin_, end_ - open_begin_};
  open_begin_ = end_;
}

void Packer::send_closed() {
  if (closed_count_ == 0) return;
  sink_.send({closed_.data(), closed_count_});
  closed_count_ = 0;
  const auto open_size = end_ - open_begin_;
  std::memmove(arena_.get(), arena_.get() + open_begin_, open_size);
  open_begin_ = 0;
  end_ = open_size;
}

}  // namespace ctsync::wire
