// SPDX-License-Identifier: GPL-2.0-or-later
#include "dump_job.h"

#include <algorithm>
#include <utility>

#include "ctsync/text/json.h"

namespace ctsync::node {
namespace {

// Between two looks at the clock and at the client's buffer.
constexpr std::uint32_t kIdsAtOnce = 32;
// Bytes that are worth a system call.
constexpr std::size_t kPiece = 16U << 10;

// "active since" is the age of the cache entry.
text::RenderOptions options_of(Form form, std::uint32_t now_seconds, std::uint32_t created) {
  text::RenderOptions o;
  o.xml = form == Form::xml;
  o.active_since = now_seconds - created;
  return o;
}

}  // namespace

DumpJob::DumpJob(const Clock& clock, Client client, Form form, std::uint32_t end)
    : ListJob(std::move(client), form), clock_(clock), end_(end) {}

// Each step gets on, however late it comes: the clock is looked at behind a part.
Job::State DumpJob::list(TimePoint budget_end) {
  const auto now = seconds_of(clock_.now());
  while (next_ < end_) {
    if (const auto state = held_up()) return *state;
    // The table may have shrunk since the start.
    const auto end = std::min(end_, table_end());
    const auto stop = std::min(end, next_ + kIdsAtOnce);
    for (; next_ < stop; ++next_) render(next_, now);
    if (next_ >= end) next_ = end_;
    const bool pauses = next_ < end_ && clock_.now() >= budget_end;
    if (pauses || next_ == end_ || text_.size() >= kPiece) write_text();
    if (pauses) return State::more;
  }
  return State::done;
}

FlowDumpJob::FlowDumpJob(const table::FlowTable& table, const Clock& clock, Client client, FlowDumpOptions options)
    : DumpJob(clock, std::move(client), options.form, table.end_id()), table_(table), options_(std::move(options)) {}

void FlowDumpJob::render(std::uint32_t id, std::uint32_t now_seconds) {
  const auto& slot = table_.slot(id);
  if (!is_live(slot.state)) return;
  auto o = options_of(form(), now_seconds, slot.created);
  if (options_.expires_in) o.expires_in = options_.expires_in(id);
  if (is_json()) {
    begin_element();
    return text::append_json(text_, slot.flow, table_.extra(id), o);
  }
  renderer_.append(text_, slot.flow, table_.extra(id), o);
  text_ += '\n';
}

ExpectationDumpJob::ExpectationDumpJob(const table::ExpectationTable& table, const Clock& clock, Client client,
                                       Form form)
    : DumpJob(clock, std::move(client), form, table.end_id()), table_(table) {}

void ExpectationDumpJob::render(std::uint32_t id, std::uint32_t now_seconds) {
  const auto& slot = table_.slot(id);
  if (!is_live(slot.state)) return;
  const auto o = options_of(form(), now_seconds, slot.created);
  if (is_json()) {
    begin_element();
    return text::append_json(text_, slot.expect, o);
  }
  renderer_.append(text_, slot.expect, o);
  text_ += '\n';
}

}  // namespace ctsync::node
