// SPDX-License-Identifier: GPL-2.0-or-later
// Reads the captures of tests/data/captures: Ethernet, IPv4 and IPv6 with fragments, UDP datagrams and TCP streams.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ctsync::wire_test {

using Bytes = std::vector<std::uint8_t>;

struct Datagram {
  std::size_t packet = 0;  // number in the file, from 1; of the last fragment
  Bytes source;            // network address of the sender
  std::uint16_t source_port = 0;
  Bytes bytes;
};

// One direction of one TCP connection, in order, each byte once.
struct Stream {
  Bytes bytes;
};

struct Capture {
  std::vector<Datagram> datagrams;
  std::vector<Stream> streams;
};

// Throws std::runtime_error if the file is no capture of this kind.
Capture read_capture(const std::string& name);

// Names of all captures without ".pcap", sorted.
std::vector<std::string> capture_names();

}  // namespace ctsync::wire_test
