// SPDX-License-Identifier: GPL-2.0-or-later
#include "dump_job.h"

#include <algorithm>
#include <utility>

namespace ctsync::node {
namespace {

// Between two looks at the clock and at the client's buffer.
constexpr std::uint32_t kIdsAtOnce = 32;

// "active since" is the age of the cache entry.
text::RenderOptions options_of(bool xml, std::uint32_t now_seconds, std::uint32_t created) {
  text::RenderOptions o;
  o.xml = xml;
  o.active_since = now_seconds - created;
  return o;
}

}  // namespace

DumpJob::DumpJob(const Clock& clock, Client client, std::uint32_t end)
    : ListJob(std::move(client)), clock_(clock), end_(end) {}

// Each step gets on, however late it comes: the clock is looked at behind a part.
Job::State DumpJob::list(TimePoint budget_end) {
  const auto now = seconds_of(clock_.now());
  while (next_ < end_) {
    if (const auto state = held_up()) return *state;
    // The table may have shrunk since the start.
    const auto end = std::min(end_, table_end());
    const auto stop = std::min(end, next_ + kIdsAtOnce);
    for (; next_ < stop; ++next_) render(next_, now, text_);
    if (next_ >= end) next_ = end_;
    write_text();
    if (next_ < end_ && clock_.now() >= budget_end) return State::more;
  }
  return State::done;
}

FlowDumpJob::FlowDumpJob(const table::FlowTable& table, const Clock& clock, Client client, FlowDumpOptions options)
    : DumpJob(clock, std::move(client), table.end_id()), table_(table), options_(std::move(options)) {}

void FlowDumpJob::render(std::uint32_t id, std::uint32_t now_seconds, std::string& out) {
  const auto& slot = table_.slot(id);
  if (!is_live(slot.state)) return;
  auto o = options_of(options_.xml, now_seconds, slot.created);
  if (options_.expires_in) o.expires_in = options_.expires_in(id);
  renderer_.append(out, slot.flow, table_.extra(id), o);
  out += '\n';
}

ExpectationDumpJob::ExpectationDumpJob(const table::ExpectationTable& table, const Clock& clock, Client client,
                                       bool xml)
    : DumpJob(clock, std::move(client), table.end_id()), table_(table), xml_(xml) {}

void ExpectationDumpJob::render(std::uint32_t id, std::uint32_t now_seconds, std::string& out) {
  const auto& slot = table_.slot(id);
  if (!is_live(slot.state)) return;
  renderer_.append(out, slot.expect, options_of(xml_, now_seconds, slot.created));
  out += '\n';
}

}  // namespace ctsync::node
