// SPDX-License-Identifier: GPL-2.0-or-later
// A job that lists something to a client, as fast as that reads, and stops when it has gone. Finishes the client when
// it goes. If that is before its end, its last line says so; a JSON array is left open then.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ctsync/base/jobs.h"
#include "ctsync/node/client.h"
#include "ctsync/node/command.h"

namespace ctsync::node {

class ListJob : public Job {
 public:
  ListJob(Client client, Form form) : form_(form), client_(std::move(client)) { client_.set_waiter(this); }
  ~ListJob() override {
    client_.set_waiter(nullptr);
    if (!ended_) {
      write_text();
      write_remark("the list is not complete: the daemon stops\n");
    }
    client_.finish();
  }
  ListJob(const ListJob&) = delete;
  ListJob& operator=(const ListJob&) = delete;

  State step(TimePoint budget_end) final {
    const auto state = list(budget_end);
    ended_ = state == State::done;
    if (ended_ && is_json() && whole_) client_.write(begun_ ? "]\n" : "[]\n");
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

  Form form() const { return form_; }
  bool is_json() const { return form_ == Form::json; }
  // Comes before each element of a JSON array.
  void begin_element() {
    text_ += begun_ ? ",\n" : "[";
    begun_ = true;
  }
  // What is wrong with the list.
  void write_remark(std::string_view text) {
    whole_ = false;
    if (!is_json()) client_.write(text);
  }

  std::string text_;  // of the current slice

 private:
  Form form_;
  bool begun_ = false;
  bool whole_ = true;
  Client client_;
  bool ended_ = false;
};

}  // namespace ctsync::node
