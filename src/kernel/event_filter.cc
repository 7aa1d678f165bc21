// SPDX-License-Identifier: GPL-2.0-or-later
#include "event_filter.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <map>
#include <span>
#include <utility>

#include "bpf_program.h"
#include "ctsync/base/bytes.h"

namespace ctsync::kernel {
namespace {

using Label = BpfProgram::Label;

constexpr std::uint32_t kFamilyAt = NLMSG_HDRLEN;  // nfgenmsg::nfgen_family
constexpr std::uint32_t kAttributesAt = NLMSG_HDRLEN + sizeof(nfgenmsg);
// The two bytes of nlmsghdr::nlmsg_type, which is in host byte order.
constexpr bool kLittle = std::endian::native == std::endian::little;
constexpr std::uint32_t kCommandAt = kLittle ? 4 : 5;
constexpr std::uint32_t kSubsystemAt = kLittle ? 5 : 4;

constexpr std::uint16_t kLoadByte = BPF_LD | BPF_B | BPF_ABS;
constexpr std::uint16_t kLoadByteFromX = BPF_LD | BPF_B | BPF_IND;
constexpr std::uint16_t kLoadHalfFromX = BPF_LD | BPF_H | BPF_IND;
constexpr std::uint16_t kLoadWordFromX = BPF_LD | BPF_W | BPF_IND;

// More ports are left to user space: each is two steps of a search, for both directions.
constexpr std::size_t kMostPorts = 400;

// What is done with values from `start` up to the next segment's.
struct Segment {
  std::uint32_t start;
  Label target;
};

class Compiler {
 public:
  // `families`: those whose addresses are judged.
  Compiler(const FlowFilter& filter, bool ipv4, bool ipv6) : filter_(filter), ipv4_(ipv4), ipv6_(ipv6) {
    drop_ = program_.ret(0);
    pass_ = program_.ret(0xffffffff);
  }

  std::vector<sock_filter> compile(std::span<const std::uint32_t> hidden) {
    // Last criterion first, as everything is written backwards.
    Label next = pass_;
    if (filter_.address_action()) next = addresses(*filter_.address_action(), next);
    if (filter_.port_action() && filter_.ports().size() <= kMostPorts) next = ports(*filter_.port_action(), next);
    if (filter_.state_action()) next = states(*filter_.state_action(), next);
    if (filter_.protocol_action()) next = protocol(next);
    next = program_.jump_if(BPF_JEQ, NFNL_SUBSYS_CTNETLINK, next, pass_);
    next = program_.load(kLoadByte, kSubsystemAt, next);
    // A load takes the word for one in network order, but the port id is in the host's.
    for (const auto port : hidden) next = program_.jump_if(BPF_JEQ, network_order(port), drop_, next);
    if (!hidden.empty()) program_.load(BPF_LD | BPF_W | BPF_ABS, offsetof(nlmsghdr, nlmsg_pid), next);
    return program_.finish();
  }

 private:
  // One of the targets by the value of the accumulator: a binary search. `segments` are sorted and begin with 0.
  Label decide(std::span<const Segment> segments) {
    if (segments.size() == 1) return segments.front().target;
    const auto middle = segments.size() / 2;
    const Label high = decide(segments.subspan(middle));
    const Label low = decide(segments.first(middle));
    return program_.jump_if(BPF_JGE, segments[middle].start, high, low);
  }

  // Of the values 0 to N - 1 those with their bit set go to `yes`, the others to `no`; anything greater to `beyond`.
  template <std::size_t N>
  Label decide_bits(const std::bitset<N>& bits, Label yes, Label no, Label beyond) {
    std::vector<Segment> segments;
    for (std::uint32_t value = 0; value <= N; ++value) {
      const Label target = value == N ? beyond : bits.test(value) ? yes : no;
      if (segments.empty() || segments.back().target != target) segments.push_back({value, target});
    }
    return decide(segments);
  }

  // Finds the attribute at the end of the path, one nested in the other, and goes on with its offset in X; to `missing`
  // if there is none.
  Label find(std::initializer_list<std::uint32_t> path, Label found, Label missing) {
    Label next = program_.load(BPF_MISC | BPF_TAX, 0, found);
    for (auto type = std::rbegin(path); type != std::rend(path); ++type) {
      const bool outermost = std::next(type) == std::rend(path);
      next = program_.jump_if(BPF_JEQ, 0, missing, next);
      next = program_.load(BPF_LD | BPF_W | BPF_ABS,
                           static_cast<std::uint32_t>(SKF_AD_OFF + (outermost ? SKF_AD_NLATTR : SKF_AD_NLATTR_NEST)),
                           next);
      next = program_.load(BPF_LDX | BPF_W | BPF_IMM, *type, next);
    }
    return program_.load(BPF_LD | BPF_W | BPF_IMM, kAttributesAt, next);
  }

  Label find_protocol(Label found) {
    const Label next = program_.load(kLoadByteFromX, NLA_HDRLEN, found);
    return find({CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM}, next, pass_);
  }

  Label protocol(Label next) {
    const bool accept = *filter_.protocol_action() == FilterAction::accept;
    return find_protocol(decide_bits(filter_.protocols(), accept ? next : drop_, accept ? drop_ : next, next));
  }

