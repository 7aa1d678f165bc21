// SPDX-License-Identifier: GPL-2.0-or-later
// Sums over the numbers of flows (FlowPrint), one for each bucket and one for each group of buckets. A sum is kept up at each
// change, in any order, and costs nothing per flow.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "ctsync/flow/flow_print.h"

namespace ctsync::table {

// A choice of buckets.
using Buckets = std::bitset<FlowPrint::kBuckets>;

class FlowSums {
 public:
  static constexpr std::uint32_t kGroups = 64;
  static constexpr std::uint32_t kBuckets = FlowPrint::kBuckets;
  static constexpr std::uint32_t kBucketsOfGroup = kBuckets / kGroups;

  FlowSums() : buckets_(kBuckets) {}

  void add(const FlowPrint& p) {
    buckets_[p.bucket] += p.number;
    groups_[p.bucket / kBucketsOfGroup] += p.number;
    ++flows_;
  }
  void remove(const FlowPrint& p) {
    buckets_[p.bucket] -= p.number;
    groups_[p.bucket / kBucketsOfGroup] -= p.number;
    --flows_;
  }

  std::uint64_t group(std::uint32_t i) const { return groups_[i]; }
  std::uint64_t bucket(std::uint32_t i) const { return buckets_[i]; }
  std::uint32_t flows() const { return flows_; }

 private:
  std::array<std::uint64_t, kGroups> groups_{};
  std::vector<std::uint64_t> buckets_;
  std::uint32_t flows_ = 0;
};

}  // namespace ctsync::table
