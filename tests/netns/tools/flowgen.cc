// SPDX-License-Identifier: GPL-2.0-or-later
//
// flowgen: creates or deletes many connection tracking entries in the kernel of the current network namespace, at full
// speed or at a given rate. For tests and benchmarks.
//
//   flowgen create|delete COUNT [tcp|udp] [--rate PER_SECOND] [--first N] [--timeout SECONDS] [--snat ADDRESS] [--times FILE]
//   flowgen change COUNT [tcp|udp] [--rate PER_SECOND] [--first N] [--flows N] [--step N]
//   flowgen send COUNT [--rate PER_SECOND] [--first N]
//
// `create`, `change` and `delete` use ctnetlink, in batches. `change` gives flows that are there other marks: COUNT changes
// of --flows flows, one after the other, with 1 as the first mark of each, then 2 and so on; --step N goes in steps of N through
// them. `send` sends a UDP packet a flow, to the address and port below, which must be routed: so a flow comes to be as on a
// firewall, and no lock of ctnetlink delays it. `create` and `change` write to the file --times (8 bytes each, as many as COUNT)
// when each was begun: nanoseconds of the monotonic clock.
//
// Flow N goes from 10.(N >> 20).(N >> 12 & 255).(N >> 4 & 255) port 1024 + (N & 15) to 192.0.2.1 port 80. TCP flows are
// ESTABLISHED and ASSURED. Ends early on SIGTERM. Prints one line "created|deleted|sent|changed N errors N seconds S", at a
// rate also "pause S", the longest time between two flows; exit status 1 if there was any error.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

namespace {

using Steady = std::chrono::steady_clock;

constexpr std::size_t kBatchBytes = 64 * 1024;
constexpr std::uint32_t kBatchFlows = 200;

enum class Action : std::uint8_t { create, remove, send, change };

struct Job {
  Action action = Action::create;
  std::uint32_t count = 0;
  std::uint32_t first = 0;
  std::uint32_t flows = 0;  // of a change: how many there are, 0 = as many as changes
  std::uint32_t step = 1;   // of a change: from a flow to the next
  std::uint32_t rate = 0;   // flows per second, 0 = as fast as the kernel takes them
  std::uint32_t timeout = 3600;
  std::uint8_t protocol = IPPROTO_TCP;
  in_addr_t snat = 0;  // network order, 0 = none
  const char* times = nullptr;
};

struct Outcome {
  std::uint32_t done = 0;
  long errors = 0;
  Steady::duration pause{};
};

volatile std::sig_atomic_t g_stop = 0;

struct Endpoint {
  in_addr_t address;   // network order
  std::uint16_t port;  // network order
};

Endpoint source_of(std::uint32_t number) {
  return {htonl(0x0a000000U | (number >> 4)), htons(static_cast<std::uint16_t>(1024 + (number & 15)))};
}

void put_tuple(nlmsghdr* message, std::uint16_t type, std::uint8_t protocol, Endpoint source, Endpoint destination) {
  nlattr* tuple = mnl_attr_nest_start(message, type);
  nlattr* ip = mnl_attr_nest_start(message, CTA_TUPLE_IP);
  mnl_attr_put_u32(message, CTA_IP_V4_SRC, source.address);
  mnl_attr_put_u32(message, CTA_IP_V4_DST, destination.address);
  mnl_attr_nest_end(message, ip);
  nlattr* proto = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(message, CTA_PROTO_NUM, protocol);
  mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, source.port);
  mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, destination.port);
  mnl_attr_nest_end(message, proto);
  mnl_attr_nest_end(message, tuple);
}

void put_state(nlmsghdr* message, const Job& job) {
  std::uint32_t status = IPS_CONFIRMED | IPS_SEEN_REPLY;
  if (job.protocol == IPPROTO_TCP) status |= IPS_ASSURED;
  mnl_attr_put_u32(message, CTA_STATUS, htonl(status));
  mnl_attr_put_u32(message, CTA_TIMEOUT, htonl(job.timeout));
  if (job.protocol == IPPROTO_TCP) {
    nlattr* info = mnl_attr_nest_start(message, CTA_PROTOINFO);
    nlattr* tcp = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);
    mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
    mnl_attr_nest_end(message, tcp);
    mnl_attr_nest_end(message, info);
  }
  if (job.snat != 0) {
    nlattr* nat = mnl_attr_nest_start(message, CTA_NAT_SRC);
    mnl_attr_put_u32(message, CTA_NAT_V4_MINIP, job.snat);
    mnl_attr_nest_end(message, nat);
  }
}

