// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/text/metrics.h"

#include <fmt/format.h>

#include <array>
#include <initializer_list>
#include <iterator>
#include <map>
#include <span>
#include <string_view>
#include <vector>

namespace ctsync::text {
namespace {

enum class Type : std::uint8_t { gauge, counter, histogram };

struct Label {
  std::string_view name;
  std::string_view value;
};
using Labels = std::span<const Label>;

std::string_view word_of_type(Type type) {
  switch (type) {
    case Type::gauge:
      return "gauge";
    case Type::counter:
      return "counter";
    case Type::histogram:
      return "histogram";
  }
  return "";
}

double seconds_of(Duration d) { return std::chrono::duration<double>(d).count(); }
double seconds_of_microseconds(std::uint64_t n) { return static_cast<double>(n) / 1e6; }

// Writes family by family. One without samples is left out.
class Writer {
 public:
  Writer(std::string& out, MetricsForm form) : out_(out), form_(form) {}

  // Without prefix, and without the suffix of counters.
  void begin(Type type, std::string_view name, std::string_view help) {
    type_ = type;
    name_ = name;
    help_ = help;
    told_ = false;
  }
  void value(std::initializer_list<Label> labels, auto number) {
    sample(type_ == Type::counter ? "_total" : "", Labels(labels.begin(), labels.size()), number);
  }
  void value(auto number) { value({}, number); }
  // For each name whether it is the one.
  void state(std::initializer_list<Label> labels, std::string_view label, std::string_view is,
             std::initializer_list<std::string_view> names) {
    std::vector<Label> all(labels);
    all.push_back({label, ""});
    for (const auto& name : names) {
      all.back().value = name;
      sample("", all, name == is ? 1U : 0U);
    }
  }
  void values(const Histogram& h) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i <= Histogram::kBounds; ++i) {
      sum += h.count(i);
      const auto bound = i == Histogram::kBounds ? "+Inf" : fmt::format("{}", seconds_of(Histogram::bound(i)));
      const std::array labels{Label{"le", bound}};
      sample("_bucket", labels, sum);
    }
    sample("_sum", {}, seconds_of(h.sum()));
    sample("_count", {}, sum);
  }
  void end() { out_ += "# EOF\n"; }

 private:
  void sample(std::string_view suffix, Labels labels, auto number) {
    if (!told_) tell();
    add("ctsyncd_{}{}", name_, suffix);
    char before = '{';
    for (const auto& l : labels) {
      out_ += before;
      add("{}=\"", l.name);
      add_escaped(l.value);
      out_ += '"';
      before = ',';
    }
    if (!labels.empty()) out_ += '}';
    add(" {}\n", number);
  }

  void tell() {
    told_ = true;
    const bool whole = form_ == MetricsForm::prometheus && type_ == Type::counter;
    const auto name = fmt::format("ctsyncd_{}{}", name_, whole ? "_total" : "");
    add("# HELP {} {}\n# TYPE {} {}\n", name, help_, name, word_of_type(type_));
    for (const std::string_view unit : {"seconds", "bytes"}) {
      if (name_.ends_with(unit)) add("# UNIT {} {}\n", name, unit);
    }
  }

  template <typename... A>
  void add(fmt::format_string<A...> f, A&&... a) {
    fmt::format_to(std::back_inserter(out_), f, std::forward<A>(a)...);
  }

  void add_escaped(std::string_view s) {
    for (const char c : s) {
      if (c == '"' || c == '\\') out_ += '\\';
      out_ += c >= ' ' && c <= '~' ? c : '?';
    }
  }

  std::string& out_;
  const MetricsForm form_;
  Type type_{};
  std::string_view name_;
  std::string_view help_;
  bool told_ = false;
};

// --- The daemon ---

std::string_view label_of(Role role) {
  return role == Role::primary ? "primary" : role == Role::backup ? "backup" : "unknown";
}

