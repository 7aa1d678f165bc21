// SPDX-License-Identifier: GPL-2.0-or-later
// A client of the control socket as request handlers and jobs see it. A copyable handle: the connection belongs to the
// server and may vanish at any time; every call on a vanished client does nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "ctsync/base/event_loop.h"

namespace ctsync::control {

class Connection;

class Client {
 public:
  Client() = default;  // a client that has gone already
  explicit Client(std::weak_ptr<Connection> connection) : connection_(std::move(connection)) {}

  // False once the peer has closed, the connection failed, or finish() has been called.
  bool connected() const;

  // Sends what the socket takes at once and buffers the rest. Text of moderate size may be written without asking;
  // whoever produces much asks writable_room() first and waits when there is none.
  void write(std::string_view text);

  // Bytes that may be written before the buffer is full; 0 for a client that has gone.
  std::size_t writable_room() const;

  // The job is woken when a full buffer has drained, and when the client goes away. One job a client. The job calls
  // set_waiter(nullptr) before it ends.
  void set_waiter(Job* job);

  // Closes the connection once everything written has been sent. To be called once for every request.
  void finish();

 private:
  std::weak_ptr<Connection> connection_;
};

}  // namespace ctsync::control
