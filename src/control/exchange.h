// SPDX-License-Identifier: GPL-2.0-or-later
// A request to the daemon that never waits within a call: for a client that has other things to do, and asks again.
#pragma once

#include <functional>
#include <string>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"
#include "ctsync/control/request.h"

namespace ctsync::control {

// Sends it over a fresh connection. False: see errno.
bool send_request(int fd, Request request);

class Exchange {
 public:
  static constexpr std::size_t kMostBytes = 1U << 20;
  // The whole answer, which is empty if the daemon does not know the request; or why there is none.
  using Done = std::function<void(Result<std::string> answer)>;

  Exchange(EventLoop& loop, std::string path, Request request, Done done);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Only while not busy. Calls `done` at once if the daemon cannot be reached, else from the loop, however long the
  // daemon takes.
  void begin();
  bool busy() const { return static_cast<bool>(fd_); }

 private:
  Result<> ask();
  void on_readable();
  void end(Result<std::string> answer);

  EventLoop& loop_;
  std::string path_;
  Request request_;
  Done done_;
  UniqueFd fd_;
  std::string answer_;
};

}  // namespace ctsync::control