void add_daemon(Writer& w, const Snapshot& s) {
  w.begin(Type::gauge, "build_info", "Always 1; the label tells the version.");
  w.value({{"version", CTSYNC_VERSION}}, 1U);
  w.begin(Type::gauge, "uptime_seconds", "Time since the start was complete.");
  w.value(s.runtime.uptime_seconds);
  w.begin(Type::gauge, "role", "1 for what the last commit, take-over or purge has made of this node.");
  if (s.role) w.state({}, "role", label_of(*s.role), {"primary", "backup", "unknown"});
  w.begin(Type::gauge, "health_status", "What --health ends with: 0 if this node could take over now.");
  if (s.health) w.value(static_cast<unsigned>(*s.health));
  w.begin(Type::histogram, "loop_turn_seconds", "Turns of the event loop, without the wait.");
  w.values(s.turns);
  w.begin(Type::counter, "control_requests_failed", "Clients of the control socket that were not served.");
  w.value({{"reason", "incomplete"}}, s.runtime.local_read_failed);
  w.value({{"reason", "unknown"}}, s.runtime.local_unknown_request);
}

// --- The kernel ---

void add_kernel(Writer& w, const Snapshot& s) {
  const auto& n = s.runtime;
  w.begin(Type::counter, "kernel_events", "Events received from the kernel, before filtering.");
  w.value(n.events_received);
  w.begin(Type::counter, "kernel_events_filtered", "Events that the filter does not want.");
  w.value(n.events_filtered);
  w.begin(Type::counter, "kernel_events_failed", "Events that could not be received or understood.");
  w.value({{"reason", "receive"}}, n.event_failures);
  w.value({{"reason", "unknown_type"}}, n.events_unknown_type);
  w.begin(Type::counter, "kernel_dump_unknown", "Entries of an unknown type in dumps of the kernel's table.");
  w.value(n.dump_unknown_type);
  w.begin(Type::counter, "kernel_overruns", "Times that the kernel could not deliver events.");
  w.value(n.overruns);
  w.begin(Type::gauge, "kernel_buffer_bytes", "Receive buffer of the event socket.");
  w.value(n.buffer_bytes);
  w.begin(Type::counter, "kernel_flushes", "Flushes of the kernel's table.");
  w.value(n.kernel_flushes);
  w.begin(Type::counter, "kernel_resyncs", "Readings of the kernel's table after the first one.");
  w.value(n.kernel_resyncs);
  if (!s.comparison) return;
  w.begin(Type::counter, "kernel_comparisons", "Comparisons of the internal cache with the kernel's table.");
  w.value(s.comparison->done);
  w.begin(Type::counter, "kernel_comparison_differences", "Connections that these found wrong in the internal cache.");
  w.value({{"kind", "missing"}}, s.comparison->missing);
  w.value({{"kind", "left_over"}}, s.comparison->left_over);
  w.value({{"kind", "differed"}}, s.comparison->differed);
}

// --- The caches ---

struct Store {
  std::string_view cache;
  std::string_view object;
  const StoreNumbers& numbers;
};

std::vector<Store> stores_of(const Snapshot& s) {
  std::vector<Store> stores;
  if (s.mode == Snapshot::Mode::idle) return stores;
  const bool sync = s.mode == Snapshot::Mode::sync;
  stores.push_back({"internal", "connection", s.internal});
  if (sync) stores.push_back({"external", "connection", s.external});
  if (sync && s.with_expectations) {
    stores.push_back({"internal", "expectation", s.internal_expectations});
    stores.push_back({"external", "expectation", s.external_expectations});
  }
  return stores;
}

void add_failures(Writer& w, const Store& store, std::string_view operation, std::string_view reason,
                  std::uint64_t count) {
  w.value({{"cache", store.cache}, {"object", store.object}, {"operation", operation}, {"reason", reason}}, count);
}

