// SPDX-License-Identifier: GPL-2.0-or-later
#include "tcp_stream.h"

#include <algorithm>
#include <utility>

#include "ctsync/base/bytes.h"
#include "ctsync/replication/sequence.h"
#include "header_check.h"

namespace ctsync::capture {
namespace {

using wire::MessageReader;
using Status = MessageReader::Status;

// Segments further apart than any window of TCP here are of two connections.
constexpr std::uint32_t kWidestWindow = 1U << 24;

bool is_too_long(std::span<const std::uint8_t> beginning) {
  if (beginning.size() < wire::kHeaderSize) return false;
  ByteReader r(beginning);
  r.skip(2);
  return r.be16() > TcpStream::kLongestMessage;
}

// Whether a stream may be taken up here: there is a whole message, and nothing bad behind it.
bool begins_with_a_message(std::span<const std::uint8_t> bytes) {
  MessageReader reader(bytes, MessageReader::Source::stream);
  wire::Message m;
  if (reader.next(m) != Status::message) return false;
  do {
    if (!has_good_header(m)) return false;
  } while (reader.next(m) == Status::message);
  if (reader.last() == Status::need_more) return !is_too_long(bytes.subspan(reader.consumed()));
  return reader.last() == Status::end;
}

}  // namespace

void TcpStream::take(const Segment& s, const Time& time, MessageSink& sink) {
  if (s.syn) {
    end(sink);
    begun_ = in_step_ = true;
    next_ = s.seq + 1;
    return;
  }
  if (s.payload.empty() && s.missing == 0) return;
  if (begun_ && replication::distance(s.seq, next_) > kWidestWindow) end(sink);
  last_ = time;
  if (!begun_) next_ = s.seq;
  begun_ = true;
  if (replication::is_after(s.seq, next_)) return hold(s, time, sink);
  take_in_turn(s, time, sink);
  take_held(sink);
}

void TcpStream::end(MessageSink& sink) {
  while (!held_.empty()) give_up_gap(sink);
  if (!rest_.empty()) sink.gap(place(), Gap::unfinished, rest_, rest_.size());
  if (skipped_ != 0) sink.gap(place(), Gap::skipped, {}, skipped_);
  rest_.clear();
  skipped_ = 0;
  begun_ = in_step_ = false;
}

void TcpStream::hold(const Segment& s, const Time& time, MessageSink& sink) {
  held_.push_back({s.seq, {s.payload.begin(), s.payload.end()}, s.missing, time});
  held_bytes_ += s.payload.size();
  while (held_.size() > kMostHeld || held_bytes_ > kMostHeldBytes) give_up_gap(sink);
}

// Whose turn has come.
void TcpStream::take_held(MessageSink& sink) {
  for (;;) {
    const auto at = std::ranges::find_if(held_, [&](const Held& h) { return !replication::is_after(h.seq, next_); });
    if (at == held_.end()) return;
    const Held h = std::move(*at);
    held_.erase(at);
    held_bytes_ -= h.payload.size();
    take_in_turn({.seq = h.seq, .payload = h.payload, .missing = h.missing}, h.time, sink);
  }
}

// There is a held segment.
void TcpStream::give_up_gap(MessageSink& sink) {
  const auto nearest = std::ranges::min_element(held_, {}, [&](const Held& h) { return h.seq - next_; });
  last_ = nearest->time;
  const std::uint32_t seq = nearest->seq;
  lose(seq - next_, sink);
  next_ = seq;
  take_held(sink);
}

// It does not begin behind next_; a part of it, or all, may have come before.
void TcpStream::take_in_turn(const Segment& s, const Time& time, MessageSink& sink) {
  const std::size_t known = next_ - s.seq;
  const std::size_t size = s.payload.size() + s.missing;
  if (known >= size) return;
  last_ = time;
  next_ = s.seq + static_cast<std::uint32_t>(size);
  if (known < s.payload.size()) add(s.payload.subspan(known), sink);
  if (s.missing != 0) lose(size - std::max(known, s.payload.size()), sink);
}

void TcpStream::add(std::span<const std::uint8_t> bytes, MessageSink& sink) {
  if (!in_step_) {
    if (!begins_with_a_message(bytes)) {
      skipped_ += bytes.size();
      return;
    }
    in_step_ = true;
    if (skipped_ != 0) sink.gap(place(), Gap::skipped, {}, std::exchange(skipped_, 0));
  }
  rest_.insert(rest_.end(), bytes.begin(), bytes.end());
  MessageReader reader(rest_, MessageReader::Source::stream);
  const Status status = tell_all(reader, rest_, place(), sink);
  const auto rest = std::span(rest_).subspan(reader.consumed());
  if (status == Status::bad_size || is_too_long(rest)) {
    sink.gap(place(), Gap::bad_size, rest, rest.size());
    rest_.clear();
    in_step_ = false;
    return;
  }
  rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(reader.consumed()));
}

void TcpStream::lose(std::size_t count, MessageSink& sink) {
  if (!rest_.empty()) sink.gap(place(), Gap::unfinished, rest_, rest_.size());
  rest_.clear();
  in_step_ = false;
  sink.gap(place(), Gap::not_captured, {}, count);
}

}  // namespace ctsync::capture
