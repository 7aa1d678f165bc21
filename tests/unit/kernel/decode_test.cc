// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/decode.h"

#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <random>
#include <string_view>
#include <vector>

#include "kernel_messages.h"

namespace ctsync::kernel::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kNetlinkHeader = 16;

Bytes from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  Bytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<std::uint8_t>(digit(hex[i]) << 4 | digit(hex[i + 1])));
  }
  return out;
}

Bytes body_of(std::string_view hex) {
  const auto all = from_hex(hex);
  return Bytes(all.begin() + kNetlinkHeader, all.end());
}

FlowRecord decode_hex(std::string_view hex, DecodeOptions options = {}) {
  FlowRecord r;
  EXPECT_EQ(DecodeStatus::ok, decode_flow(body_of(hex), options, r));
  return r;
}

// ---- a builder of attributes that shares nothing with the program's own encoder

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes attr(unsigned type, const Bytes& data) {
  const auto n = data.size() + 4;
  Bytes out{static_cast<std::uint8_t>(n & 0xff), static_cast<std::uint8_t>(n >> 8),
            static_cast<std::uint8_t>(type & 0xff), static_cast<std::uint8_t>(type >> 8)};
  out = out + data;
  while (out.size() % 4 != 0) out.push_back(0);
  return out;
}
Bytes be(std::uint64_t v, unsigned size) {
  Bytes out;
  for (unsigned i = size; i-- > 0;) out.push_back(static_cast<std::uint8_t>(v >> (8 * i)));
  return out;
}
Bytes family(std::uint8_t f) { return {f, 0, 0, 0}; }
Bytes text(std::string_view s) { return Bytes(s.begin(), s.end()) + Bytes{0}; }

Bytes ip4() { return attr(CTA_TUPLE_IP, attr(CTA_IP_V4_SRC, {10, 0, 0, 1}) + attr(CTA_IP_V4_DST, {10, 0, 0, 2})); }
Bytes ip4_back() { return attr(CTA_TUPLE_IP, attr(CTA_IP_V4_SRC, {10, 0, 0, 2}) + attr(CTA_IP_V4_DST, {10, 0, 0, 1})); }
Bytes proto(std::uint8_t l4, unsigned src = 1000, unsigned dst = 2000) {
  return attr(CTA_TUPLE_PROTO,
              attr(CTA_PROTO_NUM, {l4}) + attr(CTA_PROTO_SRC_PORT, be(src, 2)) + attr(CTA_PROTO_DST_PORT, be(dst, 2)));
}
Bytes orig(std::uint8_t l4 = kTcp) { return attr(CTA_TUPLE_ORIG, ip4() + proto(l4)); }
Bytes reply(std::uint8_t l4 = kTcp) { return attr(CTA_TUPLE_REPLY, ip4_back() + proto(l4, 2000, 1000)); }
Bytes flow(const Bytes& more, std::uint8_t l4 = kTcp) { return family(2) + orig(l4) + reply(l4) + more; }

FlowRecord decode(const Bytes& body, DecodeOptions options = {}) {
  FlowRecord r;
  EXPECT_EQ(DecodeStatus::ok, decode_flow(body, options, r));
  return r;
}
DecodeStatus status_of(const Bytes& body) {
  FlowRecord r;
  return decode_flow(body, {.counters = true}, r);
}

