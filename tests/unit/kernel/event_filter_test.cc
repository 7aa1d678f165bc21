// SPDX-License-Identifier: GPL-2.0-or-later
// The compiled event filter says the same as FlowFilter: programs run in the kernel, on a datagram socket of our own,
// over event messages that are recorded or built here.
#include "event_filter.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <random>

#include "bpf_program.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/kernel/decode.h"
#include "kernel_messages.h"
#include "netlink_message.h"
#include "request.h"

namespace ctsync::kernel::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

// A pair of connected datagram sockets: what the filter of the second one lets pass comes out there.
class Sieve {
 public:
  explicit Sieve(std::vector<sock_filter> code) {
    int ends[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
    in_.reset(ends[0]);
    out_.reset(ends[1]);
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    EXPECT_EQ(0, ::setsockopt(out_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
        << std::strerror(errno) << ", " << code.size() << " instructions";
  }
  bool passes(const Bytes& message) {
    EXPECT_EQ(static_cast<ssize_t>(message.size()), ::send(in_.get(), message.data(), message.size(), 0));
    std::uint8_t room[4096];
    const auto n = ::recv(out_.get(), room, sizeof room, 0);
    if (n < 0) return false;
    EXPECT_EQ(message.size(), static_cast<std::size_t>(n)) << "cut";
    return true;
  }

 private:
  UniqueFd in_;
  UniqueFd out_;
};

Bytes from_hex(std::string_view text) {
  const auto digit = [](char c) { return static_cast<std::uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10); };
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(digit(text[i]) << 4 | digit(text[i + 1])));
  }
  return bytes;
}

struct Ports {
  std::uint16_t src = 1;
  std::uint16_t dst = 2;
};

void put_tuple(Request& r, unsigned type, Family family, std::uint8_t l4, const Address& src, const Address& dst,
               const Ports& ports) {
  const Nest tuple(r, type);
  const std::size_t size = family == Family::ipv4 ? 4 : 16;
  {
    const Nest ip(r, CTA_TUPLE_IP);
    r.bytes(family == Family::ipv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, src.data(), size);
    r.bytes(family == Family::ipv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, dst.data(), size);
  }
  const Nest proto(r, CTA_TUPLE_PROTO);
  r.u8(CTA_PROTO_NUM, l4);
  r.be16(CTA_PROTO_SRC_PORT, ports.src);
  r.be16(CTA_PROTO_DST_PORT, ports.dst);
}

struct Event {
  Family family = Family::ipv4;
  std::uint8_t l4 = kTcp;
  Address src{};
  Address dst{};
  Address reply_src{};
  Ports ports;
  Ports reply_ports;
  int tcp_state = -1;
  bool destroyed = false;
};

Bytes message(const Event& e) {
  Bytes bytes(1024);
  Request r(bytes, e.destroyed ? kFlowDelete : kFlowNew, NLM_F_CREATE, 0, e.family);
  put_tuple(r, CTA_TUPLE_ORIG, e.family, e.l4, e.src, e.dst, e.ports);
  put_tuple(r, CTA_TUPLE_REPLY, e.family, e.l4, e.reply_src, e.src, e.reply_ports);
  r.be32(CTA_STATUS, 8);
  if (e.tcp_state >= 0) {
    const Nest info(r, CTA_PROTOINFO);
    const Nest tcp(r, CTA_PROTOINFO_TCP);
    r.u8(CTA_PROTOINFO_TCP_STATE, static_cast<std::uint8_t>(e.tcp_state));
  }
  bytes.resize(r.size());
  return bytes;
}

bool accepts(const FlowFilter& filter, const Bytes& message) {
  FlowRecord record;
  const auto body = std::span(message).subspan(NLMSG_HDRLEN);
  EXPECT_EQ(DecodeStatus::ok, decode_flow(body, {}, record));
  std::uint16_t type = 0;
  std::memcpy(&type, message.data() + 4, sizeof type);
  return filter.accepts(record.flow, type == kFlowDelete);
}

