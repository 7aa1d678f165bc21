// SPDX-License-Identifier: GPL-2.0-or-later
#include "stats_mode.h"

#include <syslog.h>

#include "cache_numbers.h"
#include "ctsync/base/random.h"
#include "ctsync/control/dump_job.h"

namespace ctsync::daemon {
namespace {

using control::Request;

// Flow lines go to syslog if Stats has a Syslog, as the manual page of conntrackd promises, and with General's facility
// if that has one. General's Syslog also serves if there is no log file at all (spec config.md 11).
std::optional<int> syslog_facility(const config::Config& config) {
  const bool only_place = config.syslog_facility && !config.stats_log_file && !config.log_file;
  if (!config.stats_syslog_facility && !only_place) return std::nullopt;
  return config.syslog_facility.value_or(config.stats_syslog_facility.value_or(LOG_DAEMON));
}

}  // namespace

StatsMode::StatsMode(const ModeContext& context)
    : c_(context),
      flows_(context.config.hash_limit, context.config.hash_size, random_seed()),
      session_(context, {.flows = &flows_, .expectations = nullptr, .expectations_wanted = false}),
      flow_log_(context.config.stats_log_file, syslog_facility(context.config)),
      retry_timer_(context.loop, [] {}),
      turn_end_(context.loop, [this] { end_turn(); }) {}

Result<> StatsMode::start() {
  if (auto ok = flow_log_.open(); !ok) return ok;
  if (auto ok = session_.open(nullptr); !ok) return ok;
  session_.follower().finished = [this](const FlowRecord& r) { flow_log_.add(r, c_.clock.wall_seconds()); };
  if (auto ok = session_.load(); !ok) return ok;
  return {};
}

void StatsMode::end_turn() {
  if (const auto wait = retry_delay(flow_log_.flush())) retry_timer_.arm_in(*wait);
  flow_log_.tell_losses(c_.log, c_.clock.now());
}

void StatsMode::reopen_logs() {
  if (auto ok = flow_log_.open(); !ok) c_.log.error("{}", ok.error().text);
}

bool StatsMode::on_request(Request request, const control::Client& client) {
  auto c = client;
  std::string out;
  switch (request) {
    case Request::stats: {
      control::append_cache(out, "stats", numbers_of(flows_));
      const auto& s = session_.follower().stats();
      control::append_traffic(out, s.traffic_bytes, s.traffic_packets);
      break;
    }
    case Request::stats_cache:
      control::append_cache_extended(out, "stats", numbers_of(flows_));
      break;
    case Request::dump_internal_ct:
    case Request::dump_internal_ct_xml:
      c_.loop.jobs().add(std::make_unique<control::FlowDumpJob>(
          flows_, c_.clock, client,
          control::FlowDumpOptions{.xml = request == Request::dump_internal_ct_xml, .expires_in = {}}));
      return true;
    case Request::flush_all:
    case Request::flush_both_ct:
    case Request::flush_internal:
      c_.log.notice("flushing {}", request == Request::flush_internal ? "internal cache" : "caches");
      session_.follower().flush_flows();
      break;
    case Request::flush_kernel_ct:
    case Request::flush_kernel_all:
      c_.log.notice("flushing kernel conntrack table");
      session_.flush([c]() mutable { c.finish(); });
      return true;
    case Request::resync_kernel_ct:
    case Request::resync_kernel_all:
      c_.log.notice("resync with master conntrack table");
      session_.resync({.flows = true, .expectations = false}, [c]() mutable { c.finish(); });
      return true;
    default:
      return false;
  }
  c.write(out);
  c.finish();
  return true;
}

}  // namespace ctsync::daemon