TEST(DecodeFlow, RelatedFlowWithEverything) {
  for (const auto* message : {kRelatedNew, kRelatedDump}) {
    const auto r = decode_hex(message);
    const auto& f = r.flow;
    EXPECT_EQ(Family::ipv4, f.orig.family);
    EXPECT_EQ(kTcp, f.orig.l4);
    EXPECT_EQ((Address{10, 0, 0, 1}), f.orig.src);
    EXPECT_EQ((Address{10, 0, 1, 2}), f.orig.dst);
    EXPECT_EQ(4444, f.orig.src_port);
    EXPECT_EQ(20, f.orig.dst_port);
    EXPECT_EQ(0, f.orig.zone);
    EXPECT_EQ((Address{10, 0, 1, 2}), f.reply_src);
    EXPECT_EQ((Address{192, 0, 2, 9}), f.reply_dst);
    EXPECT_EQ(20, f.reply_src_port);
    EXPECT_EQ(40000, f.reply_dst_port);
    EXPECT_EQ(0x1dfU, f.status);
    EXPECT_NEAR(3000, f.timeout, 1);
    EXPECT_EQ(0xdeadbeefU, f.mark);
    EXPECT_NE(0U, f.id);
    EXPECT_EQ(3, f.proto_state);
    EXPECT_EQ(has::kPorts | has::kReply | has::kStatus | has::kTimeout | has::kMark | has::kId | has::kProtoState |
                  has::kWscaleOrig | has::kWscaleReply | has::kSynproxy | has::kLabels | has::kSeqAdjOrig |
                  has::kSeqAdjReply | has::kMaster | has::kMasterPorts,
              f.present);
    EXPECT_EQ((std::array<std::uint32_t, kLabelWords>{8, 0, 0x80000000, 1}), r.extra.labels);
    EXPECT_EQ(1000U, r.extra.seqadj_orig.correction_pos);
    EXPECT_EQ(0xfffffff0U, r.extra.seqadj_orig.offset_before);
    EXPECT_EQ(16U, r.extra.seqadj_orig.offset_after);
    EXPECT_EQ(2000U, r.extra.seqadj_reply.correction_pos);
    EXPECT_EQ((Address{10, 0, 1, 2}), r.extra.master.dst);
    EXPECT_EQ(3333, r.extra.master.src_port);
    EXPECT_EQ(21, r.extra.master.dst_port);
    EXPECT_EQ(kTcp, r.extra.master.l4);
  }
}

TEST(DecodeFlow, DestroyEventHasStateButNoWindowScale) {
  const auto r = decode_hex(kRelatedDestroy);
  EXPECT_TRUE(r.flow.status & status::kDying);
  EXPECT_TRUE(r.flow.knows(has::kProtoState));
  EXPECT_FALSE(r.flow.present & (has::kWscaleOrig | has::kWscaleReply));
  EXPECT_TRUE(r.flow.knows(has::kMark));
}

TEST(DecodeFlow, HelperName) {
  const auto r = decode_hex(kMasterNew);
  ASSERT_TRUE(r.flow.knows(has::kHelper));
  EXPECT_STREQ("ftp", r.extra.helper.data());
}

TEST(DecodeFlow, SctpOverIpv6InAZone) {
  const auto r = decode_hex(kSctpNew);
  EXPECT_EQ(Family::ipv6, r.flow.orig.family);
  EXPECT_EQ(0x20, r.flow.orig.src[0]);
  EXPECT_EQ(1, r.flow.orig.src[15]);
  EXPECT_EQ(2, r.flow.orig.dst[15]);
  EXPECT_EQ(77, r.flow.orig.zone);
  ASSERT_TRUE(r.flow.knows(has::kZone | has::kProtoState | has::kSctpTags));
  EXPECT_EQ(4, r.flow.proto_state);
  EXPECT_EQ(0x55667788U, r.extra.sctp_vtag_orig);
  EXPECT_EQ(0x11223344U, r.extra.sctp_vtag_reply);
}

TEST(DecodeFlow, Ping) {
  const auto r = decode_hex(kPingNew);
  EXPECT_EQ(kIcmp, r.flow.orig.l4);
  EXPECT_EQ(8, r.flow.orig.icmp_type());
  EXPECT_EQ(0, r.flow.orig.icmp_code());
  EXPECT_EQ(0x1837, r.flow.orig.icmp_id());
  EXPECT_FALSE(r.flow.knows(has::kMark));  // not in the event: unknown, not zero
  EXPECT_TRUE(r.flow.knows(has::kPorts | has::kReply));
  EXPECT_TRUE(r.flow.reply() == inverse(r.flow.orig));
  EXPECT_TRUE(r.flow.knows(has::kLabels));
  EXPECT_EQ((std::array<std::uint32_t, kLabelWords>{8, 0, 0, 0}), r.extra.labels);
}