Address v4(std::uint32_t n) {
  Address a{};
  for (unsigned i = 0; i < 4; ++i) a[i] = static_cast<std::uint8_t>(n >> (24 - 8 * i));
  return a;
}

// Random addresses and networks that meet often: few values a byte, in the first, a middle and the last word.
class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  unsigned below(unsigned n) { return static_cast<unsigned>(engine_() % n); }
  bool coin() { return below(2) == 0; }

  Address address(Family family) {
    static constexpr std::uint8_t kBytes[] = {0, 1, 127, 128, 254, 255};
    Address a{};
    for (const unsigned i :
         family == Family::ipv4 ? std::vector<unsigned>{0, 1, 2, 3} : std::vector<unsigned>{0, 3, 4, 7, 8, 15}) {
      a[i] = kBytes[below(6)];
    }
    return a;
  }
  NetworkSet networks() {
    NetworkSet set;
    const unsigned count = below(4) == 0 ? 0 : 1 + below(40);
    for (unsigned i = 0; i < count; ++i) {
      const Family family = coin() ? Family::ipv4 : Family::ipv6;
      const unsigned bits = family == Family::ipv4 ? 32 : 128;
      const unsigned prefix = below(30) == 0 ? 0 : bits - below(bits < 100 && coin() ? 12 : bits);
      set.add(family, address(family), static_cast<std::uint8_t>(prefix));
    }
    return set;
  }
  FilterAction action() { return coin() ? FilterAction::accept : FilterAction::ignore; }
  FlowFilter filter() {
    FlowFilter f;
    if (coin()) {
      std::vector<std::uint8_t> protocols;
      for (unsigned i = below(5); i > 0; --i) protocols.push_back(protocol());
      f.set_protocols(action(), protocols);
    }
    if (below(3) != 0) f.set_addresses(action(), networks());
    if (coin()) f.set_tcp_states(action(), FlowFilter::TcpStates(below(1U << 16)));
    if (below(3) == 0) f.set_ports(action(), ports());
    return f;
  }
  std::uint16_t port() {
    static constexpr std::uint16_t kPorts[] = {0, 1, 80, 81, 82, 443, 0x100, 0x8000, 65534, 65535};
    return kPorts[below(10)];
  }
  std::vector<std::uint16_t> ports() {
    std::vector<std::uint16_t> list;
    for (unsigned i = below(6); i > 0; --i) list.push_back(port());
    return list;
  }
  std::uint8_t protocol() {
    static constexpr std::uint8_t kProtocols[] = {kTcp, kTcp, kUdp, kIcmp, kSctp, 0, 255, 50, kGre, kUdpLite};
    return kProtocols[below(10)];
  }
  Event event() {
    Event e;
    e.family = coin() ? Family::ipv4 : Family::ipv6;
    e.l4 = protocol();
    e.src = address(e.family);
    e.dst = address(e.family);
    e.reply_src = coin() ? e.dst : address(e.family);
    e.ports = {port(), port()};
    e.reply_ports = {coin() ? e.ports.dst : port(), e.ports.src};
    if (e.l4 == kTcp && below(4) != 0) e.tcp_state = static_cast<int>(below(20));
    e.destroyed = below(4) == 0;
    return e;
  }

 private:
  std::mt19937_64 engine_;
};

TEST(EventFilter, SaysWhatTheUserSpaceFilterSays) {
  Random random(7);
  unsigned passed = 0;
  unsigned dropped = 0;
  for (int i = 0; i < 400; ++i) {
    const auto filter = random.filter();
    Sieve sieve(compile_event_filter(filter));
    for (int k = 0; k < 100; ++k) {
      const auto m = message(random.event());
      const bool wanted = accepts(filter, m);
      ASSERT_EQ(wanted, sieve.passes(m)) << "filter " << i << ", event " << k;
      ++(wanted ? passed : dropped);
    }
  }
  EXPECT_GT(passed, 4000U);
  EXPECT_GT(dropped, 4000U);
}