  // TCP flows with a known state, and not their end.
  Label states(FilterAction action, Label next) {
    const bool accept = action == FilterAction::accept;
    Label test = decide_bits(filter_.tcp_states(), accept ? next : drop_, accept ? drop_ : next, next);
    test = program_.load(kLoadByteFromX, NLA_HDRLEN, test);
    test = find({CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE}, test, next);
    test = find_protocol(program_.jump_if(BPF_JEQ, kTcp, test, next));
    test = program_.jump_if(BPF_JEQ, IPCTNL_MSG_CT_DELETE, next, test);
    return program_.load(kLoadByte, kCommandAt, test);
  }

  // The original destination, then the reply source, of protocols that have ports; GRE has keys in their place.
  Label ports(FilterAction action, Label next) {
    const Label hit = action == FilterAction::accept ? next : drop_;
    const Label miss = action == FilterAction::accept ? drop_ : next;
    const Label reply = find({CTA_TUPLE_REPLY, CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT}, match_port(hit, miss), pass_);
    const Label test = find({CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT}, match_port(hit, reply), pass_);
    std::bitset<256> with_ports;
    for (const auto l4 : {kTcp, kUdp, kSctp, kDccp, kUdpLite}) with_ports.set(l4);
    return find_protocol(decide_bits(with_ports, test, next, next));
  }

  // Whether the port of the attribute at X is in the list.
  Label match_port(Label hit, Label miss) {
    std::vector<Segment> segments{{0, miss}};
    const auto from = [&segments](std::uint32_t start, Label target) {
      if (segments.back().start == start) segments.pop_back();
      if (segments.empty() || segments.back().target != target) segments.push_back({start, target});
    };
    for (const auto port : filter_.ports()) {
      from(port, hit);
      from(port + 1U, miss);
    }
    return program_.load(kLoadHalfFromX, NLA_HDRLEN, decide(segments));
  }

  Label addresses(FilterAction action, Label next) {
    const Label hit = action == FilterAction::accept ? next : drop_;
    const Label miss = action == FilterAction::accept ? drop_ : next;
    Label test = program_.jump_if(BPF_JEQ, AF_INET6, ipv6_ ? either_end(Family::ipv6, hit, miss) : next, next);
    test = program_.jump_if(BPF_JEQ, AF_INET, ipv4_ ? either_end(Family::ipv4, hit, miss) : next, test);
    return program_.load(kLoadByte, kFamilyAt, test);
  }

  // Original source, then reply source.
  Label either_end(Family family, Label hit, Label miss) {
    const auto networks = filter_.networks().list(family);
    if (networks.empty()) return miss;
    const std::uint32_t source = family == Family::ipv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC;
    const Label reply = find({CTA_TUPLE_REPLY, CTA_TUPLE_IP, source}, match(networks, 0, hit, miss), pass_);
    return find({CTA_TUPLE_ORIG, CTA_TUPLE_IP, source}, match(networks, 0, hit, reply), pass_);
  }

  // Whether the address of the attribute at X is in one of `networks`, which agree in all 32-bit words before `word`.
  // Networks that end within this word are ranges of its values; of those that reach farther each value leads to the
  // next word.
  Label match(const std::vector<Network>& networks, unsigned word, Label hit, Label miss) {
    const unsigned before = 32 * word;
    struct Range {
      std::uint64_t first;
      std::uint64_t end;
    };
    std::vector<Range> ranges;
    std::map<std::uint32_t, std::vector<Network>> deeper;
    for (const auto& n : networks) {
      if (n.prefix <= before) return hit;
      const auto* bytes = n.address.data() + std::size_t{4} * word;
      const auto value =
          std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
      if (n.prefix <= before + 32) {
        ranges.push_back({value, value + (std::uint64_t{1} << (before + 32 - n.prefix))});
      } else {
        deeper[value].push_back(n);
      }
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.first < b.first; });

    std::vector<Segment> segments{{0, miss}};
    const auto from = [&](std::uint64_t start, Label target) {
      if (start > 0xffffffffU) return;
      if (segments.back().start == start) segments.pop_back();
      if (segments.empty() || segments.back().target != target) {
        segments.push_back({static_cast<std::uint32_t>(start), target});
      }
    };
    auto point = deeper.begin();
    const auto points_until = [&](std::uint64_t end) {
      for (; point != deeper.end() && point->first < end; ++point) {
        if (program_.size() > BPF_MAXINSNS) return;  // lost already
        from(point->first, match(point->second, word + 1, hit, miss));
        from(std::uint64_t{point->first} + 1, miss);
      }
    };
    std::uint64_t covered = 0;  // end of the ranges so far
    for (const auto& r : ranges) {
      if (r.end <= covered) continue;  // within the one before
      points_until(r.first);
      from(r.first, hit);
      from(r.end, miss);
      covered = r.end;
      while (point != deeper.end() && point->first < covered) ++point;
    }
    points_until(std::uint64_t{1} << 32);
    return program_.load(kLoadWordFromX, NLA_HDRLEN + 4 * word, decide(segments));
  }

  const FlowFilter& filter_;
  const bool ipv4_;
  const bool ipv6_;
  BpfProgram program_;
  Label drop_;
  Label pass_;
};

}  // namespace

std::vector<sock_filter> compile_event_filter(const FlowFilter& filter, std::size_t limit,
                                              std::span<const std::uint32_t> hidden) {
  std::vector<sock_filter> program;
  for (const auto& [ipv4, ipv6] : {std::pair{true, true}, {true, false}, {false, true}, {false, false}}) {
    program = Compiler(filter, ipv4, ipv6).compile(hidden);
    if (program.size() <= limit) break;
  }
  return program;
}

}  // namespace ctsync::kernel
