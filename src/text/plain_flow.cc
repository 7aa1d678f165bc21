// SPDX-License-Identifier: GPL-2.0-or-later
#include "plain_flow.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include "tcp_states.h"

namespace ctsync::text {
namespace {

// What is shown and not written here.
constexpr std::uint32_t kOthers = has::kZone | has::kReplyZone | has::kHelper | has::kCounters;

// Room for what follows is the caller's business.
class Line {
 public:
  void put(std::string_view text) {
    std::memcpy(end_, text.data(), text.size());
    end_ += text.size();
  }
  void number(std::uint32_t n) { end_ = std::to_chars(end_, end_ + 10, n).ptr; }
  void address(Family family, const Address& a) {
    if (family == Family::ipv6) {
      ::inet_ntop(AF_INET6, a.data(), end_, INET6_ADDRSTRLEN);
      end_ += std::strlen(end_);
      return;
    }
    for (int i = 0; i < 4; ++i) {
      if (i != 0) *end_++ = '.';
      number(a[static_cast<std::size_t>(i)]);
    }
  }
  void tuple(Family family, const Address& src, const Address& dst, std::uint16_t src_port, std::uint16_t dst_port) {
    put("src=");
    address(family, src);
    put(" dst=");
    address(family, dst);
    put(" sport=");
    number(src_port);
    put(" dport=");
    number(dst_port);
    put(" ");
  }
  std::string_view text() const { return {line_.data(), static_cast<std::size_t>(end_ - line_.data())}; }

 private:
  // Four IPv6 addresses of 45 characters, four ports, and less than 150 of the rest.
  std::array<char, 512> line_;
  char* end_ = line_.data();
};

}  // namespace

bool append_plain_flow(std::string& out, const Flow& f, bool show_timeout) {
  const bool tcp = f.orig.l4 == kTcp;
  const auto family = f.orig.family;
  if ((!tcp && f.orig.l4 != kUdp) || (family != Family::ipv4 && family != Family::ipv6)) return false;
  if ((f.present & kOthers) != 0 || f.orig.zone != 0 || !f.knows(has::kPorts | has::kStatus)) return false;
  if ((f.status & status::kLocal) != 0) return false;
  if (tcp && (!f.knows(has::kProtoState) || f.proto_state >= kTcpStates.size())) return false;
  Line line;
  line.put(tcp ? "tcp      6 " : "udp      17 ");
  if (show_timeout && f.knows(has::kTimeout)) {
    line.number(f.timeout);
    line.put(" ");
  }
  if (tcp) {
    line.put(kTcpStates[f.proto_state]);
    line.put(" ");
  }
  line.tuple(family, f.orig.src, f.orig.dst, f.orig.src_port, f.orig.dst_port);
  if ((f.status & status::kSeenReply) == 0) line.put("[UNREPLIED] ");
  if (f.knows(has::kReply)) line.tuple(family, f.reply_src, f.reply_dst, f.reply_src_port, f.reply_dst_port);
  if ((f.status & status::kAssured) != 0) line.put("[ASSURED] ");
  if (f.knows(has::kMark)) {
    line.put("mark=");
    line.number(f.mark);
    line.put(" ");
  }
  const auto text = line.text();
  out.append(text.substr(0, text.size() - 1));
  return true;
}

}  // namespace ctsync::text