TEST(EventFilter, JudgesRecordedMessages) {
  const std::pair<const char*, bool> kRecorded[] = {{kRelatedNew, true},  {kRelatedDestroy, true}, {kMasterNew, true},
                                                    {kSctpNew, false},    {kPingNew, false},       {kOrigZone, false},
                                                    {kPingDestroy, false}};
  FlowFilter tcp;
  tcp.set_protocols(FilterAction::accept, {kTcp});
  Sieve sieve(compile_event_filter(tcp));
  for (const auto& [text, is_tcp] : kRecorded) {
    EXPECT_EQ(is_tcp, sieve.passes(from_hex(text))) << text;
    EXPECT_EQ(is_tcp, accepts(tcp, from_hex(text))) << text;
  }
  // 10.0.0.1 to 10.0.1.2, behind which stands 192.0.2.9 in the reply.
  for (const auto& [address, match] : {std::pair{0x0a000001U, true}, {0x0a000102U, true}, {0xc0000209U, false}}) {
    FlowFilter f;
    NetworkSet set;
    set.add(Family::ipv4, v4(address), 32);
    f.set_addresses(FilterAction::accept, set);
    EXPECT_EQ(match, Sieve(compile_event_filter(f)).passes(from_hex(kRelatedNew))) << address;
    EXPECT_EQ(match, accepts(f, from_hex(kRelatedNew))) << address;
  }
}

// They are judged by their helper and their master, not by this filter.
TEST(EventFilter, ExpectationsPass) {
  FlowFilter nothing;
  nothing.set_protocols(FilterAction::accept, {});
  Sieve sieve(compile_event_filter(nothing));
  EXPECT_TRUE(sieve.passes(from_hex(kExpectNew)));
  EXPECT_FALSE(sieve.passes(from_hex(kRelatedNew)));
}

TEST(EventFilter, TheEndOfAFlowPassesTheStateFilter) {
  FlowFilter f;
  f.set_tcp_states(FilterAction::accept, FlowFilter::TcpStates(1U << 3));
  Sieve sieve(compile_event_filter(f));
  Event e;
  e.tcp_state = 7;
  EXPECT_FALSE(sieve.passes(message(e)));
  e.destroyed = true;
  EXPECT_TRUE(sieve.passes(message(e)));
}

TEST(EventFilter, ManyNetworksFitAndStayExact) {
  std::mt19937 random(3);
  FlowFilter f;
  NetworkSet set;
  for (std::uint32_t i = 0; i < 400; ++i)
    set.add(Family::ipv4, v4(0x0a000000U | static_cast<std::uint32_t>(random() & 0xfffff) << 2), 30);
  f.set_addresses(FilterAction::ignore, set);
  const auto code = compile_event_filter(f);
  ASSERT_LE(code.size(), std::size_t{BPF_MAXINSNS});
  ASSERT_GT(code.size(), 400U);
  Sieve sieve(code);
  int dropped = 0;
  for (int i = 0; i < 20000; ++i) {
    Event e;
    e.src = v4(0x0a000000U | static_cast<std::uint32_t>(random() & 0x3fffff));
    e.reply_src = e.dst = v4(0xc0000201U);
    const auto m = message(e);
    const bool wanted = accepts(f, m);
    ASSERT_EQ(wanted, sieve.passes(m));
    dropped += !wanted;
  }
  EXPECT_GT(dropped, 3);
}

TEST(EventFilter, ManyPortsFitAndMoreAreLeftToUserSpace) {
  std::vector<std::uint16_t> list;
  for (std::uint16_t i = 0; i < 400; ++i) list.push_back(static_cast<std::uint16_t>(3 + 160 * i));
  FlowFilter f;
  f.set_ports(FilterAction::accept, list);
  const auto code = compile_event_filter(f);
  ASSERT_LE(code.size(), std::size_t{BPF_MAXINSNS} / 2);
  Sieve sieve(code);
  std::mt19937 random(5);
  int passed = 0;
  for (int i = 0; i < 20000; ++i) {
    Event e;
    e.ports.dst = static_cast<std::uint16_t>(random());
    e.reply_ports.src = random() % 2 == 0 ? e.ports.dst : static_cast<std::uint16_t>(random());
    const auto m = message(e);
    const bool wanted = accepts(f, m);
    ASSERT_EQ(wanted, sieve.passes(m)) << e.ports.dst << " " << e.reply_ports.src;
    passed += wanted;
  }
  EXPECT_GT(passed, 50);
  list.push_back(1);
  f.set_ports(FilterAction::accept, list);
  Event e;
  e.ports.dst = e.reply_ports.src = 2;
  EXPECT_FALSE(accepts(f, message(e)));
  EXPECT_TRUE(Sieve(compile_event_filter(f)).passes(message(e)));
}

