// SPDX-License-Identifier: GPL-2.0-or-later
// SyncMode's answers to `-s` (spec cli.md 7): which blocks a request gets, and where their numbers come from.
#include <array>

#include "cache_numbers.h"
#include "sync_mode.h"

namespace ctsync::daemon {

using control::Request;

bool SyncMode::statistics(Request request, const control::Client& client) {
  std::string out;
  const auto active = [&] { control::append_active_link(out, link_numbers(links_.current())); };
  switch (request) {
    case Request::stats_expect:
      if (!with_expectations_) break;
      [[fallthrough]];
    case Request::stats: {
      append_caches(out, request == Request::stats_expect);
      const auto& f = session_.follower().stats();
      control::append_traffic(out, f.traffic_bytes, f.traffic_packets);
      active();
      control::append_message_tracking(out, receive_stats_.malformed, receive_stats_.lost);
      break;
    }
    case Request::stats_network: {
      const auto& s = receive_stats_;
      control::append_network(out, {.malformed = s.malformed,
                                    .wrong_version = s.wrong_version,
                                    .bad_header = s.malformed_header,
                                    .bad_payload = s.malformed_payload,
                                    .bad_type = s.bad_type,
                                    .truncated = s.truncated,
                                    .bad_size = s.bad_size,
                                    .send_malformed = 0,
                                    .lost = s.lost,
                                    .before = s.before});
      active();
      break;
    }
    case Request::stats_cache:
      append_caches_extended(out);
      break;
    case Request::stats_link:
      for (std::size_t i = 0; i < links_.size(); ++i) control::append_link(out, link_numbers(i));
      break;
    case Request::stats_queue: {
      const auto errorq = links_.error_queue();
      std::array<control::QueueNumbers, 3> queues{{
          {.name = "txqueue", .elements = engine_->transmit_length(), .maximum = 2147483647, .no_space = 0},
          {.name = "errorq", .elements = errorq.length, .maximum = errorq.maximum, .no_space = errorq.dropped},
          {.name = "rsqueue"},
      }};
      if (ftfw_ != nullptr) {
        queues[2].elements = ftfw_->resend_length();
        queues[2].maximum = ftfw_->resend_maximum();
        queues[2].no_space = ftfw_->resend_no_space();
      }
      control::append_queues(out, engine_->queue_nodes(), std::span(queues).first(ftfw_ != nullptr ? 3 : 2));
      break;
    }
    case Request::stats_resend_queue:
      append_resend_queue(out);
      break;
    default:
      return false;
  }
  auto c = client;
  c.write(out);
  c.finish();
  return true;
}

void SyncMode::append_resend_queue(std::string& out) const {
  if (ftfw_ == nullptr) return;
  control::append_resend_queue_head(out, ftfw_->resend_length());
  ftfw_->each_unacknowledged([&](bool is_control, std::uint32_t seq, std::uint8_t flags) {
    if (is_control) {
      control::append_resend_control(out, seq, flags);
    } else {
      control::append_resend_object(out, seq);
    }
  });
}

control::BypassNumbers SyncMode::bypass_numbers(bool expectations) const {
  const auto& s = session_.follower().stats();
  if (expectations) {
    return {.created = s.bypass_expectations_created,
            .updated = s.bypass_expectations_updated,
            .destroyed = s.bypass_expectations_destroyed};
  }
  return {.created = s.bypass_created, .updated = s.bypass_updated, .destroyed = s.bypass_destroyed};
}

control::InjectNumbers SyncMode::inject_numbers(bool expectations) const {
  const auto& s = expectations ? injection_->expectation_stats() : injection_->flow_stats();
  return {.created = s.created,
          .create_failed = s.create_failed,
          .updated = s.updated,
          .update_failed = s.update_failed,
          .destroyed = s.destroyed,
          .destroy_failed = s.destroy_failed};
}

void SyncMode::append_caches(std::string& out, bool expectations) const {
  if (c_.config.disable_internal_cache) {
    control::append_internal_bypass(out, bypass_numbers(expectations));
  } else {
    control::append_cache(out, "internal", expectations ? numbers_of(internal_expectations_) : numbers_of(internal_));
  }
  if (injection_) {
    control::append_external_inject(out, inject_numbers(expectations));
  } else {
    control::append_cache(out, "external", expectations ? numbers_of(external_expectations_) : numbers_of(external_));
  }
}

void SyncMode::append_caches_extended(std::string& out) const {
  if (c_.config.disable_internal_cache) {
    control::append_internal_bypass(out, bypass_numbers(false));
  } else {
    control::append_cache_extended(out, "internal", numbers_of(internal_));
  }
  if (injection_) {
    control::append_external_inject(out, inject_numbers(false));
  } else {
    control::append_cache_extended(out, "external", numbers_of(external_));
  }
}

control::LinkNumbers SyncMode::link_numbers(std::size_t i) const {
  control::LinkNumbers n;
  const auto& o = links_.options(i);
  const auto& s = links_.statistics(i);
  const auto connection = links_.connection(i);
  n.kind = o.kind;
  n.status = links_.interface_state(i);
  n.device = o.interface;
  n.active = i == links_.current();
  n.server_connected = connection.server;
  n.client_connected = connection.client;
  n.sent_bytes = s.bytes_sent;
  n.sent_packets = s.packets_sent;
  n.send_errors = s.send_errors;
  n.received_bytes = s.bytes_received;
  n.received_packets = s.packets_received;
  n.receive_errors = s.receive_errors;
  return n;
}

}  // namespace ctsync::daemon
