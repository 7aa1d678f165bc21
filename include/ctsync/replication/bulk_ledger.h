// SPDX-License-Identifier: GPL-2.0-or-later
// Which objects of a bulk the peers have not acknowledged yet: a bit for each slot that the tables had when the bulk
// began, for as long as it lasts. So its sender knows when it has arrived as a whole, whatever is repeated, changes or
// ends meanwhile.
#pragma once

#include <cstdint>
#include <vector>

#include "ctsync/replication/send_queue.h"

namespace ctsync::replication {

class BulkLedger {
 public:
  // `flows`, `expectations`: the ids below them belong to the bulk.
  void open(std::uint32_t flows, std::uint32_t expectations) {
    close();
    is_open_ = true;
    flows_.assign(flows, false);
    expectations_.assign(expectations, false);
  }
  void close() {
    is_open_ = false;
    outstanding_ = 0;
    flows_ = {};
    expectations_ = {};
  }
  bool is_open() const { return is_open_; }

  // Sent, or about to be.
  void add(NodeRef n) {
    if (!is_open_ || holds(n)) return;
    bits(n)[n.index()] = true;
    ++outstanding_;
  }
  // Acknowledged, or ended and acknowledged, or out of the table.
  void remove(NodeRef n) {
    if (!is_open_ || !holds(n)) return;
    bits(n)[n.index()] = false;
    --outstanding_;
  }
  bool holds(NodeRef n) const {
    if (n.kind() == NodeRef::Kind::flow) return n.index() < flows_.size() && flows_[n.index()];
    if (n.kind() == NodeRef::Kind::expectation) return n.index() < expectations_.size() && expectations_[n.index()];
    return false;
  }
  std::uint32_t outstanding() const { return outstanding_; }

 private:
  std::vector<bool>& bits(NodeRef n) { return n.kind() == NodeRef::Kind::flow ? flows_ : expectations_; }

  bool is_open_ = false;
  std::uint32_t outstanding_ = 0;
  std::vector<bool> flows_;
  std::vector<bool> expectations_;
};

}  // namespace ctsync::replication
