// SPDX-License-Identifier: GPL-2.0-or-later
// Bytes as the body of a conntrack message: decoded as flow and as expectation; what is accepted is written again, and
// must fit the room of a request and decode to the same tuple.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "ctsync/kernel/decode.h"
#include "encode.h"

using namespace ctsync;

namespace {

constexpr std::size_t kHeader = 16;

// Of a request of `size` bytes; 0: it did not fit.
std::span<const std::uint8_t> body_of(std::span<const std::uint8_t> room, std::size_t size) {
  if (size <= kHeader || size > room.size()) std::abort();
  return room.subspan(kHeader, size - kHeader);
}

void fuzz_flow(std::span<const std::uint8_t> data) {
  FlowRecord r;
  if (kernel::decode_flow(data, {.counters = true}, r) != kernel::DecodeStatus::ok) return;
  std::vector<std::uint8_t> room(kernel::kMaxRequest);
  FlowRecord back;
  const auto created = kernel::encode_create(room, 1, r, true);
  if (kernel::decode_flow(body_of(room, created), {}, back) != kernel::DecodeStatus::ok) std::abort();
  if (back.flow.orig.src != r.flow.orig.src || back.flow.orig.zone != r.flow.orig.zone) std::abort();
  body_of(room, kernel::encode_update(room, 1, r, true));
}

void fuzz_expectation(std::span<const std::uint8_t> data) {
  Expectation e;
  if (kernel::decode_expectation(data, e) != kernel::DecodeStatus::ok) return;
  std::vector<std::uint8_t> room(kernel::kMaxRequest);
  const auto created = kernel::encode_expect_create(room, 1, e, false);
  if (kernel::decode_expectation(body_of(room, created), e) != kernel::DecodeStatus::ok) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_flow({data, size});
  fuzz_expectation({data, size});
  return 0;
}
