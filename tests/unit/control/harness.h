// SPDX-License-Identifier: GPL-2.0-or-later
// A control socket in a directory of its own, with the event loop, a clock that the test moves, and clients in the same
// thread.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>

#include "ctsync/base/event_loop.h"
#include "ctsync/control/server.h"
#include "recording_log.h"

namespace ctsync::control {

class TestClock final : public Clock {
 public:
  TimePoint now() const override { return system_.now() + ahead_; }
  std::int64_t wall_seconds() const override { return system_.wall_seconds(); }
  void advance(Duration d) { ahead_ += d; }

 private:
  SystemClock system_;
  Duration ahead_{};
};

// One end of a connection to the control socket; never blocks.
class TestPeer {
 public:
  explicit TestPeer(const std::string& path);
  void send(std::int32_t code);
  void send_bytes(const void* data, std::size_t n);
  void shut_down_sending();
  void shut_down_reading();
  void leave() { fd_.reset(); }

  // Reads what is there, at most `most` bytes, into text(). False after end of file or an error.
  bool read(std::size_t most = SIZE_MAX);
  const std::string& text() const { return text_; }
  bool ended() const { return ended_; }  // end of file
  int error() const { return error_; }   // errno

 private:
  UniqueFd fd_;
  std::string text_;
  bool ended_ = false;
  int error_ = 0;
};

class ServerTest : public testing::Test, protected CommandHandler {
 protected:
  ServerTest();
  ~ServerTest() override;

  void on_command(const node::Command& command, const node::Client& client) override { answer(command, client); }
  void on_client_dropped() override { ++dropped; }
  void turns(int n = 5);
  // Turns until the peer has seen the end, or long enough.
  void run_to_end(TestPeer& peer);

  std::string directory_;
  std::string path_;
  TestClock clock_;
  EventLoop loop_{clock_};
  node::test::RecordingLog log_;
  Server server_{loop_, *this, log_};
  int dropped = 0;
  std::function<void(const node::Command&, node::Client)> answer = [](const node::Command&, node::Client c) {
    c.finish();
  };
};

}  // namespace ctsync::control