TEST(DecodeFlow, ZoneOfOneDirectionIsKeyButNoZone) {
  auto r = decode_hex(kOrigZone);
  EXPECT_EQ(5, r.flow.orig.zone);
  EXPECT_FALSE(r.flow.knows(has::kZone));
  EXPECT_FALSE(r.flow.knows(has::kReplyZone));
  r = decode_hex(kReplyZone);
  EXPECT_EQ(0, r.flow.orig.zone);
  EXPECT_FALSE(r.flow.knows(has::kZone));
  ASSERT_TRUE(r.flow.knows(has::kReplyZone));
  EXPECT_EQ(6, r.extra.reply_zone);
}

TEST(DecodeFlow, CountersOnlyOnRequest) {
  EXPECT_FALSE(decode_hex(kPingDestroy).flow.knows(has::kCounters));
  const auto r = decode_hex(kPingDestroy, {.counters = true});
  ASSERT_TRUE(r.flow.knows(has::kCounters));
  EXPECT_EQ(1U, r.extra.counters_orig.packets);
  EXPECT_EQ(84U, r.extra.counters_orig.bytes);
  EXPECT_EQ(84U, r.extra.counters_reply.bytes);
}

TEST(DecodeFlow, CountersHave64Bits) {
  const auto counters = [](unsigned type, std::uint64_t packets, std::uint64_t bytes) {
    return attr(type, attr(CTA_COUNTERS_PACKETS, be(packets, 8)) + attr(CTA_COUNTERS_BYTES, be(bytes, 8)));
  };
  const auto first = counters(CTA_COUNTERS_ORIG, 0x100000001, 0x200000002);
  auto r = decode(flow(first + counters(CTA_COUNTERS_REPLY, 3, 0xffffffffffffffff)), {.counters = true});
  EXPECT_EQ(0x100000001U, r.extra.counters_orig.packets);
  EXPECT_EQ(0x200000002U, r.extra.counters_orig.bytes);
  EXPECT_EQ(0xffffffffffffffffU, r.extra.counters_reply.bytes);
  EXPECT_FALSE(decode(flow(first), {.counters = true}).flow.knows(has::kCounters));
}

TEST(DecodeFlow, WindowScales) {
  const auto r =
      decode(flow(attr(CTA_PROTOINFO, attr(CTA_PROTOINFO_TCP, attr(CTA_PROTOINFO_TCP_STATE, {1}) +
                                                                  attr(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, {7}) +
                                                                  attr(CTA_PROTOINFO_TCP_WSCALE_REPLY, {9})))));
  EXPECT_EQ(1, r.flow.proto_state);
  EXPECT_EQ(7, r.flow.wscale_orig);
  EXPECT_EQ(9, r.flow.wscale_reply);
  EXPECT_TRUE(r.flow.knows(has::kWscaleOrig | has::kWscaleReply));
}

TEST(DecodeFlow, Dccp) {
  const auto r = decode(flow(attr(CTA_PROTOINFO, attr(CTA_PROTOINFO_DCCP, attr(CTA_PROTOINFO_DCCP_STATE, {4}) +
                                                                              attr(CTA_PROTOINFO_DCCP_ROLE, {1}))),
                             kDccp));
  EXPECT_EQ(4, r.flow.proto_state);
  EXPECT_TRUE(r.flow.knows(has::kProtoState | has::kDccpRole | has::kPorts));
  EXPECT_EQ(1, r.extra.dccp_role);
}

TEST(DecodeFlow, NumbersOfEveryProtocolThatHasThem) {
  for (const auto l4 : {kTcp, kUdp, kSctp, kDccp, kUdpLite, kGre}) {
    const auto r = decode(flow({}, l4));
    EXPECT_TRUE(r.flow.knows(has::kPorts));
    EXPECT_EQ(1000, r.flow.orig.src_port);
    EXPECT_EQ(2000, r.flow.orig.dst_port);
    EXPECT_EQ(l4, r.flow.orig.l4);
  }
  const auto none = attr(CTA_TUPLE_PROTO, attr(CTA_PROTO_NUM, {50}));
  const auto r = decode(family(2) + attr(CTA_TUPLE_ORIG, ip4() + none) + attr(CTA_TUPLE_REPLY, ip4_back() + none));
  EXPECT_FALSE(r.flow.knows(has::kPorts));
  EXPECT_EQ(50, r.flow.orig.l4);
}

