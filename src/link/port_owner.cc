// SPDX-License-Identifier: GPL-2.0-or-later
#include "port_owner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace ctsync::link {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kListening = "0A";  // the state of a TCP listener in /proc/net/tcp

// As /proc/net writes it: 32-bit words of the address in host byte order.
std::string hexadecimal(const IpAddress& address) {
  std::string out;
  for (std::size_t at = 0; at < (address.family == Family::ipv6 ? 16U : 4U); at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, address.bytes.data() + at, sizeof word);
    out += fmt::format("{:08X}", word);
  }
  return out;
}

bool is_any(std::string_view hex) { return hex.find_first_not_of('0') == std::string_view::npos; }

// "socket:[INODE]" of the sockets that a bind to this address and port meets.
std::vector<std::string> sockets_in_the_way(const LinkOptions& options) {
  const bool tcp = options.kind == LinkKind::tcp;
  const auto wanted = options.address.is_set() ? hexadecimal(options.address) : std::string("0");
  const auto port = fmt::format("{:04X}", options.port);
  std::vector<std::string> out;
  for (const auto* table : {tcp ? "tcp" : "udp", tcp ? "tcp6" : "udp6"}) {
    std::ifstream file(fmt::format("/proc/thread-self/net/{}", table));
    std::string line;
    std::getline(file, line);  // the head
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string slot, local, remote, state, queues, timer, retransmits, user, timeout, inode;
      words >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
      const auto colon = local.find(':');
      if (colon == std::string::npos || local.substr(colon + 1) != port || (tcp && state != kListening)) continue;
      const auto address = local.substr(0, colon);
      if (address == wanted || is_any(address) || is_any(wanted)) out.push_back("socket:[" + inode + "]");
    }
  }
  return out;
}

bool has_one_of(const fs::path& process, const std::vector<std::string>& sockets) {
  std::error_code failed;
  for (fs::directory_iterator fd(process / "fd", failed), end; !failed && fd != end; fd.increment(failed)) {
    std::error_code gone;
    const auto target = fs::read_symlink(*fd, gone);
    if (!gone && std::ranges::find(sockets, target.native()) != sockets.end()) return true;
  }
  return false;
}

std::string owner_of(const std::vector<std::string>& sockets) {
  if (sockets.empty()) return "";
  std::error_code failed;
  for (fs::directory_iterator process("/proc", failed), end; !failed && process != end; process.increment(failed)) {
    const auto pid = process->path().filename().native();
    if (pid.find_first_not_of("0123456789") != std::string::npos || !has_one_of(process->path(), sockets)) continue;
    if (pid == std::to_string(::getpid())) return "by another link of this configuration";
    std::string name;
    std::getline(std::ifstream(process->path() / "comm"), name);
    return fmt::format("by {}, pid {}", name, pid);
  }
  return "";
}

}  // namespace

std::string port_is_taken(const LinkOptions& options) {
  const auto owner = owner_of(sockets_in_the_way(options));
  return fmt::format("{} port {} is taken{}", options.kind == LinkKind::tcp ? "TCP" : "UDP", options.port,
                     owner.empty() ? "" : " (" + owner + ")");
}

}  // namespace ctsync::link