// What does not fit is left to user space: the program drops nothing that FlowFilter would keep, and still judges the
// rest.
TEST(EventFilter, TooManyNetworksAreLeftToUserSpace) {
  FlowFilter f;
  NetworkSet set;
  for (std::uint32_t i = 0; i < 5000; ++i) set.add(Family::ipv4, v4(0x0a000000U + i * 512), 24);
  set.add(Family::ipv6, Address{0x20, 1, 0xd, 0xb8}, 32);
  f.set_addresses(FilterAction::ignore, set);
  f.set_protocols(FilterAction::ignore, {kUdp});
  const auto code = compile_event_filter(f);
  ASSERT_LE(code.size(), std::size_t{BPF_MAXINSNS});
  Sieve sieve(code);
  Event e;
  e.src = v4(0x0a000001U);
  EXPECT_FALSE(accepts(f, message(e)));
  EXPECT_TRUE(sieve.passes(message(e)));
  e.l4 = kUdp;
  EXPECT_FALSE(sieve.passes(message(e)));
  Event six;
  six.family = Family::ipv6;
  six.src = {0x20, 1, 0xd, 0xb8, 1};
  EXPECT_FALSE(sieve.passes(message(six)));
}

TEST(EventFilter, KeepsTheLimitItIsGiven) {
  FlowFilter f;
  NetworkSet set;
  for (std::uint32_t i = 0; i < 100; ++i) set.add(Family::ipv4, v4(0x0a000000U + i * 512), 24);
  f.set_addresses(FilterAction::accept, set);
  EXPECT_GT(compile_event_filter(f).size(), 300U);
  const auto small = compile_event_filter(f, 200);
  EXPECT_LE(small.size(), 200U);
  EXPECT_TRUE(Sieve(small).passes(message(Event{})));
}

// The depth of the search, not the number of networks, is what a message costs.
TEST(EventFilter, HostsOfIPv6AreFoundWordByWord) {
  Random random(11);
  FlowFilter f;
  NetworkSet set;
  for (int i = 0; i < 60; ++i) set.add(Family::ipv6, random.address(Family::ipv6), 128);
  f.set_addresses(FilterAction::accept, set);
  const auto code = compile_event_filter(f);
  Sieve sieve(code);
  for (const auto& n : set.list(Family::ipv6)) {
    Event e;
    e.family = Family::ipv6;
    e.src = n.address;
    EXPECT_TRUE(sieve.passes(message(e)));
    e.src[15] ^= 2;
    EXPECT_EQ(accepts(f, message(e)), sieve.passes(message(e)));
  }
}

TEST(BpfProgram, FarTargetsAreReached) {
  BpfProgram p;
  const auto drop = p.ret(0);
  const auto pass = p.ret(0xffffffff);
  auto next = p.jump_if(BPF_JEQ, 1000, pass, drop);
  for (std::uint32_t i = 0; i < 1000; ++i) next = p.jump_if(BPF_JEQ, i, pass, next);
  // 4 instructions a jump at most; here one in about 250 is a bridge.
  EXPECT_LT(p.size(), 1020U);
  p.load(BPF_LD | BPF_B | BPF_ABS, 0, next);
  Sieve sieve(p.finish());
  EXPECT_TRUE(sieve.passes({200, 0}));
  EXPECT_TRUE(sieve.passes({0, 0}));
}

}  // namespace
}  // namespace ctsync::kernel::test