TEST(DecodeFlow, Icmpv6) {
  const auto six = [](std::uint8_t s, std::uint8_t d) {
    Bytes src(16), dst(16);
    src[15] = s;
    dst[15] = d;
    return attr(CTA_TUPLE_IP, attr(CTA_IP_V6_SRC, src) + attr(CTA_IP_V6_DST, dst));
  };
  const auto echo = attr(CTA_TUPLE_PROTO, attr(CTA_PROTO_NUM, {kIcmpv6}) + attr(CTA_PROTO_ICMPV6_ID, be(0x1234, 2)) +
                                              attr(CTA_PROTO_ICMPV6_TYPE, {128}) + attr(CTA_PROTO_ICMPV6_CODE, {0}));
  const auto r = decode(family(10) + attr(CTA_TUPLE_ORIG, six(1, 2) + echo));
  EXPECT_EQ(128, r.flow.orig.icmp_type());
  EXPECT_EQ(0x1234, r.flow.orig.icmp_id());
  EXPECT_TRUE(r.flow.knows(has::kPorts));
  EXPECT_FALSE(r.flow.knows(has::kReply));
  EXPECT_EQ(1, r.flow.orig.src[15]);
}

TEST(DecodeFlow, SynproxyValuesOnlyUnlessAllZero) {
  const auto synproxy = [](std::uint32_t isn, std::uint32_t its, std::uint32_t tsoff) {
    return attr(CTA_SYNPROXY, attr(CTA_SYNPROXY_ISN, be(isn, 4)) + attr(CTA_SYNPROXY_ITS, be(its, 4)) +
                                  attr(CTA_SYNPROXY_TSOFF, be(tsoff, 4)));
  };
  EXPECT_FALSE(decode(flow(synproxy(0, 0, 0))).flow.present & has::kExtra);
  const auto r = decode(flow(synproxy(1, 2, 3)));
  EXPECT_TRUE(r.flow.knows(has::kSynproxy | has::kSynproxyValues));
  EXPECT_EQ(1U, r.extra.synproxy_isn);
  EXPECT_EQ(2U, r.extra.synproxy_its);
  EXPECT_EQ(3U, r.extra.synproxy_tsoff);
}

TEST(DecodeFlow, LabelsShorterAndLongerThanOurs) {
  auto r = decode(flow(attr(CTA_LABELS, {1, 0, 0, 0})));
  EXPECT_EQ(std::endian::native == std::endian::little ? 1U : 1U << 24, r.extra.labels[0]);
  EXPECT_EQ(0U, r.extra.labels[3]);
  r = decode(flow(attr(CTA_LABELS, Bytes(64, 0xff))));
  EXPECT_EQ(0xffffffffU, r.extra.labels[3]);
}

TEST(DecodeFlow, HelperNameIsCutAndTerminated) {
  auto r = decode(flow(attr(CTA_HELP, attr(CTA_HELP_NAME, Bytes(40, 'x')))));  // no terminating zero at all
  EXPECT_EQ(std::string(kHelperNameSize - 1, 'x'), r.extra.helper.data());
  r = decode(flow(attr(CTA_HELP, attr(CTA_HELP_NAME, {0}))));
  EXPECT_FALSE(r.flow.knows(has::kHelper));
}

TEST(DecodeFlow, IncompleteSequenceAdjustmentIsNone) {
  const auto r = decode(flow(attr(CTA_SEQ_ADJ_ORIG, attr(CTA_SEQADJ_CORRECTION_POS, be(1, 4)))));
  EXPECT_FALSE(r.flow.knows(has::kSeqAdjOrig));
}

