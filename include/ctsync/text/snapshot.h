// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that the statistics of a node tell, as plain numbers of one moment, and its rendering: the answers to
// `-s`, byte for byte those of conntrackd (spec cli.md 7).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ctsync/base/histogram.h"
#include "ctsync/flow/link_kind.h"

namespace ctsync::text {

// What `-s` may be asked for. The resend queue is not here: it is listed element by element. Processes: conntrackd
// lists its child processes, and there are none here.
enum class Topic : std::uint8_t { summary, expectations, network, cache, runtime, link, queue, processes, peers };

// Of a table of flows or of expectations.
struct CacheNumbers {
  std::uint64_t active = 0;  // live entries
  std::uint64_t total = 0;   // live and dead
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;  // all reasons
  std::uint64_t no_memory = 0;
  std::uint64_t no_space = 0;
  std::uint64_t updated = 0;
  std::uint64_t update_failed = 0;
  std::uint64_t destroyed = 0;
};

// Events handed on without an internal cache.
struct BypassNumbers {
  std::uint64_t created = 0;
  std::uint64_t updated = 0;
  std::uint64_t destroyed = 0;
};

// Written to the kernel without an external cache.
struct InjectNumbers {
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;
  std::uint64_t updated = 0;
  std::uint64_t update_failed = 0;
  std::uint64_t destroyed = 0;
  std::uint64_t destroy_failed = 0;
};

using StoreNumbers = std::variant<CacheNumbers, BypassNumbers, InjectNumbers>;

// Of destroyed flows whose last event told counters.
struct TrafficNumbers {
  std::uint64_t bytes = 0;
  std::uint64_t packets = 0;
};

struct LinkNumbers {
  LinkKind kind = LinkKind::udp;
  std::string_view device;  // must outlive the snapshot
  LinkState status = LinkState::running;
  bool active = false;
  bool server_connected = false;  // TCP: the peer has connected to us
  bool client_connected = false;  // TCP: we to the peer
  std::uint64_t sent_bytes = 0;
  std::uint64_t sent_packets = 0;
  std::uint64_t send_errors = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t received_packets = 0;
  std::uint64_t receive_errors = 0;
};

struct NetworkNumbers {
  std::uint64_t malformed = 0;  // received, of all the following reasons
  std::uint64_t wrong_version = 0;
  std::uint64_t bad_header = 0;
  std::uint64_t bad_payload = 0;
  std::uint64_t ends_without_ports = 0;  // of these
  std::uint64_t bad_type = 0;
  std::uint64_t truncated = 0;
  std::uint64_t bad_size = 0;
  std::uint64_t lost = 0;
  std::uint64_t before = 0;
};

struct RuntimeNumbers {
  std::uint64_t uptime_seconds = 0;
  std::uint64_t events_received = 0;  // before filtering
  std::uint64_t events_filtered = 0;
  std::uint64_t events_unknown_type = 0;
  std::uint64_t event_failures = 0;
  std::uint64_t dump_unknown_type = 0;
  std::uint64_t overruns = 0;
  std::uint64_t kernel_flushes = 0;
  std::uint64_t kernel_resyncs = 0;
  std::uint64_t buffer_bytes = 0;
  std::uint64_t local_read_failed = 0;
  std::uint64_t local_unknown_request = 0;
};

struct QueueNumbers {
  std::string_view name;  // "txqueue", "errorq", "rsqueue"
  std::uint64_t elements = 0;
  std::uint64_t maximum = 0;
  std::uint64_t no_space = 0;
};

// What is known of another node.
enum class PeerState : std::uint8_t {
  lost,         // not heard lately
  unknown,      // it is heard, but tells nothing that could be compared: conntrackd, or a mode other than FT-FW
  catching_up,  // it differs from what is held of it, or was not compared lately
  in_sync,      // what is held of it is what it has
};
struct PeerNumbers {
  std::string name;        // address
  std::string software{};  // "ctsyncd 0.1.0, node 1a2b3c4d"; empty if it has not said
  PeerState state{};
  std::uint64_t since = 0;                    // seconds in this state
  std::uint64_t heard = 0;                    // seconds since its last message
  std::uint64_t held = 0;                     // flows of it in the external cache
  std::uint64_t announced = 0;                // flows of ours that it was told of
  std::uint64_t waiting = 0;                  // messages that it has not acknowledged
  std::optional<std::uint64_t> round_trip{};  // microseconds; nothing: not known
  std::optional<std::uint64_t> lag{};  // microseconds that a message has waited for its acknowledgement; as above
  std::uint64_t received = 0;          // messages
  std::uint64_t lost = 0;              // of its messages, before they were repeated
  std::uint64_t resyncs = 0;           // that it has asked for
  std::uint64_t compared = 0;          // sums
  std::uint64_t differed = 0;
  std::uint64_t repairs = 0;
  std::uint64_t mended = 0;  // flows
};
std::string_view to_string(PeerState state);
std::string_view word_of(PeerState state);  // for programs: "in_sync"

// The internal cache with the kernel's table: what was found, and mended, so far.
struct ComparisonNumbers {
  std::uint64_t done = 0;
  std::uint64_t missing = 0;  // flows
  std::uint64_t left_over = 0;
  std::uint64_t differed = 0;
};

// WarmStandby: connections of the peers in the kernel.
struct MirrorNumbers {
  std::uint64_t mirrored = 0;
  std::uint64_t waiting = 0;  // to be written, refreshed or removed
  std::uint64_t failed = 0;   // writes, so far
};

// Complete commits so far.
struct CommitNumbers {
  Histogram durations;
  std::uint64_t committed = 0;  // entries
  std::uint64_t failed = 0;
};

// What the last command that concerns it has made of this node: a commit or a take-over, or -t.
enum class Role : std::uint8_t { unknown, primary, backup };

// Whether this node could take over now. The values are what `--health` ends with.
enum class Health : std::uint8_t {
  ready = 0,
  filling = 11,     // what the peers have is not known yet
  links_down = 12,  // all of them
};
// One line.
std::string_view to_string(Health health);

struct Snapshot {
  enum class Mode : std::uint8_t {
    idle,        // neither Sync nor Stats: the process alone
    statistics,  // one cache, no peers
    sync,
  };
  Mode mode = Mode::idle;
  bool with_expectations = false;  // they are synchronised
  StoreNumbers internal;
  StoreNumbers internal_expectations;
  StoreNumbers external;
  StoreNumbers external_expectations;
  TrafficNumbers traffic;
  NetworkNumbers network;
  RuntimeNumbers runtime;
  std::vector<LinkNumbers> links;
  std::uint64_t queue_nodes = 0;
  std::vector<QueueNumbers> queues;  // in the order of the output
  std::vector<PeerNumbers> peers;
  std::optional<ComparisonNumbers> comparison;  // nothing: there is none
  std::optional<MirrorNumbers> mirror;          // as above
  // For the metrics alone. All but the first one in sync mode.
  Histogram turns;  // of the event loop
  std::optional<CommitNumbers> commits;
  std::optional<Histogram> delays;  // of messages, as far as measured; FT-FW
  std::optional<Role> role;
  std::optional<Health> health;
};

// Appends the blocks of a topic, each with the empty line that ends it; nothing where the mode has none.
void append_statistics(std::string& out, Topic topic, const Snapshot& s);

// The list of `-s rsqueue`: a head, then a line for each message that waits for its acknowledgement, in order.
void append_resend_queue_head(std::string& out, std::uint64_t length);
void append_resend_control(std::string& out, std::uint32_t seq, std::uint32_t flags);
void append_resend_object(std::string& out, std::uint32_t seq);

}  // namespace ctsync::text