void add_failures(Writer& w, const Store& store) {
  if (const auto* cache = std::get_if<CacheNumbers>(&store.numbers)) {
    add_failures(w, store, "create", "no_space", cache->no_space);
    add_failures(w, store, "create", "no_memory", cache->no_memory);
    add_failures(w, store, "create", "other", cache->create_failed - cache->no_space - cache->no_memory);
    add_failures(w, store, "update", "other", cache->update_failed);
  } else if (const auto* inject = std::get_if<InjectNumbers>(&store.numbers)) {
    add_failures(w, store, "create", "other", inject->create_failed);
    add_failures(w, store, "update", "other", inject->update_failed);
    add_failures(w, store, "destroy", "other", inject->destroy_failed);
  }
}

void add_caches(Writer& w, const Snapshot& s) {
  const auto stores = stores_of(s);
  w.begin(Type::gauge, "cache_entries", "Live entries of a cache.");
  for (const auto& store : stores) {
    const auto* cache = std::get_if<CacheNumbers>(&store.numbers);
    if (cache != nullptr) w.value({{"cache", store.cache}, {"object", store.object}}, cache->active);
  }
  w.begin(Type::gauge, "cache_dead_entries", "Entries that have ended, until the peers have acknowledged it.");
  for (const auto& store : stores) {
    const auto* cache = std::get_if<CacheNumbers>(&store.numbers);
    if (cache != nullptr) w.value({{"cache", store.cache}, {"object", store.object}}, cache->total - cache->active);
  }
  w.begin(Type::counter, "cache_operations", "What was done with entries; without the cache, with connections.");
  for (const auto& store : stores) {
    const auto add = [&](std::string_view operation, std::uint64_t count) {
      w.value({{"cache", store.cache}, {"object", store.object}, {"operation", operation}}, count);
    };
    std::visit(
        [&add](const auto& n) {
          add("create", n.created);
          add("update", n.updated);
          add("destroy", n.destroyed);
        },
        store.numbers);
  }
  w.begin(Type::counter, "cache_failures", "What could not be done, by reason.");
  for (const auto& store : stores) add_failures(w, store);
  if (s.mode == Snapshot::Mode::idle) return;
  w.begin(Type::counter, "ended_traffic_bytes", "Bytes of connections that have ended.");
  w.value(s.traffic.bytes);
  w.begin(Type::counter, "ended_traffic_packets", "Packets of connections that have ended.");
  w.value(s.traffic.packets);
}

void add_commits(Writer& w, const Snapshot& s) {
  if (s.commits) {
    w.begin(Type::histogram, "commit_duration_seconds", "Complete commits of the external cache into the kernel.");
    w.values(s.commits->durations);
    w.begin(Type::counter, "commit_entries", "Entries of complete commits.");
    w.value({{"result", "committed"}}, s.commits->committed);
    w.value({{"result", "failed"}}, s.commits->failed);
  }
  if (!s.mirror) return;
  w.begin(Type::gauge, "warm_standby_connections", "Connections of the peers in the kernel.");
  w.value(s.mirror->mirrored);
  w.begin(Type::gauge, "warm_standby_waiting_connections", "Connections to be written, refreshed or removed there.");
  w.value(s.mirror->waiting);
  w.begin(Type::counter, "warm_standby_failures", "Writes that failed.");
  w.value(s.mirror->failed);
}

// --- The links ---

std::string_view label_of(LinkKind kind) {
  switch (kind) {
    case LinkKind::udp:
      return "udp";
    case LinkKind::tcp:
      return "tcp";
    case LinkKind::multicast:
      return "multicast";
  }
  return "";
}

