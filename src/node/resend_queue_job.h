// SPDX-License-Identifier: GPL-2.0-or-later
// `-s rsqueue`: lists the messages that wait for their acknowledgement (spec cli.md 7.9), in slices, as fast as the
// client reads. What is acknowledged meanwhile is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ctsync/base/clock.h"
#include "ctsync/base/jobs.h"
#include "ctsync/node/client.h"
#include "ctsync/replication/ftfw.h"

namespace ctsync::node {

class ResendQueueJob final : public Job {
 public:
  ResendQueueJob(replication::FtFw& engine, const Clock& clock, Client client);
  ~ResendQueueJob() override;
  ResendQueueJob(const ResendQueueJob&) = delete;
  ResendQueueJob& operator=(const ResendQueueJob&) = delete;

  State step(TimePoint budget_end) override;

 private:
  replication::FtFw& engine_;
  const Clock& clock_;
  Client client_;
  std::optional<std::uint32_t> next_;  // number to go on from; empty: from the first
  std::uint32_t left_;                 // messages of the list, as its head says
  std::string text_;
};

}  // namespace ctsync::node
