// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/flow/flow_print.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "ctsync/flow/tuple_hash.h"

namespace ctsync {
namespace {

constexpr std::uint64_t kKeyA = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kKeyB = 0xd1b54a32d192ed03;

// The same on every machine.
std::uint64_t load(const std::uint8_t* bytes) {
  std::uint64_t v = 0;
  std::memcpy(&v, bytes, sizeof v);
  if constexpr (std::endian::native == std::endian::big) v = __builtin_bswap64(v);
  return v;
}

class Mixer {
 public:
  void words(std::uint64_t a, std::uint64_t b) { h_ = fold(h_ ^ a ^ kKeyA, std::rotl(h_, 32) ^ b ^ kKeyB); }
  void address(const Address& a) { words(load(a.data()), load(a.data() + 8)); }
  void tuple(const Tuple& t) {
    address(t.src);
    address(t.dst);
    words(t.src_port | std::uint64_t{t.dst_port} << 16 | std::uint64_t{t.zone} << 32,
          t.l4 | std::uint64_t{static_cast<std::uint8_t>(t.family)} << 8);
  }
  std::uint64_t value() const { return h_; }

 private:
  std::uint64_t h_ = kKeyB;
};

std::uint32_t bucket_of(std::uint64_t mixed) { return static_cast<std::uint32_t>(mixed >> 52); }
static_assert(FlowPrint::kBuckets == 1U << 12);

// Kinds of what follows, so that no two flows make the same sequence of words.
enum Part : std::uint64_t {
  kLabelsPart = 1,
  kHelperPart,
  kSeqAdjustPart,
  kMasterPart,
  kSctpPart,
  kDccpPart,
  kSynproxyPart,
  kReplyZonePart
};

void mix_extras(Mixer& m, const Flow& f, const FlowExtra& x, bool labels) {
  const auto word = [&](std::size_t i) { return std::uint64_t{x.labels[i]}; };
  // None set, or never known: all the same to a peer.
  if (labels && std::ranges::any_of(x.labels, [](std::uint32_t w) { return w != 0; })) {
    m.words(kLabelsPart, 0);
    m.words(word(0) | word(1) << 32, word(2) | word(3) << 32);
  }
  const std::size_t helper = f.knows(has::kHelper) ? ::strnlen(x.helper.data(), x.helper.size()) : 0;
  if (helper != 0 && helper <= kLongestToldHelper) {
    Address name{};
    std::copy_n(x.helper.begin(), helper, name.begin());
    m.words(kHelperPart, 0);
    m.address(name);
  }
  if (f.knows(has::kSeqAdjOrig | has::kSeqAdjReply)) {
    for (const auto& s : {x.seqadj_orig, x.seqadj_reply}) {
      m.words(kSeqAdjustPart | std::uint64_t{s.correction_pos} << 32,
              s.offset_before | std::uint64_t{s.offset_after} << 32);
    }
  }
  if (f.knows(has::kMaster) && x.master.family != Family::none) {
    Tuple master = x.master;
    master.zone = 0;
    if (!f.knows(has::kMasterPorts)) master.src_port = master.dst_port = 0;
    m.words(kMasterPart, f.knows(has::kMasterPorts) ? 1 : 0);
    m.tuple(master);
  }
  if (f.knows(has::kSctpTags | has::kProtoState) && f.orig.l4 == kSctp) {
    m.words(kSctpPart, x.sctp_vtag_orig | std::uint64_t{x.sctp_vtag_reply} << 32);
  }
  if (f.knows(has::kDccpRole | has::kProtoState) && f.orig.l4 == kDccp) m.words(kDccpPart, x.dccp_role);
  if (f.knows(has::kSynproxy | has::kSynproxyValues)) {
    m.words(kSynproxyPart | std::uint64_t{x.synproxy_isn} << 32,
            x.synproxy_its | std::uint64_t{x.synproxy_tsoff} << 32);
  }
  if (f.knows(has::kReplyZone)) m.words(kReplyZonePart, x.reply_zone);
}

void mix_nat(Mixer& m, const Flow& f, const NatView& nat) {
  if (nat.snat) m.address(f.reply_dst);
  if (nat.dnat) m.address(f.reply_src);
  if (nat.snat_port || nat.dnat_port) {
    m.words(nat.snat_port ? f.reply_dst_port : 0, nat.dnat_port ? f.reply_src_port : 0);
  }
}

}  // namespace

std::uint32_t bucket_of(const Tuple& orig) {
  Mixer m;
  m.tuple(orig);
  return bucket_of(m.value());
}

FlowPrint print_of(const Flow& f, const FlowExtra* extra, bool window_scale, std::uint32_t left_out) {
  Mixer m;
  m.tuple(f.orig);
  FlowPrint print{.bucket = bucket_of(m.value())};
  NatView nat = nat_of(f);
  if (is_icmp(f.orig.l4)) nat.snat_port = nat.dnat_port = false;  // they are no ports
  const bool state = f.knows(has::kProtoState) && (f.orig.l4 == kTcp || f.orig.l4 == kSctp || f.orig.l4 == kDccp);
  const bool scales = state && window_scale && f.orig.l4 == kTcp;
  const bool scale_orig = scales && f.knows(has::kWscaleOrig);
  const bool scale_reply = scales && f.knows(has::kWscaleReply);
  const std::uint32_t sent = f.present & ~left_out;
  const bool mark = (sent & has::kMark) != 0;
  const std::uint64_t shape = (nat.snat ? 1 : 0) | (nat.dnat ? 2 : 0) | (nat.snat_port ? 4 : 0) |
                              (nat.dnat_port ? 8 : 0) | (state ? 16 : 0) | (scale_orig ? 32 : 0) |
                              (scale_reply ? 64 : 0) | (mark ? 128 : 0) | (f.knows(has::kSynproxy) ? 256 : 0) |
                              (f.knows(has::kZone) ? 512 : 0);
  const std::uint64_t small = (state ? f.proto_state : 0) | std::uint64_t{scale_orig ? f.wscale_orig : 0U} << 8 |
                              std::uint64_t{scale_reply ? f.wscale_reply : 0U} << 16;
  const std::uint32_t status = f.knows(has::kStatus) ? f.status & ~status::kLocal : 0;
  m.words(status | std::uint64_t{mark ? f.mark : 0} << 32, shape | small << 32);
  mix_nat(m, f, nat);
  if (extra != nullptr && (f.present & has::kExtra) != 0) mix_extras(m, f, *extra, (sent & has::kLabels) != 0);
  print.number = m.value();
  return print;
}

}  // namespace ctsync