void add_links(Writer& w, const Snapshot& s) {
  const auto family = [&](Type type, std::string_view name, std::string_view help, auto&& number) {
    w.begin(type, name, help);
    for (std::size_t i = 0; i < s.links.size(); ++i) {
      const auto& link = s.links[i];
      const auto index = fmt::format("{}", i);
      w.value({{"link", index}, {"device", link.device}, {"transport", label_of(link.kind)}}, number(link));
    }
  };
  family(Type::gauge, "link_up", "1: the interface of the link is up and has a carrier.",
         [](const LinkNumbers& n) { return n.status == LinkState::running ? 1U : 0U; });
  family(Type::gauge, "link_active", "1: this node sends over the link.",
         [](const LinkNumbers& n) { return n.active ? 1U : 0U; });
  w.begin(Type::gauge, "link_connected", "TCP: 1: the peer has connected to this node, or this node to the peer.");
  for (std::size_t i = 0; i < s.links.size(); ++i) {
    const auto& link = s.links[i];
    if (link.kind != LinkKind::tcp) continue;
    const auto index = fmt::format("{}", i);
    for (const bool server : {true, false}) {
      w.value({{"link", index},
               {"device", link.device},
               {"transport", label_of(link.kind)},
               {"side", server ? "server" : "client"}},
              (server ? link.server_connected : link.client_connected) ? 1U : 0U);
    }
  }
  family(Type::counter, "link_sent_bytes", "Bytes sent over the link.",
         [](const LinkNumbers& n) { return n.sent_bytes; });
  family(Type::counter, "link_sent_packets", "Datagrams sent over the link.",
         [](const LinkNumbers& n) { return n.sent_packets; });
  family(Type::counter, "link_send_errors", "Datagrams that the system did not take.",
         [](const LinkNumbers& n) { return n.send_errors; });
  family(Type::counter, "link_received_bytes", "Bytes received over the link.",
         [](const LinkNumbers& n) { return n.received_bytes; });
  family(Type::counter, "link_received_packets", "Datagrams received over the link.",
         [](const LinkNumbers& n) { return n.received_packets; });
  family(Type::counter, "link_receive_errors", "Errors of receiving over the link.",
         [](const LinkNumbers& n) { return n.receive_errors; });
}

void add_messages(Writer& w, const Snapshot& s) {
  const auto& n = s.network;
  w.begin(Type::counter, "messages_malformed", "Messages that were dropped, by reason.");
  w.value({{"reason", "wrong_version"}}, n.wrong_version);
  w.value({{"reason", "bad_header"}}, n.bad_header);
  w.value({{"reason", "bad_payload"}}, n.bad_payload);
  w.value({{"reason", "bad_type"}}, n.bad_type);
  w.value({{"reason", "truncated"}}, n.truncated);
  w.value({{"reason", "bad_size"}}, n.bad_size);
  w.begin(Type::counter, "messages_lost", "Messages that did not come when they should have.");
  w.value(n.lost);
  w.begin(Type::counter, "messages_old", "Messages that came late or twice.");
  w.value(n.before);
}

void add_queues(Writer& w, const Snapshot& s) {
  constexpr std::string_view kUnlimited = "txqueue";
  w.begin(Type::gauge, "queue_elements", "What waits in a queue: as -s queue names them.");
  for (const auto& q : s.queues) w.value({{"queue", q.name}}, q.elements);
  w.begin(Type::gauge, "queue_capacity_elements", "What the queue can hold.");
  for (const auto& q : s.queues) {
    if (q.name != kUnlimited) w.value({{"queue", q.name}}, q.maximum);
  }
  w.begin(Type::counter, "queue_refused", "What the queue had no room for.");
  for (const auto& q : s.queues) {
    if (q.name != kUnlimited) w.value({{"queue", q.name}}, q.no_space);
  }
}

// --- The peers ---

// Of several nodes behind one address the second has "#2" behind it, and so on.
std::vector<std::string> names_of(std::span<const PeerNumbers> peers) {
  std::map<std::string_view, int> seen;
  std::vector<std::string> names;
  for (const auto& p : peers) {
    const int number = ++seen[p.name];
    names.push_back(number == 1 ? p.name : fmt::format("{}#{}", p.name, number));
  }
  return names;
}