void put_request(nlmsghdr* message, const Job& job, std::uint32_t number, bool last) {
  constexpr std::uint16_t kCreate = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
  constexpr std::uint16_t kDelete = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
  message->nlmsg_type = job.action == Action::remove ? kDelete : kCreate;
  // Errors always come back; the acknowledgement is asked for once a batch, to know that the batch is done.
  message->nlmsg_flags = static_cast<std::uint16_t>(
      NLM_F_REQUEST | (job.action == Action::create ? NLM_F_CREATE | NLM_F_EXCL : 0) | (last ? NLM_F_ACK : 0));
  message->nlmsg_seq = last ? 1 : 0;
  auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  family->nfgen_family = AF_INET;
  family->version = NFNETLINK_V0;
  family->res_id = 0;

  const std::uint32_t flows = job.flows == 0 ? job.count : job.flows;
  const auto flow = static_cast<std::uint32_t>(std::uint64_t{number} * job.step % flows);
  const Endpoint source = source_of(job.first + flow);
  const Endpoint destination{htonl(0xc0000201U), htons(80)};
  put_tuple(message, CTA_TUPLE_ORIG, job.protocol, source, destination);
  if (job.action == Action::create) {
    put_tuple(message, CTA_TUPLE_REPLY, job.protocol, destination, source);
    put_state(message, job);
  }
  if (job.action == Action::change) mnl_attr_put_u32(message, CTA_MARK, htonl(number / flows + 1));
}

// Reads answers until the acknowledgement of the last message of a batch; returns the number of errors, -1 if the
// socket failed.
long collect(mnl_socket* socket) {
  static std::array<char, 256 * 1024> buffer;
  long errors = 0;
  for (;;) {
    const auto size = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (size < 0) return -1;
    int left = static_cast<int>(size);
    for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_type != NLMSG_ERROR) continue;
      const auto* answer = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
      if (answer->error != 0) {
        if (errors++ == 0) fmt::print(stderr, "flowgen: {}\n", std::strerror(-answer->error));
      }
      if (message->nlmsg_seq == 1) return errors;
    }
  }
}

// Sends flows number [from, to) in one batch and waits until they are there; returns the number of errors, -1 if the
// socket failed.
long put_batch(mnl_socket* socket, const Job& job, std::uint32_t from, std::uint32_t to) {
  static std::array<char, kBatchBytes> buffer;
  std::size_t used = 0;
  for (auto n = from; n < to; ++n) {
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data() + used);
    put_request(message, job, n, n + 1 == to);
    used += MNL_ALIGN(message->nlmsg_len);
  }
  return mnl_socket_sendto(socket, buffer.data(), used) < 0 ? -1 : collect(socket);
}

// A packet for each of the flows; returns the number of errors.
long send_packets(int socket, const Job& job, std::uint32_t from, std::uint32_t to) {
  long errors = 0;
  for (auto n = from; n < to; ++n) {
    const auto [address, port] = source_of(job.first + n);
    sockaddr_in destination{.sin_family = AF_INET, .sin_port = port, .sin_addr = {address}, .sin_zero = {}};
    const auto* name = reinterpret_cast<const sockaddr*>(&destination);
    if (::sendto(socket, "", 1, 0, name, sizeof destination) != 1) ++errors;
  }
  return errors;
}

// The file of --times in memory; nullptr without one.
std::uint64_t* open_times(const Job& job) {
  if (job.times == nullptr) return nullptr;
  const std::size_t size = job.count * sizeof(std::uint64_t);
  const int file = ::open(job.times, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(size)) != 0) return nullptr;
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
  ::close(file);
  return data == MAP_FAILED ? nullptr : static_cast<std::uint64_t*>(data);
}

