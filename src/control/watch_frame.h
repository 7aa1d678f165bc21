// SPDX-License-Identifier: GPL-2.0-or-later
// One picture of the live view (`--watch`): from what the daemon has told to lines of text. Pure: it knows no terminal.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "watch_history.h"

namespace ctsync::control {

enum class Tone : std::uint8_t { plain, bold, dim, good, warning, bad };

// Of a line. The text is printable ASCII, whatever the names in it hold, or the blocks of a curve.
struct Piece {
  Tone tone = Tone::plain;
  std::string text;
};
using Line = std::vector<Piece>;

struct Size {
  int columns;
  int rows;
};

// The daemon does not answer: for so long, and why if that is known.
struct Silence {
  std::chrono::seconds since;
  std::string reason;
};

struct WatchView {
  const WatchHistory& history;
  std::optional<Silence> silence;
  std::string time;               // of the clock on the wall, "12:34:56"
  std::chrono::seconds interval;  // between two looks
  bool paused = false;
  bool keys = false;    // there is a keyboard: the last line names its keys
  bool blocks = false;  // the terminal shows UTF-8
};

// At most so many rows and columns. Where a line is too long it ends before the column that does not fit; where there are
// too few rows the gaps go first, then the last lines, whose number is told.
std::vector<Line> draw(const WatchView& view, Size size);

// The last `width` values at most, as a curve of one column each between 0 and the largest of them; blank where it is not
// a number.
std::string sparkline(const std::deque<double>& values, std::size_t width, bool blocks);

std::string plain_text(const Line& line);

}  // namespace ctsync::control
