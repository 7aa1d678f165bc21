// SPDX-License-Identifier: GPL-2.0-or-later
// Which flows of the kernel are copies: written there because a peer has told them (DisableExternalCache, WarmStandby), and
// touched by no packet since. The kernel lets such a copy run out, for it sees none of the flow's packets. To tell the
// peers so would end the live flow over there.
#pragma once

#include "ctsync/flow/flow.h"

namespace ctsync::node {

class Copies {
 public:
  virtual ~Copies() = default;

  virtual bool contains(const Tuple& orig) = 0;
  // A packet of the flow, or an operator, has changed it: it is this node's from now on.
  virtual void touched(const Tuple& orig) = 0;
  // Whether that has happened to what once was a copy.
  virtual bool was_touched(const Tuple& orig) = 0;
  // There is another flow with this tuple, or it was not known to be a copy.
  virtual void forget(const Tuple& orig) = 0;
  // The entry has gone. Whether it was a copy.
  virtual bool ended(const Tuple& orig) = 0;
  // Our own hand has deleted a flow of this node (-F, -t).
  virtual void flushed(const Tuple&) {}
  // The kernel had it when this node started, and it is in the internal cache: whose it is nobody knows.
  virtual void found(const Flow& f) = 0;
  // A commit has made it, and it is in the internal cache.
  virtual void taken_over(const Tuple&) {}
  // A copy as a dump shows it: whether something has changed it, though no event told of that.
  virtual bool has_changed(const Flow& f) = 0;
  // Every event that was waiting has been read.
  virtual void caught_up() {}
};

}  // namespace ctsync::node
