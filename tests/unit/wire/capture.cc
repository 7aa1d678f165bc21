// SPDX-License-Identifier: GPL-2.0-or-later
#include "capture.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <tuple>

#include "ctsync/base/bytes.h"

namespace ctsync::wire_test {
namespace {

constexpr std::uint8_t kTcpProtocol = 6;
constexpr std::uint8_t kUdpProtocol = 17;
constexpr std::uint8_t kIpv6Fragment = 44;

Bytes copy_of(std::span<const std::uint8_t> s) { return {s.begin(), s.end()}; }

class Reader {
 public:
  void packet(std::span<const std::uint8_t> frame) {
    ++number_;
    ByteReader r(frame);
    r.skip(12);
    const auto type = r.be16();
    if (type == 0x0800) ipv4(r.bytes(r.left()));
    if (type == 0x86dd) ipv6(r.bytes(r.left()));
  }

  Capture take() {
    Capture c;
    c.datagrams = std::move(datagrams_);
    c.streams = std::move(finished_);
    for (auto& [key, open] : open_) c.streams.push_back({std::move(open.bytes)});
    std::erase_if(c.streams, [](const Stream& s) { return s.bytes.empty(); });
    return c;
  }

 private:
  struct Open {
    std::uint32_t next = 0;
    Bytes bytes;
  };
  using Connection = std::tuple<Bytes, Bytes, std::uint16_t, std::uint16_t>;

  void ipv4(std::span<const std::uint8_t> data) {
    ByteReader r(data);
    const auto header = static_cast<std::size_t>(r.u8() & 0x0f) * 4;
    r.skip(1);
    const auto total = r.be16();
    r.skip(5);
    const auto protocol = r.u8();
    r.skip(2);
    const auto src = copy_of(r.bytes(4));
    const auto dst = copy_of(r.bytes(4));
    if (r.failed() || total < header || total > data.size()) throw std::runtime_error("bad IPv4 header");
    transport(protocol, src, dst, data.subspan(header, total - header));
  }

  void ipv6(std::span<const std::uint8_t> data) {
    ByteReader r(data);
    r.skip(4);
    const auto length = r.be16();
    auto next = r.u8();
    r.skip(1);
    const auto src = copy_of(r.bytes(16));
    const auto dst = copy_of(r.bytes(16));
    auto body = r.bytes(length);
    if (r.failed()) throw std::runtime_error("bad IPv6 header");
    if (next != kIpv6Fragment) return transport(next, src, dst, body);
    ByteReader f(body);
    next = f.u8();
    f.skip(1);
    const auto offset = f.be16();
    const auto id = f.be32();
    body = f.bytes(f.left());
    auto& whole = fragments_[id];
    if (whole.size() != (offset & 0xfff8U)) throw std::runtime_error("fragments out of order");
    whole.insert(whole.end(), body.begin(), body.end());
    if ((offset & 1U) == 0) transport(next, src, dst, whole);
  }

  void transport(std::uint8_t protocol, const Bytes& src, const Bytes& dst, std::span<const std::uint8_t> data) {
    if (protocol == kUdpProtocol) udp(src, data);
    if (protocol == kTcpProtocol) tcp(src, dst, data);
  }

  void udp(const Bytes& src, std::span<const std::uint8_t> data) {
    ByteReader r(data);
    const auto port = r.be16();
    r.skip(2);
    const auto length = r.be16();
    r.skip(2);
    const auto body = r.bytes(length - 8U);
    if (r.failed()) throw std::runtime_error("bad UDP header");
    datagrams_.push_back({number_, src, port, copy_of(body)});
  }

  void tcp(const Bytes& src, const Bytes& dst, std::span<const std::uint8_t> data) {
    ByteReader r(data);
    const auto sport = r.be16();
    const auto dport = r.be16();
    const auto seq = r.be32();
    r.skip(4);
    const auto header = static_cast<std::size_t>(r.u8() >> 4) * 4;
    const bool syn = (r.u8() & 2U) != 0;
    if (r.failed() || header > data.size()) throw std::runtime_error("bad TCP header");
    auto& open = open_[{src, dst, sport, dport}];
    if (syn) {
      if (!open.bytes.empty()) finished_.push_back({std::move(open.bytes)});
      open = {seq + 1, {}};
      return;
    }
    const auto body = data.subspan(header);
    if (body.empty() || seq != open.next) return;  // a repetition
    open.bytes.insert(open.bytes.end(), body.begin(), body.end());
    open.next += static_cast<std::uint32_t>(body.size());
  }

  std::size_t number_ = 0;
  std::vector<Datagram> datagrams_;
  std::vector<Stream> finished_;
  std::map<Connection, Open> open_;
  std::map<std::uint32_t, Bytes> fragments_;
};

const std::filesystem::path kDirectory = std::filesystem::path(CTSYNC_TEST_DATA) / "captures";

}  // namespace

Capture read_capture(const std::string& name) {
  std::ifstream file(kDirectory / (name + ".pcap"), std::ios::binary);
  const Bytes all{std::istreambuf_iterator<char>(file), {}};
  ByteReader r(all);
  const auto magic = r.host32();
  if (magic != 0xa1b2c3d4 && magic != 0xa1b23c4d) throw std::runtime_error("no capture of this byte order: " + name);
  r.skip(16);
  if (r.host32() != 1) throw std::runtime_error("not Ethernet: " + name);
  Reader reader;
  while (r.left() != 0) {
    r.skip(8);
    const auto stored = r.host32();
    const auto length = r.host32();
    const auto frame = r.bytes(stored);
    if (r.failed() || stored != length) throw std::runtime_error("cut packet: " + name);
    reader.packet(frame);
  }
  return reader.take();
}

std::vector<std::string> capture_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kDirectory)) {
    if (entry.path().extension() == ".pcap") names.push_back(entry.path().stem());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace ctsync::wire_test
