// SPDX-License-Identifier: GPL-2.0-or-later
// Any bytes as a datagram, and as a stream: what is read can be written, and what was written reads back as the same.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "ctsync/flow/flow_print.h"
#include "ctsync/wire/expectation_codec.h"
#include "ctsync/wire/extension.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/message_reader.h"

using namespace ctsync;
using namespace ctsync::wire;

namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr EncodeOptions kAll{.send_timeout = true, .window_scale = true, .one_way_zones = true};

void require(bool holds) {
  if (!holds) std::abort();
}

Bytes payload_of(const ByteWriter& w) {
  require(!w.failed());
  const auto all = w.written();
  MessageReader reader(all);
  Message m;
  require(reader.next(m) == MessageReader::Status::message && reader.consumed() == all.size());
  return {m.payload.begin(), m.payload.end()};
}

Bytes written(const FlowRecord& r) {
  std::array<std::uint8_t, kMaxEncodedSize> room;
  ByteWriter w(room);
  encode_flow(w, MsgType::flow_update, 0, 7, r.flow, &r.extra, 0, kAll);
  return payload_of(w);
}

Bytes written(const Expectation& e) {
  std::array<std::uint8_t, kMaxEncodedSize> room;
  ByteWriter w(room);
  encode_expectation(w, MsgType::expect_new, 0, 7, e, 0, kAll);
  return payload_of(w);
}

void flow(std::span<const std::uint8_t> payload) {
  FlowRecord r;
  if (decode_flow(payload, r) != DecodeStatus::ok) return;
  if (r.flow.knows(has::kHelper)) require(std::strlen(r.extra.helper.data()) < kHelperNameSize);
  const auto first = written(r);
  FlowRecord again;
  require(decode_flow(first, again) == DecodeStatus::ok);
  require(again.flow.orig == r.flow.orig || r.flow.orig.l4 == kUdpLite);
  require(written(again) == first);
  if (again.flow.orig == r.flow.orig) {
    require(print_of(again.flow, &again.extra, true) == print_of(r.flow, &r.extra, true));
  }
}

void expectation(std::span<const std::uint8_t> payload) {
  Expectation e;
  if (decode_expectation(payload, e) != DecodeStatus::ok) return;
  require(std::memchr(e.helper.data(), 0, e.helper.size()) != nullptr);
  require(std::memchr(e.function.data(), 0, e.function.size()) != nullptr);
  const auto first = written(e);
  Expectation again;
  require(decode_expectation(first, again) == DecodeStatus::ok);
  require(written(again) == first);
}

void tail(std::span<const std::uint8_t> bytes) {
  const Extension e = read_extension(bytes);
  std::array<std::uint8_t, kMaxExtensionSize> room;
  ByteWriter w(room);
  write_extension(w, e);
  require(!w.failed());
  require(read_extension(w.written()) == e);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  for (const auto source : {MessageReader::Source::datagram, MessageReader::Source::stream}) {
    MessageReader reader(bytes, source);
    Message m;
    ReceiveStats stats;
    while (reader.next(m, stats)) {
      require(m.payload.size() + kHeaderSize == m.header.length);
      tail(tail_of(m));
      if (is_flow(m.header.type)) flow(m.payload);
      if (is_expectation(m.header.type)) expectation(m.payload);
    }
    require(reader.consumed() <= size);
    require((reader.last() == MessageReader::Status::end) == (reader.consumed() == size));
  }
  return 0;
}
