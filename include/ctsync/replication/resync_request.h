// SPDX-License-Identifier: GPL-2.0-or-later
// When to ask the peers for everything, and when to ask again (StartupResync, -n). Stock conntrackd asks once; if the
// link comes up later, or the peer starts later, it never learns what was there before. Each request costs a peer a
// bulk send of its whole table, so they are few:
//  - A peer was heard lately: ask once, as stock does.
//  - Nobody was heard: ask once into the dark. As soon as somebody is heard, ask again, but not within kSpacing of the
//    last time. From then on ask again after 3, 6, 12 and 24 seconds, kMaxTries times in all.
//  - It is over as soon as data arrives within kAnswerTime of a request, for that is taken as the answer; or when the
//    engine knows by other means that the request has arrived (an acknowledgement).
// While nobody is heard nothing is sent. A state machine without I/O, as the engines are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "ctsync/base/clock.h"

namespace ctsync::replication {

enum class Ask : std::uint8_t {
  now,         // and again, when it seems in vain
  when_heard,  // as above, but not before a peer is heard
  once,        // now and never again
};

class ResyncRequest {
 public:
  static constexpr Duration kSpacing = std::chrono::seconds(2);
  static constexpr Duration kAnswerTime = std::chrono::seconds(3);
  static constexpr std::uint32_t kMaxTries = 5;
  static constexpr Duration kHeardLately = std::chrono::seconds(3);

  void open(TimePoint now, Ask when) {
    waiting_ = true;
    heard_ = when == Ask::once;
    tries_left_ = when == Ask::once ? 1 : kMaxTries;
    pause_ = kAnswerTime;
    due_ = when == Ask::when_heard ? std::nullopt : std::optional(now);
  }

  bool is_due(TimePoint now) const { return due_ && now >= *due_; }
  std::optional<TimePoint> deadline() const { return due_; }

  // The request was sent.
  void asked(TimePoint now) {
    asked_at_ = now;
    due_.reset();
    if (!heard_) return;
    if (--tries_left_ == 0) return answered();
    due_ = now + pause_;
    pause_ *= 2;
  }
  // A message of a peer was accepted that is no answer.
  void heard(TimePoint now) {
    if (!waiting_ || heard_) return;
    heard_ = true;
    due_ = asked_at_ ? std::max(now, *asked_at_ + kSpacing) : now;
  }
  void data_heard(TimePoint now) {
    if (waiting_ && asked_at_ && now - *asked_at_ < kAnswerTime) return answered();
    heard(now);
  }
  // The peer that has just begun a session cannot have heard the last request, or has dropped it with the old session.
  void forgotten(TimePoint now) {
    if (!waiting_ || !heard_ || !asked_at_) return;
    due_ = std::max(now, *asked_at_ + kSpacing);
  }
  void answered() {
    waiting_ = false;
    due_.reset();
  }

 private:
  bool waiting_ = false;
  bool heard_ = false;  // somebody, since it is waiting
  std::uint32_t tries_left_ = 0;
  Duration pause_{};
  std::optional<TimePoint> asked_at_;
  std::optional<TimePoint> due_;
};

}  // namespace ctsync::replication
