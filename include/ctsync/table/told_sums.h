// SPDX-License-Identifier: GPL-2.0-or-later
// Sums over those flows of a table that the peers have been told of: what they should hold. Not told, until something
// happens to them or a bulk is sent, are those that were there at the start or that a commit has made.
#pragma once

#include "ctsync/table/flow_sums.h"
#include "ctsync/table/flow_table.h"

namespace ctsync::table {

class ToldSums {
 public:
  // What peers are sent, as in print_of(). The table must outlive this.
  ToldSums(FlowTable& flows, bool window_scale, std::uint32_t left_out = 0)
      : flows_(flows), window_scale_(window_scale), left_out_(left_out) {}

  // A live flow is told, as it is now.
  void told(FlowId id) {
    if (flows_.slot(id).told) return;
    flows_.slot(id).told = true;
    sums_.add(print(id));
  }
  // Around each change of a flow.
  void changing(FlowId id) {
    if (flows_.slot(id).told) sums_.remove(print(id));
  }
  void changed(FlowId id) {
    if (flows_.slot(id).told) sums_.add(print(id));
  }
  // Dies or leaves the table; no harm if it has died before.
  void gone(FlowId id) {
    changing(id);
    flows_.slot(id).told = false;
  }

  const FlowSums& sums() const { return sums_; }

 private:
  FlowPrint print(FlowId id) const {
    return print_of(flows_.slot(id).flow, flows_.extra(id), window_scale_, left_out_);
  }

  FlowTable& flows_;
  const bool window_scale_;
  const std::uint32_t left_out_;
  FlowSums sums_;
};

}  // namespace ctsync::table
