// SPDX-License-Identifier: GPL-2.0-or-later
#include "resend_queue_job.h"

#include <algorithm>
#include <utility>

#include "ctsync/text/json.h"
#include "ctsync/text/snapshot.h"

namespace ctsync::node {

ResendQueueJob::ResendQueueJob(replication::FtFw& engine, const Clock& clock, Client client, Form form)
    : ListJob(std::move(client), form), engine_(engine), clock_(clock), left_(engine.resend_length()) {
  if (!is_json()) text::append_resend_queue_head(text_, left_);
}

Job::State ResendQueueJob::list(TimePoint budget_end) {
  constexpr std::uint32_t kAtOnce = 128;  // between two looks at the clock and at the client's buffer
  for (;;) {
    if (const auto state = held_up()) return *state;
    const auto listed = engine_.list_unacknowledged(next_, std::min(left_, kAtOnce),
                                                    [this](bool is_control, std::uint32_t seq, std::uint8_t flags) {
                                                      if (is_json()) {
                                                        begin_element();
                                                        text::append_json_resend(text_, is_control, seq, flags);
                                                      } else if (is_control) {
                                                        text::append_resend_control(text_, seq, flags);
                                                      } else {
                                                        text::append_resend_object(text_, seq);
                                                      }
                                                    });
    write_text();
    left_ -= listed;
    if (listed == 0 || left_ == 0) return State::done;
    if (clock_.now() >= budget_end) return State::more;
  }
}

}  // namespace ctsync::node
