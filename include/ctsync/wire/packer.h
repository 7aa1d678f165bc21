// SPDX-License-Identifier: GPL-2.0-or-later
// Collects messages into datagrams (spec replication.md 1.4). A message joins the open datagram if the sum stays
// strictly below the link's buffer size, otherwise it opens the next one; a message that is too large by itself goes
// alone, whole. Datagrams are handed to the sink in batches, so that one system call sends many: when kBatch are
// complete, and with flush(). Messages are encoded in place; after construction nothing is allocated, except for a
// larger buffer size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"
#include "ctsync/wire/datagram_sink.h"
#include "ctsync/wire/extension.h"
#include "ctsync/wire/flow_codec.h"
#include "ctsync/wire/header.h"

namespace ctsync::wire {

class Packer {
 public:
  static constexpr std::size_t kBatch = 64;  // most datagrams in one send()

  // `buffer_size`: MTU of the link minus the constant of its transport, in bytes. The sink must outlive the packer.
  Packer(std::size_t buffer_size, const EncodeOptions& options, DatagramSink& sink);

  // When another link becomes the active one. What is already packed stays as it is; nothing is sent.
  void set_buffer_size(std::size_t buffer_size);

  // Whether those that hear what is packed from now on take zones of one direction (EncodeOptions).
  void set_one_way_zones(bool on) { options_.one_way_zones = on; }
  // As in EncodeOptions, for what is packed from now on.
  void set_send_timeout(bool on) { options_.send_timeout = on; }

  void flow(MsgType type, std::uint8_t flags, std::uint32_t seq, const Flow& f, const FlowExtra* extra,
            std::uint32_t age_seconds);
  void expectation(MsgType type, std::uint8_t flags, std::uint32_t seq, const Expectation& e,
                   std::uint32_t age_seconds);
  void control(std::uint8_t flags, std::uint32_t seq, std::uint32_t from, std::uint32_t to, const Extension& tail = {});
  void alive(std::uint8_t flags, std::uint32_t seq, const Extension& tail = {});

  // Hands everything packed to the sink.
  void flush();
  bool empty() const { return end_ == 0; }

 private:
  ByteWriter room();
  void add_control(ByteWriter& w, const Extension& tail);
  void added(std::size_t message_size);
  void close_open();
  void send_closed();

  DatagramSink& sink_;
  EncodeOptions options_;
  std::size_t buffer_size_;
  // Complete datagrams one after the other, then the open one: [open_begin_, end_).
  std::unique_ptr<std::uint8_t[]> arena_;
  std::size_t arena_size_;
  std::size_t open_begin_ = 0;
  std::size_t end_ = 0;
  std::array<std::span<const std::uint8_t>, kBatch> closed_;
  std::size_t closed_count_ = 0;
};

}  // namespace ctsync::wire
