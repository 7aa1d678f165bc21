// SPDX-License-Identifier: GPL-2.0-or-later
// Who has asked a simulated node for something: reads when it likes, or goes away. The buffer between is small, so that
// long answers fill it.
#pragma once

#include <algorithm>
#include <string>

#include "ctsync/node/client.h"

namespace ctsync::sim {

class Client final : public node::ClientChannel {
 public:
  static constexpr std::size_t kBuffer = 2000;  // bytes

  bool usable() const override { return !gone_ && finishes_ == 0; }
  void write(std::string_view text) override {
    text_ += text;
    unread_ += text.size();
  }
  bool full() const override { return unread_ >= kBuffer; }
  void set_waiter(Job* job) override { waiter_ = job; }
  void finish() override { ++finishes_; }

  void read(std::size_t most) {
    const bool was_full = full();
    unread_ -= std::min(most, unread_);
    if (was_full && !full()) wake();
  }
  void leave() {
    gone_ = true;
    wake();
  }

  bool gone() const { return gone_; }
  bool served() const { return finishes_ != 0 && unread_ == 0; }
  int finishes() const { return finishes_; }
  const std::string& text() const { return text_; }

 private:
  void wake() {
    if (waiter_ != nullptr) waiter_->wake();
  }

  std::string text_;
  std::size_t unread_ = 0;
  Job* waiter_ = nullptr;
  bool gone_ = false;
  int finishes_ = 0;
};

}  // namespace ctsync::sim
