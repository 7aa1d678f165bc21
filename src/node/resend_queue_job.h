// SPDX-License-Identifier: GPL-2.0-or-later
// `-s rsqueue`: lists the messages that wait for their acknowledgement (spec cli.md 7.9), in slices, as fast as the
// client reads. What is acknowledged meanwhile is left out.
#pragma once

#include <cstdint>
#include <optional>

#include "ctsync/base/clock.h"
#include "ctsync/replication/ftfw.h"
#include "list_job.h"

namespace ctsync::node {

class ResendQueueJob final : public ListJob {
 public:
  ResendQueueJob(replication::FtFw& engine, const Clock& clock, Client client, Form form);

 private:
  State list(TimePoint budget_end) override;

  replication::FtFw& engine_;
  const Clock& clock_;
  std::optional<std::uint32_t> next_;  // number to go on from; empty: from the first
  std::uint32_t left_;                 // messages of the list, as its head says
};

}  // namespace ctsync::node
