// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/text/json_object.h"

namespace ctsync::text {
namespace {

std::string_view name_of(Snapshot::Mode mode) {
  switch (mode) {
    case Snapshot::Mode::idle:
      return "idle";
    case Snapshot::Mode::statistics:
      return "statistics";
    case Snapshot::Mode::sync:
      return "sync";
  }
  return "";
}

std::string_view name_of(Topic topic) {
  switch (topic) {
    case Topic::summary:
      return "ct";
    case Topic::expectations:
      return "expect";
    case Topic::network:
      return "network";
    case Topic::cache:
      return "cache";
    case Topic::runtime:
      return "runtime";
    case Topic::link:
      return "link";
    case Topic::queue:
      return "queue";
    case Topic::processes:
      return "process";
    case Topic::peers:
      return "peers";
  }
  return "";
}

void add(JsonObject& o, const CacheNumbers& n) {
  o.text("kind", "cache");
  o.number("active", n.active);
  o.number("total", n.total);
  o.number("created", n.created);
  o.number("create_failed", n.create_failed);
  o.number("no_memory", n.no_memory);
  o.number("no_space", n.no_space);
  o.number("updated", n.updated);
  o.number("update_failed", n.update_failed);
  o.number("destroyed", n.destroyed);
}

void add(JsonObject& o, const BypassNumbers& n) {
  o.text("kind", "bypass");
  o.number("created", n.created);
  o.number("updated", n.updated);
  o.number("destroyed", n.destroyed);
}

void add(JsonObject& o, const InjectNumbers& n) {
  o.text("kind", "inject");
  o.number("created", n.created);
  o.number("create_failed", n.create_failed);
  o.number("updated", n.updated);
  o.number("update_failed", n.update_failed);
  o.number("destroyed", n.destroyed);
  o.number("destroy_failed", n.destroy_failed);
}

void add_store(JsonObject& in, std::string_view name, const StoreNumbers& n) {
  JsonObject o(in.key(name));
  std::visit([&o](const auto& numbers) { add(o, numbers); }, n);
  o.end();
}

void add_traffic(JsonObject& in, const TrafficNumbers& n) {
  JsonObject o(in.key("traffic"));
  o.number("bytes", n.bytes);
  o.number("packets", n.packets);
  o.end();
}

void append_link(std::string& out, const LinkNumbers& n) {
  JsonObject o(out);
  o.text("kind", to_string(n.kind));
  o.text("device", n.device);
  o.text("status", to_string(n.status));
  o.truth("active", n.active);
  if (n.kind == LinkKind::tcp) {
    o.truth("server_connected", n.server_connected);
    o.truth("client_connected", n.client_connected);
  }
  o.number("sent_bytes", n.sent_bytes);
  o.number("sent_packets", n.sent_packets);
  o.number("send_errors", n.send_errors);
  o.number("received_bytes", n.received_bytes);
  o.number("received_packets", n.received_packets);
  o.number("receive_errors", n.receive_errors);
  o.end();
}

void append_queue(std::string& out, const QueueNumbers& n) {
  JsonObject o(out);
  o.text("name", n.name);
  o.number("elements", n.elements);
  o.number("maximum", n.maximum);
  o.number("no_space", n.no_space);
  o.end();
}

void append_peer(std::string& out, const PeerNumbers& p) {
  JsonObject o(out);
  o.text("address", p.name);
  if (!p.software.empty()) o.text("software", p.software);
  o.text("state", word_of(p.state));
  o.number("state_seconds", p.since);
  o.number("heard_seconds_ago", p.heard);
  if (p.round_trip) o.number("round_trip_microseconds", *p.round_trip);
  o.number("messages_received", p.received);
  o.number("messages_lost", p.lost);
  o.number("messages_unacknowledged", p.waiting);
  o.number("resyncs_asked_for", p.resyncs);
  o.number("connections_announced", p.announced);
  o.number("connections_held", p.held);
  o.number("sums_compared", p.compared);
  o.number("sums_differed", p.differed);
  o.number("repairs", p.repairs);
  o.number("connections_mended", p.mended);
  o.end();
}

void add_array(JsonObject& in, std::string_view name, const auto& elements, auto&& append) {
  auto& out = in.key(name);
  out += '[';
  const auto begin = out.size();
  for (const auto& e : elements) {
    if (out.size() != begin) out += ',';
    append(out, e);
  }
  out += ']';
}

void add_network(JsonObject& in, const NetworkNumbers& n) {
  JsonObject o(in.key("messages"));
  o.number("malformed", n.malformed);
  o.number("wrong_version", n.wrong_version);
  o.number("bad_header", n.bad_header);
  o.number("bad_payload", n.bad_payload);
  o.number("ends_without_ports", n.ends_without_ports);
  o.number("bad_type", n.bad_type);
  o.number("truncated", n.truncated);
  o.number("bad_size", n.bad_size);
  o.number("lost", n.lost);
  o.number("before", n.before);
  o.end();
}

void add_runtime(JsonObject& o, const RuntimeNumbers& n) {
  o.number("uptime_seconds", n.uptime_seconds);
  o.number("events_received", n.events_received);
  o.number("events_filtered", n.events_filtered);
  o.number("events_unknown_type", n.events_unknown_type);
  o.number("event_failures", n.event_failures);
  o.number("dump_unknown_type", n.dump_unknown_type);
  o.number("overruns", n.overruns);
  o.number("kernel_flushes", n.kernel_flushes);
  o.number("kernel_resyncs", n.kernel_resyncs);
  o.number("buffer_bytes", n.buffer_bytes);
  o.number("local_read_failed", n.local_read_failed);
  o.number("local_unknown_request", n.local_unknown_request);
}

void add_peers(JsonObject& in, const Snapshot& s) {
  add_array(in, "peers", s.peers, append_peer);
  if (s.comparison) {
    JsonObject o(in.key("kernel_comparison"));
    o.number("done", s.comparison->done);
    o.number("missing", s.comparison->missing);
    o.number("left_over", s.comparison->left_over);
    o.number("differed", s.comparison->differed);
    o.end();
  }
  if (s.mirror) {
    JsonObject o(in.key("warm_standby"));
    o.number("in_kernel", s.mirror->mirrored);
    o.number("waiting", s.mirror->waiting);
    o.number("failed", s.mirror->failed);
    o.end();
  }
}

void add_of_statistics_mode(JsonObject& o, Topic topic, const Snapshot& s) {
  if (topic == Topic::summary || topic == Topic::cache) add_store(o, "stats", s.internal);
  if (topic == Topic::summary) add_traffic(o, s.traffic);
}

void add_of_sync_mode(JsonObject& o, Topic topic, const Snapshot& s) {
  switch (topic) {
    case Topic::expectations:
      if (!s.with_expectations) return;
      [[fallthrough]];
    case Topic::summary: {
      const bool expectations = topic == Topic::expectations;
      add_store(o, "internal", expectations ? s.internal_expectations : s.internal);
      add_store(o, "external", expectations ? s.external_expectations : s.external);
      add_traffic(o, s.traffic);
      add_array(o, "links", s.links, append_link);
      return add_network(o, s.network);
    }
    case Topic::network:
      add_network(o, s.network);
      return add_array(o, "links", s.links, append_link);
    case Topic::cache:
      add_store(o, "internal", s.internal);
      return add_store(o, "external", s.external);
    case Topic::link:
      return add_array(o, "links", s.links, append_link);
    case Topic::queue:
      o.number("nodes", s.queue_nodes);
      return add_array(o, "queues", s.queues, append_queue);
    case Topic::peers:
      return add_peers(o, s);
    case Topic::runtime:
    case Topic::processes:
      return;
  }
}

}  // namespace

std::string_view word_of(PeerState state) {
  switch (state) {
    case PeerState::lost:
      return "lost";
    case PeerState::unknown:
      return "unknown";
    case PeerState::catching_up:
      return "catching_up";
    case PeerState::in_sync:
      return "in_sync";
  }
  return "";
}

void append_json(std::string& out, Topic topic, const Snapshot& s) {
  JsonObject o(out);
  o.text("topic", name_of(topic));
  o.text("mode", name_of(s.mode));
  if (topic == Topic::runtime) {
    add_runtime(o, s.runtime);
  } else if (s.mode == Snapshot::Mode::statistics) {
    add_of_statistics_mode(o, topic, s);
  } else if (s.mode == Snapshot::Mode::sync) {
    add_of_sync_mode(o, topic, s);
  }
  o.end();
  out += '\n';
}

}  // namespace ctsync::text
