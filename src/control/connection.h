// SPDX-License-Identifier: GPL-2.0-or-later
// One accepted client: its descriptor, the request as far as it has come, and the text that the socket has not taken
// yet. Knows nothing of the loop but the events it wants; the server acts on what its calls return.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ctsync/base/clock.h"
#include "ctsync/base/event_loop.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/node/client.h"

namespace ctsync::control {

class Connection final : public node::ClientChannel {
 public:
  // Text beyond this is buffered as well, but full() says that it should not be written.
  static constexpr std::size_t kBufferSize = 64 * 1024;

  Connection(UniqueFd fd, EventLoop& loop, TimePoint deadline) : fd_(std::move(fd)), loop_(loop), deadline_(deadline) {}

  int fd() const { return fd_.get(); }
  TimePoint deadline() const { return deadline_; }  // for the request
  bool has_request() const { return has_request_; }

  enum class Read { more, request, end };
  // Reads until the request is complete; request() is set then.
  Read read_request();
  std::int32_t request() const;

  // Reads and forgets what comes after the request, a bounded amount a call. A client whose bytes stayed unread would
  // see a reset in place of the end of the answer.
  void discard_input();

  bool usable() const override { return open_ && !failed_ && !finishing_; }
  bool full() const override { return usable() && pending() >= kBufferSize; }
  void write(std::string_view text) override;
  void finish() override;
  void set_waiter(Job* job) override { waiter_ = job; }

  // Sends what the socket takes. Wakes the waiter when there is much room again. False if the connection failed.
  bool flush();
  // Since when the client has taken nothing of what waits for it; empty if nothing waits.
  std::optional<TimePoint> stalled_since() const { return stalled_since_; }
  // Everything has been sent and no more will come.
  bool done() const { return finishing_ && pending() == 0; }

  // The last words of a process that ends: waits until the socket has taken all, until `end` at most.
  void flush_until(TimePoint end);

  // Ends the connection; the handles see a client that has gone.
  void close();

 private:
  std::size_t pending() const { return buffer_.size() - sent_; }
  std::uint32_t wanted_events() const;
  void update_events() { loop_.change(fd(), wanted_events()); }
  void wake_waiter();

  UniqueFd fd_;
  EventLoop& loop_;
  TimePoint deadline_;
  std::array<std::uint8_t, sizeof(std::int32_t)> request_{};
  std::size_t received_ = 0;
  bool has_request_ = false;
  bool input_ended_ = false;
  bool open_ = true;
  bool failed_ = false;
  bool finishing_ = false;
  std::string buffer_;
  std::size_t sent_ = 0;  // of buffer_
  std::optional<TimePoint> stalled_since_;
  Job* waiter_ = nullptr;
};

}  // namespace ctsync::control
