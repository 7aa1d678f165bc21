// SPDX-License-Identifier: GPL-2.0-or-later
// From the frames of a capture to lines. Does no I/O, and takes any bytes: what it remembers is limited, and what it writes for a
// frame is in proportion to it.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "ctsync/wire/receive_stats.h"
#include "fragments.h"
#include "message_sink.h"
#include "senders.h"
#include "tcp_stream.h"
#include "text_line.h"

namespace ctsync::capture {

class Decoder final : private MessageSink {
 public:
  static constexpr std::size_t kMostStreams = 32;  // directions of TCP connections at a time

  Decoder(std::vector<std::uint16_t> ports, bool json) : ports_(std::move(ports)), json_(json) {}

  void frame(int link_type, const Frame& frame);
  // The capture has ended: tells what is incomplete.
  void finish();

  // The lines since the last call.
  std::string take_output() { return std::exchange(out_, {}); }
  // Of everything, several lines.
  std::string summary() const;

 private:
  void packet(const IpPacket& p);
  void datagram(const IpPacket& p, const Ends& ends);
  void segment(const IpPacket& p, const Ends& ends);
  TcpStream& stream(const Ends& ends);
  void take(const wire::Message& m, Told& told);
  void tell(const Told& told);

  void message(const Place& place, const wire::Message& m) override;
  void gap(const Place& place, Gap what, std::span<const std::uint8_t> bytes, std::size_t count) override;

  std::vector<std::uint16_t> ports_;
  bool json_;
  std::string out_;
  Fragments fragments_;
  std::list<TcpStream> streams_;  // the one that was used last first
  Senders senders_;
  wire::ReceiveStats stats_;
  std::uint64_t frames_ = 0;
  std::uint64_t packets_ = 0;  // to these ports
  TextLine text_;
  FlowRecord flow_;
  Expectation expectation_;
  wire::Extension tail_;
};

}  // namespace ctsync::capture
