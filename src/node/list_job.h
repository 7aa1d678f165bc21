// SPDX-License-Identifier: GPL-2.0-or-later
// A job that lists something to a client, as fast as that reads, and stops when it has gone. Finishes the client when
// it goes. If that is before its end, its last line says so.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "ctsync/base/jobs.h"
#include "ctsync/node/client.h"

namespace ctsync::node {

class ListJob : public Job {
 public:
  explicit ListJob(Client client) : client_(std::move(client)) { client_.set_waiter(this); }
  ~ListJob() override {
    client_.set_waiter(nullptr);
    if (!ended_) client_.write("the list is not complete: the daemon stops\n");
    client_.finish();
  }
  ListJob(const ListJob&) = delete;
  ListJob& operator=(const ListJob&) = delete;

  State step(TimePoint budget_end) final {
    const auto state = list(budget_end);
    ended_ = state == State::done;
    return state;
  }

 protected:
  // A step.
  virtual State list(TimePoint budget_end) = 0;
  // Nothing while the client takes more; else how the step ends.
  std::optional<State> held_up() const {
    if (!client_.connected()) return State::done;
    if (client_.full()) return State::waiting;
    return std::nullopt;
  }
  // Hands the text to the client; it is empty then.
  void write_text() {
    client_.write(text_);
    text_.clear();
  }

  std::string text_;  // of the current slice

 private:
  Client client_;
  bool ended_ = false;
};

}  // namespace ctsync::node
