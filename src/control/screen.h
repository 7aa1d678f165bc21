// SPDX-License-Identifier: GPL-2.0-or-later
// The terminal as a screen for pictures that replace each other (ECMA-48, and what xterm added): the alternate screen,
// without cursor, and single keys. What was there before comes back when it goes. A terminal that takes nothing makes
// nobody wait: pictures are left out until it does.
#pragma once

#include <termios.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/result.h"
#include "ctsync/base/unique_fd.h"
#include "watch_frame.h"

namespace ctsync::control {

class Screen {
 public:
  struct Handlers {
    std::function<void(char)> key;
    std::function<void()> hang_up;  // the terminal is gone, or its end of file was typed
  };

  // Is standard output a terminal that can be used so?
  static bool possible();

  Screen(EventLoop& loop, Handlers handlers, bool colour);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  Result<> open();
  void show(const std::vector<Line>& lines);
  Size size() const;
  bool has_keys() const { return old_modes_.has_value(); }

  // The terminal as it was, and again as a screen: for the time that the process is suspended.
  void leave();
  void enter();

 private:
  void on_key();
  void on_terminal(std::uint32_t events);
  void flush();
  bool write_some();

  EventLoop& loop_;
  Handlers handlers_;
  bool colour_;
  UniqueFd out_;                      // opened anew: no other program gets a terminal that does not block
  std::optional<termios> old_modes_;  // nothing: standard input is no terminal
  bool entered_ = false;
  std::string unwritten_;
};

}  // namespace ctsync::control