TEST(DecodeFlow, NestedAndByteOrderFlagsAndUnknownAttributesAreSkipped) {
  const auto r = decode(family(2) + attr(CTA_TUPLE_ORIG | 0xc000, ip4() + proto(kUdp)) + attr(999, {1, 2, 3}) +
                        attr(CTA_TUPLE_REPLY | 0x8000, ip4_back() + proto(kUdp, 2000, 1000)));
  EXPECT_TRUE(r.flow.knows(has::kReply));
}

TEST(DecodeFlow, Refused) {
  EXPECT_EQ(DecodeStatus::malformed, status_of({}));
  EXPECT_EQ(DecodeStatus::malformed, status_of({2, 0, 0}));
  EXPECT_EQ(DecodeStatus::no_family, status_of(family(0) + orig()));
  EXPECT_EQ(DecodeStatus::no_family, status_of(family(7) + orig()));
  EXPECT_EQ(DecodeStatus::no_addresses, status_of(family(2)));
  EXPECT_EQ(DecodeStatus::no_addresses, status_of(family(2) + reply()));
  EXPECT_EQ(DecodeStatus::no_addresses, status_of(family(10) + orig()));
  const auto half = attr(CTA_TUPLE_IP, attr(CTA_IP_V4_SRC, {10, 0, 0, 1}));
  EXPECT_EQ(DecodeStatus::no_addresses, status_of(family(2) + attr(CTA_TUPLE_ORIG, half + proto(kTcp))));
  EXPECT_EQ(DecodeStatus::malformed, status_of(family(2) + orig(kTcp) + reply(kUdp)));
  const auto short_address = attr(CTA_TUPLE_IP, attr(CTA_IP_V4_SRC, {10, 0, 0}));
  EXPECT_EQ(DecodeStatus::malformed, status_of(family(2) + attr(CTA_TUPLE_ORIG, short_address)));
  const auto mixed = attr(CTA_TUPLE_IP, attr(CTA_IP_V6_SRC, Bytes(16, 1)) + attr(CTA_IP_V4_DST, {10, 0, 0, 2}));
  EXPECT_EQ(DecodeStatus::malformed, status_of(family(2) + attr(CTA_TUPLE_ORIG, mixed + proto(kTcp))));
  // Each attribute too short for what it should hold.
  for (const unsigned type : {CTA_STATUS, CTA_TIMEOUT, CTA_MARK, CTA_ID}) {
    EXPECT_EQ(DecodeStatus::malformed, status_of(flow(attr(type, {1, 2, 3})))) << type;
  }
  EXPECT_EQ(DecodeStatus::malformed, status_of(flow(attr(CTA_ZONE, {1}))));
  // Lengths that lie: 0, below the header, beyond the message, beyond the nest.
  EXPECT_EQ(DecodeStatus::malformed, status_of(flow({0, 0, 1, 0})));
  EXPECT_EQ(DecodeStatus::malformed, status_of(flow({3, 0, 1, 0})));
  EXPECT_EQ(DecodeStatus::malformed, status_of(flow({9, 0, 3, 0, 0, 0, 0, 1})));
  EXPECT_EQ(DecodeStatus::malformed, status_of(flow(attr(CTA_PROTOINFO, {200, 0, 1, 0}))));
}

TEST(DecodeExpectation, FtpWithNat) {
  Expectation e;
  ASSERT_EQ(DecodeStatus::ok, decode_expectation(body_of(kExpectNew), e));
  using namespace expect_has;
  EXPECT_EQ(kMaster | kMasterPorts | kExpected | kExpectedPorts | kMask | kMaskPorts | kTimeout | kFlags | kClass |
                kNat | kNatPorts | kNatDir | kHelper | kFunction,
            e.present);
  EXPECT_EQ(Family::ipv4, e.expected.family);
  EXPECT_EQ((Address{10, 0, 0, 1}), e.master.src);
  EXPECT_EQ(3333, e.master.src_port);
  EXPECT_EQ(21, e.master.dst_port);
  EXPECT_EQ(0, e.expected.src_port);
  EXPECT_EQ(55555, e.expected.dst_port);
  EXPECT_EQ((Address{255, 255, 255, 255}), e.mask.src);
  EXPECT_EQ(0xffff, e.mask.dst_port);
  EXPECT_EQ(300U, e.timeout);
  EXPECT_EQ(0U, e.flags);
  EXPECT_EQ((Address{192, 0, 2, 7}), e.nat.src);
  EXPECT_EQ(1717, e.nat.src_port);
  EXPECT_EQ(1U, e.nat_dir);
  EXPECT_STREQ("ftp", e.helper.data());
  EXPECT_STREQ("nat-follow-master", e.function.data());
}

