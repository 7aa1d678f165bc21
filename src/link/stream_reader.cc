// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream_reader.h"

#include <cstring>

#include "ctsync/base/bytes.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::link {
namespace {

constexpr std::size_t kLengthOffset = 2;  // of the length field in a message header (spec replication.md 1.1)

// conntrackd would swallow everything until that many bytes have arrived.
bool is_too_long(std::span<const std::uint8_t> beginning) {
  if (beginning.size() < kLengthOffset + 2) return false;
  ByteReader header(beginning);
  header.skip(kLengthOffset);
  return header.be16() > StreamReader::kLongestMessage;
}

}  // namespace

std::span<std::uint8_t> StreamReader::room() {
  if (begin_ != 0) {
    std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return {bytes_.get() + end_, kCapacity - end_};
}

std::span<const std::uint8_t> StreamReader::add(std::size_t n) {
  end_ += n;
  const std::span<const std::uint8_t> waiting(bytes_.get() + begin_, end_ - begin_);
  wire::MessageReader reader(waiting, wire::MessageReader::Source::stream);
  wire::Message message;
  auto status = reader.next(message);
  while (status == wire::MessageReader::Status::message || status == wire::MessageReader::Status::wrong_version) {
    status = reader.next(message);
  }
  auto whole = reader.consumed();
  out_of_step_ = status == wire::MessageReader::Status::bad_size || is_too_long(waiting.subspan(whole));
  if (out_of_step_) whole = waiting.size();
  begin_ += whole;
  return waiting.first(whole);
}

void StreamReader::clear() {
  begin_ = end_ = 0;
  out_of_step_ = false;
}

}  // namespace ctsync::link