void add_peers(Writer& w, const Snapshot& s) {
  const auto names = names_of(s.peers);
  w.begin(Type::gauge, "peer_info", "Always 1; the label tells what the peer says of itself.");
  for (std::size_t i = 0; i < names.size(); ++i) {
    w.value({{"peer", names[i]}, {"software", s.peers[i].software}}, 1U);
  }
  w.begin(Type::gauge, "peer_state", "1 for the state that the peer is in.");
  for (std::size_t i = 0; i < names.size(); ++i) {
    w.state({{"peer", names[i]}}, "state", word_of(s.peers[i].state), {"in_sync", "catching_up", "unknown", "lost"});
  }
  const auto family = [&](Type type, std::string_view name, std::string_view help, auto&& number) {
    w.begin(type, name, help);
    for (std::size_t i = 0; i < names.size(); ++i) w.value({{"peer", names[i]}}, number(s.peers[i]));
  };
  family(Type::gauge, "peer_state_duration_seconds", "How long it has been in this state.",
         [](const PeerNumbers& p) { return p.since; });
  family(Type::gauge, "peer_silence_seconds", "Time since the peer was heard last.",
         [](const PeerNumbers& p) { return p.heard; });
  w.begin(Type::gauge, "peer_round_trip_seconds", "How long a message took there and back.");
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (const auto t = s.peers[i].round_trip) w.value({{"peer", names[i]}}, seconds_of_microseconds(*t));
  }
  w.begin(Type::gauge, "peer_lag_seconds", "How long a message has been waiting for the peer's acknowledgement.");
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (const auto t = s.peers[i].lag) w.value({{"peer", names[i]}}, seconds_of_microseconds(*t));
  }
  if (s.delays) {
    family(Type::gauge, "peer_unacknowledged_messages", "Messages that the peer has not acknowledged.",
           [](const PeerNumbers& p) { return p.waiting; });
  }
  family(Type::counter, "peer_messages", "Messages of the peer.", [](const PeerNumbers& p) { return p.received; });
  family(Type::counter, "peer_messages_lost", "Messages of the peer that did not come when they should have.",
         [](const PeerNumbers& p) { return p.lost; });
  family(Type::counter, "peer_resyncs", "Complete resends that the peer has asked for.",
         [](const PeerNumbers& p) { return p.resyncs; });
  family(Type::gauge, "peer_announced_connections", "Connections of this node that the peer was told of.",
         [](const PeerNumbers& p) { return p.announced; });
  family(Type::gauge, "peer_held_connections", "Connections of the peer in the external cache.",
         [](const PeerNumbers& p) { return p.held; });
  family(Type::counter, "peer_sums_compared", "Sums over the peer's connections that were compared.",
         [](const PeerNumbers& p) { return p.compared; });
  family(Type::counter, "peer_sums_differed", "Sums that differed from what is held.",
         [](const PeerNumbers& p) { return p.differed; });
  family(Type::counter, "peer_repairs", "Repairs that followed.", [](const PeerNumbers& p) { return p.repairs; });
  family(Type::counter, "peer_mended_connections", "Connections that repairs have changed.",
         [](const PeerNumbers& p) { return p.mended; });
  if (!s.delays) return;
  w.begin(Type::histogram, "replication_delay_seconds", "Half of each round trip of a message to a peer.");
  w.values(*s.delays);
}

}  // namespace

std::string_view to_string(Health health) {
  switch (health) {
    case Health::ready:
      return "ready to take over";
    case Health::filling:
      return "not ready: the connections of the peers are not known yet";
    case Health::links_down:
      return "not ready: all dedicated links are down";
  }
  return "";
}

void append_metrics(std::string& out, MetricsForm form, const Snapshot& s) {
  Writer w(out, form);
  add_daemon(w, s);
  if (s.mode != Snapshot::Mode::idle) add_kernel(w, s);
  add_caches(w, s);
  add_commits(w, s);
  if (s.mode == Snapshot::Mode::sync) {
    add_links(w, s);
    add_messages(w, s);
    add_queues(w, s);
    add_peers(w, s);
  }
  w.end();
}

}  // namespace ctsync::text