std::optional<Outcome> perform(mnl_socket* netlink, int udp, const Job& job) {
  std::uint64_t* const times = open_times(job);
  if (times == nullptr && job.times != nullptr) return std::nullopt;
  const auto start = Steady::now();
  // At a rate flows come one after the other, as on a real firewall: a batch holds what is due in 50 microseconds.
  const std::uint32_t step = job.rate == 0 ? kBatchFlows : std::clamp(job.rate / 20000, 1U, kBatchFlows);
  ::prctl(PR_SET_TIMERSLACK, 1000UL);  // nanoseconds
  Outcome outcome;
  auto last = start;
  while (outcome.done < job.count && g_stop == 0) {
    const std::uint32_t end = std::min(outcome.done + step, job.count);
    if (times != nullptr) {
      const std::chrono::nanoseconds begun = Steady::now().time_since_epoch();
      std::fill(times + outcome.done, times + end, static_cast<std::uint64_t>(begun.count()));
    }
    const long failed = job.action == Action::send ? send_packets(udp, job, outcome.done, end)
                                                   : put_batch(netlink, job, outcome.done, end);
    outcome.done = end;
    if (failed < 0) return std::nullopt;
    outcome.errors += failed;
    if (job.rate == 0) continue;
    const auto now = Steady::now();
    outcome.pause = std::max(outcome.pause, now - std::exchange(last, now));
    std::this_thread::sleep_until(start + std::chrono::duration<double>(1.0 * outcome.done / job.rate));
  }
  return outcome;
}

std::optional<std::uint32_t> number_of(std::string_view word) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

std::optional<Job> parse(int count, char** words) {
  if (count < 3) return std::nullopt;
  Job job;
  const std::string_view action = words[1];
  if (action == "delete") {
    job.action = Action::remove;
  } else if (action == "send") {
    job.action = Action::send;
  } else if (action == "change") {
    job.action = Action::change;
  } else if (action != "create") {
    return std::nullopt;
  }
  const auto flows = number_of(words[2]);
  if (!flows) return std::nullopt;
  job.count = *flows;
  for (int i = 3; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "tcp" || word == "udp") {
      job.protocol = word == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
      continue;
    }
    if (++i == count) return std::nullopt;
    if (word == "--snat") {
      if (inet_pton(AF_INET, words[i], &job.snat) != 1) return std::nullopt;
      continue;
    }
    if (word == "--times") {
      job.times = words[i];
      continue;
    }
    const auto value = number_of(words[i]);
    if (!value) return std::nullopt;
    if (word == "--rate") {
      job.rate = *value;
    } else if (word == "--first") {
      job.first = *value;
    } else if (word == "--flows") {
      job.flows = *value;
    } else if (word == "--step") {
      job.step = *value;
    } else if (word == "--timeout") {
      job.timeout = *value;
    } else {
      return std::nullopt;
    }
  }
  return job;
}

}  // namespace

int main(int argc, char** argv) {
  const auto job = parse(argc, argv);
  if (!job) {
    fmt::print(stderr,
               "usage: flowgen create|delete COUNT [tcp|udp] [--rate PER_SECOND] [--first N] [--timeout SECONDS] "
               "[--snat ADDRESS]\n       flowgen change COUNT [tcp|udp] [--rate PER_SECOND] [--first N] [--flows N] "
               "[--step N]\n       flowgen send COUNT [--rate PER_SECOND] [--first N]\n");
    return 2;
  }
  mnl_socket* socket = mnl_socket_open(NETLINK_NETFILTER);
  if (socket == nullptr || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
    fmt::print(stderr, "flowgen: netlink: {}\n", std::strerror(errno));
    return 1;
  }
  const int udp = ::socket(AF_INET, SOCK_DGRAM, 0);
  const auto start = Steady::now();
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  const auto outcome = perform(socket, udp, *job);
  const std::chrono::duration<double> taken = Steady::now() - start;
  if (!outcome) {
    fmt::print(stderr, "flowgen: netlink: {}\n", std::strerror(errno));
    return 1;
  }
  constexpr std::array kDone{"created", "deleted", "sent", "changed"};
  fmt::print("{} {} errors {} seconds {:.3f}", kDone.at(static_cast<std::size_t>(job->action)),
             static_cast<long>(outcome->done) - outcome->errors, outcome->errors, taken.count());
  if (job->rate != 0) fmt::print(" pause {:.6f}", std::chrono::duration<double>(outcome->pause).count());
  fmt::print("\n");
  mnl_socket_close(socket);
  return outcome->errors == 0 ? 0 : 1;
}
