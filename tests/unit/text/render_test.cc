// SPDX-License-Identifier: GPL-2.0-or-later
// Every entry of the golden files is read back into values and rendered again: the line must be the same.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <map>
#include <optional>
#include <random>

#include "ctsync/text/render_expectation.h"
#include "ctsync/text/render_flow.h"
#include "golden.h"
#include "plain_flow.h"

namespace ctsync::text {
namespace {

const std::vector<std::string> kTcpStates = {"NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
                                             "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};
const std::vector<std::string> kSctpStates = {"NONE",           "CLOSED",         "COOKIE_WAIT",   "COOKIE_ECHOED",
                                              "ESTABLISHED",    "SHUTDOWN_SENT",  "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT",
                                              "HEARTBEAT_SENT", "HEARTBEAT_ACKED"};

std::uint64_t number(std::string_view text) { return std::stoull(std::string(text), nullptr, 0); }

Family parse_address(const std::string& text, Address& a) {
  a = {};
  if (::inet_pton(AF_INET, text.c_str(), a.data()) == 1) return Family::ipv4;
  EXPECT_EQ(::inet_pton(AF_INET6, text.c_str(), a.data()), 1) << text;
  return Family::ipv6;
}

std::uint8_t state_number(const std::vector<std::string>& names, std::string_view name) {
  const auto at = std::find(names.begin(), names.end(), name);
  EXPECT_NE(at, names.end()) << name;
  return static_cast<std::uint8_t>(at - names.begin());
}

void put_name(std::array<char, kHelperNameSize>& to, std::string_view name) {
  to = {};
  std::copy(name.begin(), name.end(), to.begin());
}

struct Entry {
  FlowRecord r;
  RenderOptions options;
  Entry() { r.extra = {}; }
};

// "src=", "dst=" and the layer-4 numbers of one direction.
void take_tuple_word(Tuple& t, std::uint32_t& present, std::string_view key, std::string_view value) {
  if (key == "src") t.family = parse_address(std::string(value), t.src);
  if (key == "dst") parse_address(std::string(value), t.dst);
  const auto low = [&] { return static_cast<std::uint16_t>(number(value)); };
  const auto was = t;
  if (key == "sport" || key == "srckey") t.src_port = low();
  if (key == "dport" || key == "dstkey") t.dst_port = low();
  if (key == "type") t.set_icmp(static_cast<std::uint8_t>(low()), was.icmp_code(), was.icmp_id());
  if (key == "code") t.set_icmp(was.icmp_type(), static_cast<std::uint8_t>(low()), was.icmp_id());
  if (key == "id") t.set_icmp(was.icmp_type(), was.icmp_code(), low());
  if (key != "src" && key != "dst") present |= has::kPorts;
}

void take_word(Entry& e, Tuple& reply, std::string_view key, std::string_view value) {
  auto& f = e.r.flow;
  const bool second = f.knows(has::kReply);
  if (key == "packets" || key == "bytes") {
    auto& c = second ? e.r.extra.counters_reply : e.r.extra.counters_orig;
    (key == "packets" ? c.packets : c.bytes) = number(value);
    f.present |= has::kCounters;
  } else if (key == "mark") {
    f.mark = static_cast<std::uint32_t>(number(value));
    f.present |= has::kMark;
  } else if (key == "zone") {
    f.orig.zone = static_cast<std::uint16_t>(number(value));
    f.present |= has::kZone;
  } else if (key == "helper") {
    put_name(e.r.extra.helper, value);
    f.present |= has::kHelper;
  } else {
    if (key == "src" && f.orig.family != Family::none) f.present |= has::kReply;
    take_tuple_word(f.knows(has::kReply) ? reply : f.orig, f.present, key, value);
  }
}

void set_reply_values(Flow& f, const Tuple& reply) {
  f.reply_src = reply.src;
  f.reply_dst = reply.dst;
  f.reply_src_port = reply.src_port;
  f.reply_dst_port = reply.dst_port;
}

// The number behind `key` in "[active since 2s]" and the like.
std::optional<std::uint32_t> age(std::string_view line, std::string_view key) {
  const auto at = line.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  return static_cast<std::uint32_t>(std::stoul(std::string(line.substr(at + key.size()))));
}

Entry parse_text(std::string_view line) {
  Entry e;
  auto& f = e.r.flow;
  Tuple reply;
  e.options.expires_in = age(line, "[expires in ");
  e.options.active_since = age(line, "[active since ");
  f.present = has::kStatus;
  f.status = status::kSeenReply | status::kConfirmed;
  const auto words = golden::words_of(line.substr(0, std::min(line.find(" [expires"), line.find(" [active"))));
  f.orig.l4 = static_cast<std::uint8_t>(number(words.at(1)));
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto w = words[i];
    const auto equals = w.find('=');
    if (w == "[UNREPLIED]") {
      f.status &= ~status::kSeenReply;
    } else if (w == "[ASSURED]") {
      f.status |= status::kAssured;
    } else if (equals != std::string_view::npos) {
      take_word(e, reply, w.substr(0, equals), w.substr(equals + 1));
    } else if (std::isdigit(w[0])) {
      f.timeout = static_cast<std::uint32_t>(number(w));
      f.present |= has::kTimeout;
      e.options.show_timeout = true;
    } else {
      f.proto_state = state_number(f.orig.l4 == kTcp ? kTcpStates : kSctpStates, w);
      f.present |= has::kProtoState;
    }
  }
  set_reply_values(f, reply);
  return e;
}

std::string_view inside(std::string_view text, const std::string& open, const std::string& close) {
  const auto at = text.find(open);
  if (at == std::string_view::npos) return {};
  const auto begin = at + open.size();
  return text.substr(begin, text.find(close, begin) - begin);
}

Tuple parse_meta(std::string_view meta, std::uint32_t& present) {
  Tuple t;
  t.l4 = static_cast<std::uint8_t>(number(inside(meta, "<layer4 protonum=\"", "\"")));
  for (const std::string key : {"src", "dst", "sport", "dport", "srckey", "dstkey"}) {
    const auto value = inside(meta, "<" + key + ">", "</" + key + ">");
    if (!value.empty()) take_tuple_word(t, present, key, value);
  }
  return t;
}

Entry parse_xml(std::string_view line) {
  Entry e;
  e.options.xml = true;
  e.options.active_since = 5;  // never shown in XML
  auto& f = e.r.flow;
  f.orig = parse_meta(inside(line, "<meta direction=\"original\">", "</meta>"), f.present);
  const auto reply = parse_meta(inside(line, "<meta direction=\"reply\">", "</meta>"), f.present);
  if (reply.family != Family::none) f.present |= has::kReply;
  set_reply_values(f, reply);
  const auto rest = inside(line, "<meta direction=\"independent\">", "</meta>");
  f.present |= has::kStatus;
  f.status = rest.find("<unreplied/>") == std::string_view::npos ? status::kSeenReply : 0;
  if (rest.find("<assured/>") != std::string_view::npos) f.status |= status::kAssured;
  if (const auto v = inside(rest, "<state>", "<"); !v.empty()) {
    f.proto_state = state_number(kTcpStates, v);
    f.present |= has::kProtoState;
  }
  if (const auto v = inside(rest, "<mark>", "<"); !v.empty()) {
    f.mark = static_cast<std::uint32_t>(number(v));
    f.present |= has::kMark;
  }
  if (const auto v = inside(rest, "<zone>", "<"); !v.empty()) {
    f.orig.zone = static_cast<std::uint16_t>(number(v));
    f.present |= has::kZone;
  }
  if (const auto v = inside(rest, "<id>", "<"); !v.empty()) {
    f.id = static_cast<std::uint32_t>(number(v));
    f.present |= has::kId;
  }
  if (const auto v = inside(line, "<helper>", "<"); !v.empty()) {
    put_name(e.r.extra.helper, v);
    f.present |= has::kHelper;
  }
  return e;
}

// The entry in a line of a golden file: the line itself, or what follows the date of a log line.
std::string_view entry_of(std::string_view line) {
  const auto tab = line.find('\t');
  const bool dated = tab != std::string_view::npos && tab > 20 && tab < 30;
  if (dated) line.remove_prefix(tab + 1);
  const bool entry =
      line.find(" src=") != std::string_view::npos && std::isalpha(line[0]) && line.size() > 9 && std::isdigit(line[9]);
  return entry ? line : std::string_view();
}

TEST(RenderFlow, EveryGoldenLineComesOutAgain) {
  FlowRenderer renderer;
  std::map<std::string, int> seen;
  for (const auto& file : golden::files_of_daemon_149()) {
    for (const auto& line : golden::lines_of(file)) {
      auto text = entry_of(line);
      if (text.empty()) continue;
      text = text.substr(0, text.find(" use="));  // only in lists of the kernel's table: append_message() shows it
      const auto e = parse_text(text);
      std::string got;
      renderer.append(got, e.r, e.options);
      EXPECT_EQ(got, text) << file;
      ++seen[std::string(text.substr(0, text.find(' ')))];
    }
  }
  for (const char* p : {"tcp", "udp", "icmp", "icmpv6", "sctp", "gre", "unknown"}) EXPECT_GE(seen[p], 3) << p;
}

TEST(RenderFlow, EveryGoldenElementComesOutAgain) {
  FlowRenderer renderer;
  int seen = 0;
  for (const auto& file : golden::files_of_daemon_149()) {
    for (const auto& line : golden::lines_of(file)) {
      if (!line.starts_with("<flow><meta")) continue;
      const auto e = parse_xml(line);
      std::string got;
      renderer.append(got, e.r, e.options);
      EXPECT_EQ(got, line) << file;
      ++seen;
    }
  }
  EXPECT_GE(seen, 50);
}

Flow example() {
  return parse_text("tcp      6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 [ASSURED]").r.flow;
}

std::string rendered(const Flow& f, const RenderOptions& o = {}) {
  std::string out;
  FlowRenderer().append(out, f, nullptr, o);
  return out;
}

// dump-line-format.txt has all state names.
TEST(RenderFlow, StateNames) {
  for (const auto& line : golden::lines_of("dump-line-format.txt")) {
    const auto words = golden::words_of(line);
    if (words.size() < 7 || words[1] != "state") continue;
    SCOPED_TRACE(line);
    auto f = example();
    f.orig.l4 = static_cast<std::uint8_t>(number(words[4]));
    f.proto_state = static_cast<std::uint8_t>(number(words[2].substr(0, words[2].size() - 1)));
    f.timeout = 100;
    f.present |= has::kTimeout;
    const auto text = rendered(f, {.show_timeout = true});
    EXPECT_EQ(golden::words_of(text).at(3), words[6]);
    const auto xml = line.find("<state>");
    if (xml != std::string::npos) {
      EXPECT_EQ(inside(rendered(f, {.xml = true}), "<state>", "<"), inside(line, "<state>", "<"));
    }
  }
}

TEST(RenderFlow, TimeoutOnlyOnRequest) {
  auto f = example();
  f.timeout = 432000;
  f.present |= has::kTimeout;
  EXPECT_EQ(rendered(f, {.show_timeout = true}),
            "tcp      6 432000 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 [ASSURED]");
  EXPECT_EQ(rendered(f), "tcp      6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 [ASSURED]");
}

TEST(RenderFlow, KnownZeroMarkIsShown) {
  auto f = example();
  f.present |= has::kMark;
  EXPECT_TRUE(rendered(f).ends_with("[ASSURED] mark=0"));
}

TEST(RenderFlow, NothingIsLeftOfTheLineBefore) {
  FlowRenderer renderer;
  auto e = parse_text(
      "tcp      6 ESTABLISHED src=fd77:1::2 dst=fd77:2::2 sport=1 dport=2 packets=7 bytes=8 src=fd77:2::2 "
      "dst=fd77:1::2 "
      "sport=2 dport=1 packets=9 bytes=10 [ASSURED] mark=42 zone=7 helper=ftp");
  std::string first;
  renderer.append(first, e.r);
  const Flow bare = parse_text("unknown  253 src=10.77.1.2 dst=10.77.2.2 [UNREPLIED]").r.flow;
  std::string second;
  renderer.append(second, bare, nullptr);
  EXPECT_EQ(second, "unknown  253 src=10.77.1.2 dst=10.77.2.2 [UNREPLIED]");
  std::string again;
  renderer.append(again, e.r);
  EXPECT_EQ(again, first);
}

// A kernel message in the making.
class Attributes {
 public:
  Attributes& add(unsigned type, std::initializer_list<std::uint8_t> data) {
    return add(type, std::string(data.begin(), data.end()));
  }
  Attributes& add(unsigned type, const Attributes& nested) { return add(type | NLA_F_NESTED, nested.bytes_); }
  Attributes& add(unsigned type, const std::string& data) {
    const nlattr head{static_cast<std::uint16_t>(NLA_HDRLEN + data.size()), static_cast<std::uint16_t>(type)};
    bytes_.append(reinterpret_cast<const char*>(&head), sizeof head).append(data);
    bytes_.resize(NLA_ALIGN(bytes_.size()));
    return *this;
  }
  std::span<const std::uint8_t> bytes() const {
    return {reinterpret_cast<const std::uint8_t*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::string bytes_;
};

Attributes udp_tuple(std::initializer_list<std::uint8_t> src, std::initializer_list<std::uint8_t> dst) {
  return Attributes()
      .add(CTA_TUPLE_IP, Attributes().add(CTA_IP_V4_SRC, src).add(CTA_IP_V4_DST, dst))
      .add(CTA_TUPLE_PROTO,
           Attributes().add(CTA_PROTO_NUM, {17}).add(CTA_PROTO_SRC_PORT, {0, 7}).add(CTA_PROTO_DST_PORT, {0, 7}));
}

TEST(RenderFlow, AKernelMessageShowsWhatAFlowHasNoPlaceFor) {
  Attributes m;
  m.add(CTA_TUPLE_ORIG, udp_tuple({10, 0, 0, 1}, {10, 0, 0, 2}));
  m.add(CTA_TUPLE_REPLY, udp_tuple({10, 0, 0, 2}, {10, 0, 0, 1}).add(CTA_TUPLE_ZONE, {0, 9}));
  m.add(CTA_STATUS, {0, 0, 0, status::kSeenReply}).add(CTA_TIMEOUT, {0, 0, 0, 30}).add(CTA_MARK, {0, 0, 0, 1});
  m.add(CTA_SECCTX, Attributes().add(CTA_SECCTX_NAME, std::string("system_u:object_r", 18)));
  m.add(CTA_TIMESTAMP, Attributes()
                           .add(CTA_TIMESTAMP_START, {0, 0, 0, 0, 0, 0, 0, 0})
                           .add(CTA_TIMESTAMP_STOP, {0, 0, 0, 1, 0, 0, 0, 0}));  // 2^32 nanoseconds
  m.add(CTA_USE, {0, 0, 0, 2});
  std::string text;
  FlowRenderer().append_message(text, Family::ipv4, m.bytes());
  EXPECT_EQ(text,
            "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=7 dport=7 src=10.0.0.2 dst=10.0.0.1 sport=7 dport=7 "
            "zone-reply=9 mark=1 secctx=system_u:object_r delta-time=4 use=2");
}

// The name of a helper comes from the peer.
TEST(RenderFlow, HostileHelperNameStaysInItsPlace) {
  Entry e;
  e.r.flow = example();
  e.r.flow.present |= has::kHelper;
  put_name(e.r.extra.helper, "a\nb c</x>\x80\"");
  std::string text;
  FlowRenderer().append(text, e.r);
  EXPECT_TRUE(text.ends_with(" helper=a?b?c?/x???")) << text;
  e.r.extra.helper.fill('y');  // not even terminated
  text.clear();
  FlowRenderer().append(text, e.r, {.xml = true});
  EXPECT_EQ(inside(text, "<helper>", "<"), std::string(kHelperNameSize - 1, 'y'));
}

TEST(RenderFlow, LongestLineFits) {
  Entry e = parse_text(
      "tcp      6 4294967295 SYN_SENT2 src=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "dst=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff sport=65535 dport=65535 packets=18446744073709551615 "
      "bytes=18446744073709551615 src=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
      "dst=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff sport=65535 dport=65535 packets=18446744073709551615 "
      "bytes=18446744073709551615 [ASSURED] mark=4294967295 zone=65535 helper=abcdefghijklmno");
  std::string text;
  e.options.xml = true;
  FlowRenderer().append(text, e.r, e.options);
  EXPECT_TRUE(text.ends_with("<helper>abcdefghijklmno</helper></flow>")) << text;
}

TEST(RenderFlow, ZoneOfTheOriginalDirectionOnly) {
  auto f = example();
  f.orig.zone = 3;
  EXPECT_EQ(rendered(f), "tcp      6 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 zone-orig=3 [ASSURED]");
}

// Not all protocols have their numbers on the wire (spec replication.md 2.5).
// As conntrackd prints them: the mark of a flow table takes the place of the assurance.
TEST(RenderFlow, OffloadedFlowsAreMarked) {
  auto f = example();
  f.present &= ~has::kProtoState;
  f.status |= status::kOffload;
  EXPECT_EQ(rendered(f), "tcp      6 src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 [OFFLOAD]");
  f.status |= status::kHwOffload;
  EXPECT_EQ(rendered(f), "tcp      6 src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 [HW_OFFLOAD]");
}

TEST(RenderFlow, PortsThatAreNotKnown) {
  auto f = example();
  f.orig.l4 = kGre;
  f.present = has::kStatus;
  EXPECT_EQ(rendered(f), "gre      47 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x0 [ASSURED]");
}

TEST(RenderFlow, WhatIsWrittenHereIsWhatTheLibraryPrints) {
  std::mt19937 random(2);
  FlowRenderer renderer;
  int written = 0;
  for (int i = 0; i < 50'000; ++i) {
    Entry e;
    auto& f = e.r.flow;
    std::array<std::uint8_t, sizeof(Flow)> bytes;
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::uint8_t>(random()); });
    std::memcpy(&f, bytes.data(), bytes.size());
    f.orig.family = i % 2 != 0 ? Family::ipv4 : Family::ipv6;
    f.orig.l4 = i % 3 == 0 ? kTcp : i % 3 == 1 ? kUdp : f.orig.l4;
    if (i % 16 != 0) {
      f.orig.zone = 0;
      f.present &= ~(has::kZone | has::kReplyZone | has::kHelper | has::kCounters);
      f.present |= has::kPorts | has::kStatus | has::kProtoState;
      f.status &= ~status::kLocal;
      f.proto_state %= 11;
    }
    for (auto* a : {&f.orig.src, &f.orig.dst, &f.reply_src, &f.reply_dst}) {  // short forms of IPv6
      if (random() % 4 == 0) std::fill(a->begin() + random() % 8, a->begin() + 8 + random() % 8, std::uint8_t{0});
    }
    if (random() % 4 == 0) f.mark %= 2;
    const bool timeout = random() % 2 == 0;
    std::string here;
    if (!append_plain_flow(here, f, timeout)) continue;
    ++written;
    std::string there;
    renderer.by_library(there, f, &e.r.extra, {.show_timeout = timeout});
    ASSERT_EQ(here, there);
  }
  EXPECT_GT(written, 25'000);
}

TEST(RenderFlow, AnyValueGivesOneLine) {
  std::mt19937 random(1);
  FlowRenderer renderer;
  for (int i = 0; i < 20'000; ++i) {
    Entry e;
    std::array<std::uint8_t, sizeof(Flow)> bytes;
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::uint8_t>(random()); });
    std::memcpy(&e.r.flow, bytes.data(), bytes.size());
    if (i % 8 != 0) e.r.flow.orig.family = i % 2 != 0 ? Family::ipv4 : Family::ipv6;
    std::generate(e.r.extra.helper.begin(), e.r.extra.helper.end(), [&] { return static_cast<char>(random()); });
    std::string line;
    renderer.append(line, e.r, {.xml = i % 4 < 2, .show_timeout = true});
    const bool plain = std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
    ASSERT_TRUE(plain && !line.empty()) << line;
  }
}

Expectation parse_expectation(std::string_view line, RenderOptions& options) {
  Expectation x;
  options.active_since = age(line, "[active since ");
  x.present = expect_has::kMaster | expect_has::kExpected | expect_has::kMask;
  Tuple* t = &x.expected;
  std::uint32_t ports = expect_has::kExpectedPorts;
  for (const auto w : golden::words_of(line.substr(0, line.find(" [active")))) {
    const auto equals = w.find('=');
    if (equals == std::string_view::npos) {
      if (std::isdigit(w[0])) {
        x.timeout = static_cast<std::uint32_t>(number(w));
        x.present |= expect_has::kTimeout;
        options.show_timeout = true;
        continue;
      }
      x.present |= expect_has::kFlags;
      if (w.find("PERMANENT") != std::string_view::npos) x.flags |= 1;
      if (w.find("INACTIVE") != std::string_view::npos) x.flags |= 2;
      if (w.find("USERSPACE") != std::string_view::npos) x.flags |= 4;
      continue;
    }
    const auto key = w.substr(0, equals);
    const auto value = w.substr(equals + 1);
    const auto n = [&] { return static_cast<std::uint32_t>(number(value)); };
    if (key == "proto") {
      x.expected.l4 = x.mask.l4 = x.master.l4 = static_cast<std::uint8_t>(n());
    } else if (key == "class") {
      x.klass = n();
      x.present |= expect_has::kClass;
    } else if (key == "zone") {
      x.zone = static_cast<std::uint16_t>(n());
      x.present |= expect_has::kZone;
    } else if (key == "helper") {
      put_name(x.helper, value);
      x.present |= expect_has::kHelper;
    } else {
      if (key == "mask-src") t = &x.mask, ports = expect_has::kMaskPorts;
      if (key == "master-src") t = &x.master, ports = expect_has::kMasterPorts;
      std::uint32_t unused = 0;
      take_tuple_word(*t, unused, key.substr(key.rfind('-') + 1), value);
      if (key.ends_with("port")) x.present |= ports;
    }
  }
  return x;
}

TEST(RenderExpectation, EveryGoldenLineComesOutAgain) {
  ExpectationRenderer renderer;
  int seen = 0;
  auto files = golden::files_of_daemon_149();
  files.push_back("dump-line-format.txt");
  for (const auto& file : files) {
    for (const auto& whole : golden::lines_of(file)) {
      if (whole.find("master-src=") == std::string::npos) continue;
      const bool by_hand = file == "dump-line-format.txt";
      // "flags N: LINE|" and "all: LINE|"; flags 8 leaves a blank that no real expectation has.
      if (by_hand && whole.starts_with("flags 8")) continue;
      const auto line = by_hand ? whole.substr(whole.find(": ") + 2, whole.size() - whole.find(": ") - 3) : whole;
      RenderOptions o;
      const auto x = parse_expectation(line, o);
      std::string got;
      renderer.append(got, x, o);
      EXPECT_EQ(got, line) << file;
      ++seen;
    }
  }
  EXPECT_GE(seen, 12);
}

TEST(RenderExpectation, XmlIsThatOfConntrackd) {
  ExpectationRenderer renderer;
  std::string line_text;
  std::string line_xml;
  for (const auto& line : golden::lines_of("1.4.9-ftfw-udp-expect.txt")) {
    if (line.starts_with("proto=6") && line_text.empty()) line_text = line;
    if (line.starts_with("<flow><layer3") && line_xml.empty()) line_xml = line;
  }
  RenderOptions o;
  auto x = parse_expectation(line_text, o);
  o.xml = true;
  std::string got;
  renderer.append(got, x, o);
  EXPECT_EQ(got, line_xml);

  for (const auto& line : golden::lines_of("dump-line-format.txt")) {
    if (line.starts_with("all: ")) x = parse_expectation(line.substr(5, line.size() - 6), o);
    if (!line.starts_with("xml: <flow><layer3")) continue;
    got.clear();
    renderer.append(got, x, o);
    EXPECT_EQ("xml: " + got + "|", line);
  }
}

TEST(RenderExpectation, NothingIsLeftOfTheLineBefore) {
  ExpectationRenderer renderer;
  RenderOptions o;
  const auto full = parse_expectation(
      "299 proto=6 src=fd77::1 dst=fd77::2 sport=1 dport=2 mask-src=ffff:: mask-dst=ffff:: sport=3 dport=4 "
      "master-src=fd77::1 master-dst=fd77::2 sport=5 dport=6 zone=7 PERMANENT,INACTIVE class=3 helper=ftp",
      o);
  std::string first;
  renderer.append(first, full, o);
  RenderOptions bare_options;
  const std::string bare_line =
      "proto=253 src=10.0.0.1 dst=10.0.0.2 mask-src=255.255.255.255 mask-dst=255.255.255.255 master-src=10.0.0.1 "
      "master-dst=10.0.0.2";
  const auto bare = parse_expectation(bare_line, bare_options);
  std::string alone;
  ExpectationRenderer().append(alone, bare, bare_options);
  std::string after;
  renderer.append(after, bare, bare_options);
  EXPECT_EQ(after, alone);
  EXPECT_TRUE(alone.starts_with(bare_line)) << alone;
}

}  // namespace
}  // namespace ctsync::text
