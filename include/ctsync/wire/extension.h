// SPDX-License-Identifier: GPL-2.0-or-later
// What ctsyncd nodes tell each other beyond the protocol of conntrackd: TLVs behind the last byte that conntrackd reads of
// a control message (byte 8 of ALIVE, byte 16 of ACK, NACK and RESYNC). A stock peer looks at nothing there and counts
// nothing. doc/wire-format.md, section 10.
//
// A tail is advisory: it comes from whoever can send on the link. Unknown TLVs are stepped over; from the first one that
// is malformed on the rest is ignored.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "ctsync/base/bytes.h"
#include "ctsync/flow/ip_address.h"
#include "ctsync/wire/message_reader.h"

namespace ctsync::wire {

// What a node is and can do.
struct Capabilities {
  static constexpr std::size_t kVersionSize = 16;
  static constexpr std::size_t kMostAddresses = 4;
  // Of `bits`; whoever sends capabilities takes all TLVs below.
  static constexpr std::uint32_t kOneWayZones = 1;  // flow messages with attributes 33 and 34

  std::uint32_t bits = 0;                    // what it takes beyond the protocol of conntrackd
  std::uint32_t node = 0;                    // drawn at random at each start; never 0
  std::uint64_t epoch = 0;                   // when the node started, Unix time in seconds
  std::array<char, kVersionSize> version{};  // terminated text, printable ASCII
  // The same at each start of this node, and of no other one of the group; 0: it has none.
  std::uint64_t host = 0;
  // Its addresses on the dedicated links, as far as they are known: the first ones, then none.
  std::array<IpAddress, kMostAddresses> addresses{};

  bool operator==(const Capabilities&) const = default;
};

// Every object that the sender has was sent in or after message `first` of its sequence, and all of that has been
// acknowledged: what the receiver holds from this sender and older than that has ended.
struct BulkEnd {
  std::uint32_t first = 0;
  std::uint32_t count = 0;  // objects of the bulk; for people

  bool operator==(const BulkEnd&) const = default;
};

// Sequence numbers, both ends included.
struct NumberRange {
  std::uint32_t from = 0;
  std::uint32_t to = 0;

  bool operator==(const NumberRange&) const = default;
};

// Who a message is for, and how far the sender knows that node to have come with the sender's own numbers: it needs none
// before `heard`.
struct Addressee {
  std::uint32_t node = 0;
  std::uint32_t heard = 0;

  bool operator==(const Addressee&) const = default;
};

// With an ACK that has an addressee: numbers up to `to` of the ACK that have not arrived. All others up to there have,
// whatever earlier ACKs said and whether they came through.
struct Missing {
  static constexpr std::size_t kMost = 16;

  std::array<NumberRange, kMost> ranges{};
  std::uint8_t count = 0;

  std::span<const NumberRange> all() const { return std::span(ranges).first(count); }
  bool operator==(const Missing&) const = default;
};

// Sums of the flows that the sender has (table::FlowSums), taken when all of them had been sent: whoever lacks no message up
// to this one holds the same, or something is wrong.
struct Sums {
  static constexpr std::size_t kMost = 32;

  bool of_buckets = false;  // else of groups
  std::uint16_t first = 0;  // index of the first one
  std::uint8_t count = 0;
  std::array<std::uint64_t, kMost> sums{};

  std::span<const std::uint64_t> all() const { return std::span(sums).first(count); }
  bool operator==(const Sums&) const = default;
};

// Asks for the flows of these buckets, or, without any, for everything. `number`: of the request, for its answer.
struct RepairRequest {
  static constexpr std::size_t kMost = 32;

  std::uint32_t number = 0;
  std::uint8_t count = 0;
  std::array<std::uint16_t, kMost> buckets{};

  std::span<const std::uint16_t> all() const { return std::span(buckets).first(count); }
  bool operator==(const RepairRequest&) const = default;
};

// As BulkEnd, of the flows of the buckets that the request named.
struct RepairEnd {
  std::uint32_t number = 0;
  std::uint32_t first = 0;

  bool operator==(const RepairEnd&) const = default;
};

// Answers to one node. `stamp`: of the last probe that was heard of it; `held`: microseconds from then until this message.
struct Echo {
  std::uint32_t node = 0;
  std::uint32_t stamp = 0;
  std::uint32_t held = 0;

  bool operator==(const Echo&) const = default;
};

// How long a message takes to another node and back: the time since `stamp`, less what the answer was held.
struct Probe {
  static constexpr std::size_t kMost = 8;

  std::uint32_t stamp = 0;  // when this message was sent, by a clock of the sender's own, in microseconds
  std::uint8_t count = 0;
  std::array<Echo, kMost> echoes{};

  std::span<const Echo> all() const { return std::span(echoes).first(count); }
  bool operator==(const Probe&) const = default;
};

struct Extension {
  std::optional<Capabilities> capabilities{};
  std::optional<BulkEnd> bulk_end{};
  std::optional<Addressee> addressee{};
  Missing missing{};
  Sums sums{};                                 // count 0: none
  std::optional<std::uint64_t> sums_wanted{};  // of the buckets of these groups; bit 0: the first
  std::optional<RepairRequest> repair_request{};
  std::optional<RepairEnd> repair_end{};
  std::optional<Probe> probe{};

  bool empty() const {
    return !capabilities && !bulk_end && !addressee && missing.count == 0 && sums.count == 0 && !sums_wanted &&
           !repair_request && !repair_end && !probe;
  }
  bool operator==(const Extension&) const = default;
};

// Longest tail that write_extension() makes, in bytes.
inline constexpr std::size_t kMaxExtensionSize = 4 + 44 + 12 + 12 + 4 + 8 * Missing::kMost + 8 + 8 * Sums::kMost + 12 +
                                                 8 + 2 * RepairRequest::kMost + 12 + 8 + 12 * Probe::kMost;

// The tail of a control message: what is behind the bytes that conntrackd reads. Empty for other messages.
std::span<const std::uint8_t> tail_of(const Message& m);

// Empty if there is no tail of ours.
Extension read_extension(std::span<const std::uint8_t> tail);

// Appends the tail; nothing if `e` is empty.
void write_extension(ByteWriter& w, const Extension& e);

}  // namespace ctsync::wire
