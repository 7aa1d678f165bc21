// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/wire/message_reader.h"

namespace ctsync::wire {

MessageReader::Status MessageReader::next(Message& out) {
  if (last_ == Status::message || last_ == Status::wrong_version) last_ = step(out);
  return last_;
}

bool MessageReader::next(Message& out, ReceiveStats& stats) {
  for (;;) {
    const bool over = last_ != Status::message && last_ != Status::wrong_version;
    if (over) return false;
    switch (next(out)) {
      case Status::message:
        return true;
      case Status::wrong_version:
        stats.count_wrong_version();
        break;
      case Status::truncated:
        stats.count_truncated();
        return false;
      case Status::bad_size:
        stats.count_bad_size();
        return false;
      case Status::need_more:
      case Status::end:
        return false;
    }
  }
}

MessageReader::Status MessageReader::step(Message& out) {
  const auto rest = data_.subspan(consumed_);
  if (rest.empty()) return Status::end;
  if (rest.size() < kHeaderSize) return cut(Status::truncated);

  ByteReader r(rest);
  const auto first = r.u8();
  Header h;
  h.type = static_cast<MsgType>(first & 0x0f);
  h.flags = r.u8();
  h.length = r.be16();
  h.seq = r.be32();

  if (h.length == 0) return Status::bad_size;
  if (h.length > rest.size()) return cut(Status::bad_size);
  const bool range = h.type == MsgType::control && (h.flags & flag::kRange) != 0;
  if (range && rest.size() < kControlRangeSize) return cut(Status::truncated);
  if (h.length < (range ? kControlRangeSize : kHeaderSize)) return Status::bad_size;
  consumed_ += h.length;
  if (first >> 4 != kVersion) return Status::wrong_version;

  out.header = h;
  out.payload = rest.subspan(kHeaderSize, h.length - kHeaderSize);
  out.from = range ? r.be32() : 0;
  out.to = range ? r.be32() : 0;
  return Status::message;
}

}  // namespace ctsync::wire