TEST(DecodeExpectation, ZoneAndRefusals) {
  const auto tuple = [](unsigned type) { return attr(type, ip4() + proto(kTcp)); };
  Expectation e;
  ASSERT_EQ(DecodeStatus::ok,
            decode_expectation(family(2) + tuple(CTA_EXPECT_MASTER) + tuple(CTA_EXPECT_TUPLE) +
                                   attr(CTA_EXPECT_ZONE, be(9, 2)) + attr(CTA_EXPECT_FN, text(std::string(50, 'f'))),
                               e));
  EXPECT_EQ(9, e.zone);
  EXPECT_EQ(9, e.master.zone);
  EXPECT_EQ(std::string(kExpectFunctionSize - 1, 'f'), e.function.data());
  EXPECT_EQ(DecodeStatus::no_addresses, decode_expectation(family(2) + tuple(CTA_EXPECT_MASTER), e));
  EXPECT_EQ(DecodeStatus::no_family, decode_expectation(family(1) + tuple(CTA_EXPECT_TUPLE), e));
  EXPECT_EQ(DecodeStatus::malformed, decode_expectation({}, e));
  EXPECT_EQ(DecodeStatus::malformed,
            decode_expectation(family(2) + tuple(CTA_EXPECT_TUPLE) + attr(CTA_EXPECT_CLASS, {1}), e));
}

// A cut message is refused, or, cut between two attributes, a shorter flow with the same tuple. The buffer has the
// exact size, so that a sanitizer sees any read beyond it.
TEST(DecodeHostile, CutAtEveryByte) {
  for (const auto* message : {kRelatedNew, kRelatedDump, kSctpNew, kPingDestroy}) {
    const auto whole = body_of(message);
    const auto expected = decode_hex(message).flow.orig;
    int refused = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
      FlowRecord r;
      if (decode_flow(cut, {.counters = true}, r) != DecodeStatus::ok) {
        ++refused;
        continue;
      }
      EXPECT_EQ(0, std::memcmp(&expected.src, &r.flow.orig.src, sizeof(Address)));
    }
    EXPECT_GT(refused, 100);
  }
}

TEST(DecodeHostile, RandomMutations) {
  std::mt19937 random(4711);
  std::uint32_t accepted = 0;
  for (const auto* message : {kRelatedNew, kMasterNew, kSctpNew, kOrigZone, kExpectNew}) {
    const auto whole = body_of(message);
    for (int round = 0; round < 20000; ++round) {
      auto bytes = whole;
      for (auto changes = random() % 4 + 1; changes > 0; --changes) {
        bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
      }
      FlowRecord r;
      if (decode_flow(bytes, {.counters = true}, r) == DecodeStatus::ok) {
        ++accepted;
        ASSERT_TRUE(r.flow.orig.family == Family::ipv4 || r.flow.orig.family == Family::ipv6);
        ASSERT_TRUE(!r.flow.knows(has::kHelper) || r.extra.helper.back() == '\0');
      }
      Expectation e;
      if (decode_expectation(bytes, e) == DecodeStatus::ok) {
        ++accepted;
        ASSERT_EQ('\0', e.function.back());
        ASSERT_EQ('\0', e.helper.back());
      }
    }
  }
  EXPECT_GT(accepted, 1000U);
}

}  // namespace
}  // namespace ctsync::kernel::test
