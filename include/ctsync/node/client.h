// SPDX-License-Identifier: GPL-2.0-or-later
// Who asked for something, as commands and jobs see it: a way to send text, with an end. The connection behind it
// belongs to somebody else (the control socket) and may vanish at any time.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "ctsync/base/jobs.h"
#include "ctsync/node/command.h"

namespace ctsync::node {

// The connection.
class ClientChannel {
 public:
  virtual ~ClientChannel() = default;
  // False once the peer has closed, the connection failed, or finish() has been called.
  virtual bool usable() const = 0;
  virtual void write(std::string_view text) = 0;
  virtual bool full() const = 0;
  virtual void set_waiter(Job* job) = 0;
  virtual void finish() = 0;
};

// A copyable handle; every call on a vanished client does nothing.
class Client {
 public:
  Client() = default;  // a client that has gone already
  explicit Client(std::weak_ptr<ClientChannel> channel) : channel_(std::move(channel)) {}

  bool connected() const {
    const auto c = channel_.lock();
    return c && c->usable();
  }
  // Sends what the socket takes at once and buffers the rest. Text of moderate size may be written without asking;
  // whoever produces much stops while the client is full.
  void write(std::string_view text) const {
    if (const auto c = channel_.lock()) c->write(text);
  }
  // The buffer holds as much as it may. The waiter is woken when that changes.
  bool full() const {
    const auto c = channel_.lock();
    return c && c->full();
  }
  // The job to wake when a full buffer has drained, and when the client goes away. One job a client. The job calls
  // set_waiter(nullptr) before it ends.
  void set_waiter(Job* job) const {
    if (const auto c = channel_.lock()) c->set_waiter(job);
  }
  // Closes the connection once everything written has been sent. To be called once for every command.
  void finish() const {
    if (const auto c = channel_.lock()) c->finish();
  }

 private:
  std::weak_ptr<ClientChannel> channel_;
};

// What is answered to a request that conntrackd does not have (see control/request.h): a status for the client to end with.
inline std::string outcome_text(int status, std::string_view text) {
  return fmt::format("status {}\n{}\n", status, text);
}

// The answer of a node that has nothing to list, or has not what the command is about.
inline void answer_nothing(const Command& command, const Client& client) {
  if (command.form == Form::json) client.write("[]\n");
  if (command.outcome) client.write(outcome_text(1, "there is nothing to do it with: no `Sync' section"));
  client.finish();
}

// Finishes a client when the last of the things that it waits for is done, or goes with the node.
struct Answer {
  explicit Answer(Client c, std::string words = {}) : client(std::move(c)), last_words(std::move(words)) {}
  ~Answer() { finish(); }
  // Now, if not yet.
  void finish() {
    client.write(std::exchange(last_words, {}));
    std::exchange(client, {}).finish();
  }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;
  Client client;
  std::string last_words;
};

}  // namespace ctsync::node
