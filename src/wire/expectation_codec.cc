// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/wire/expectation_codec.h"

#include "attributes.h"

namespace ctsync::wire {
namespace {

// Attribute ids, spec replication.md 2.8.
enum Attr : std::uint32_t {
  kMasterIpv4 = 0,
  kMasterIpv6,
  kMasterL4Proto,
  kMasterPorts,
  kExpectedIpv4,
  kExpectedIpv6,
  kExpectedL4Proto,
  kExpectedPorts,
  kMaskIpv4,
  kMaskIpv6,
  kMaskL4Proto,
  kMaskPorts,
  kTimeout,
  kFlags,
  kClass,
  kNatIpv4,
  kNatPorts,
  kNatL4Proto,
  kNatDir,
  kHelper,
  kFunction,
  kAttrCount,
};

constexpr std::uint16_t kMaxHelperAttr = kAttrHeader + kMaxWireHelperName + 1;
constexpr std::uint16_t kMaxFunctionAttr = kAttrHeader + kMaxWireFunctionName + 1;

constexpr std::array<AttrRule, kAttrCount> kRules = {{
    {12},
    {36},
    {5},
    {8},  // master
    {12},
    {36},
    {5},
    {8},  // expected
    {12},
    {36},
    {5},
    {8},  // mask
    {8},
    {8},
    {8},  // timeout, flags, class
    {12},
    {8},
    {5},
    {8},  // NAT
    {kMaxHelperAttr, true},
    {kMaxFunctionAttr, true},
}};

using Attributes = AttrIndex<kAttrCount>;

// The ids of master, expected and mask follow one pattern, starting with the IPv4 addresses.
void put_tuple(ByteWriter& w, std::uint32_t first, const Tuple& t, bool ports) {
  put_addresses(w, first, first + 1, t);
  put_u8(w, first + 2, t.l4);
  if (ports) put_ports(w, first + 3, t);
}

void put_nat(ByteWriter& w, const Expectation& e) {
  if (!e.knows(expect_has::kNat) || e.nat.family != Family::ipv4) return;
  put_addresses(w, kNatIpv4, kNatIpv4, e.nat);
  put_u8(w, kNatL4Proto, e.nat.l4);
  if (e.knows(expect_has::kNatPorts)) put_ports(w, kNatPorts, e.nat);
  if (e.knows(expect_has::kNatDir)) put_be32(w, kNatDir, e.nat_dir);
}

// False without addresses of this family.
bool get_tuple(Expectation& e, Tuple& t, const Attributes& a, std::uint32_t first, Family family, std::uint32_t bit,
               std::uint32_t ports_bit) {
  const auto addresses = first + (family == Family::ipv4 ? 0 : 1);
  if (!a.has(addresses)) return false;
  get_addresses(t, family, a.at(addresses));
  if (a.has(first + 2)) t.l4 = *a.at(first + 2);
  e.present |= bit;
  if (a.has(first + 3)) {
    get_ports(t, a.at(first + 3));
    e.present |= ports_bit;
  }
  return true;
}

void get_nat(Expectation& e, const Attributes& a) {
  if (!a.has(kNatIpv4)) return;
  get_addresses(e.nat, Family::ipv4, a.at(kNatIpv4));
  e.present |= expect_has::kNat;
  if (a.has(kNatL4Proto)) e.nat.l4 = *a.at(kNatL4Proto);
  if (a.has(kNatPorts)) {
    get_ports(e.nat, a.at(kNatPorts));
    e.present |= expect_has::kNatPorts;
  }
  if (a.has(kNatDir)) {
    e.nat_dir = get_be32(a.at(kNatDir));
    e.present |= expect_has::kNatDir;
  }
}

void get_word(Expectation& e, std::uint32_t& to, const Attributes& a, Attr id, std::uint32_t bit) {
  if (!a.has(id)) return;
  to = get_be32(a.at(id));
  e.present |= bit;
}

}  // namespace

void encode_expectation(ByteWriter& w, MsgType type, std::uint8_t flags, std::uint32_t seq, const Expectation& e,
                        std::uint32_t age_seconds, const EncodeOptions& options) {
  const auto begin = w.size();
  encode_header(w, {type, flags, 0, seq});
  put_tuple(w, kMasterIpv4, e.master, e.knows(expect_has::kMasterPorts));
  put_tuple(w, kExpectedIpv4, e.expected, e.knows(expect_has::kExpectedPorts));
  if (e.knows(expect_has::kMask)) put_tuple(w, kMaskIpv4, e.mask, e.knows(expect_has::kMaskPorts));
  if (options.send_timeout && e.knows(expect_has::kTimeout)) {
    put_be32(w, kTimeout, aged_timeout(e.timeout, age_seconds));
  }
  put_be32(w, kFlags, e.knows(expect_has::kFlags) ? e.flags : 0);
  if (e.knows(expect_has::kClass)) put_be32(w, kClass, e.klass);
  put_nat(w, e);
  if (e.knows(expect_has::kHelper)) put_string(w, kHelper, e.helper, kMaxWireHelperName);
  if (e.knows(expect_has::kFunction)) put_string(w, kFunction, e.function, kMaxWireFunctionName);
  set_length(w, begin);
}

DecodeStatus decode_expectation(std::span<const std::uint8_t> payload, Expectation& out) {
  Attributes a;
  if (!a.read(payload, kRules, [](std::uint32_t, std::span<const std::uint8_t>) { return true; })) {
    return DecodeStatus::bad_attribute;
  }
  out = Expectation{};
  const auto family = a.has(kExpectedIpv4) ? Family::ipv4 : Family::ipv6;
  if (!a.has(kMasterL4Proto) || !a.has(kExpectedL4Proto) ||
      !get_tuple(out, out.master, a, kMasterIpv4, family, expect_has::kMaster, expect_has::kMasterPorts) ||
      !get_tuple(out, out.expected, a, kExpectedIpv4, family, expect_has::kExpected, expect_has::kExpectedPorts)) {
    return DecodeStatus::incomplete;
  }
  get_tuple(out, out.mask, a, kMaskIpv4, family, expect_has::kMask, expect_has::kMaskPorts);
  get_word(out, out.timeout, a, kTimeout, expect_has::kTimeout);
  get_word(out, out.flags, a, kFlags, expect_has::kFlags);
  get_word(out, out.klass, a, kClass, expect_has::kClass);
  get_nat(out, a);
  if (a.has(kHelper) && get_string(out.helper, a.span(kHelper))) out.present |= expect_has::kHelper;
  if (a.has(kFunction) && get_string(out.function, a.span(kFunction))) out.present |= expect_has::kFunction;
  return DecodeStatus::ok;
}

}  // namespace ctsync::wire
