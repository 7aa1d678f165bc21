// SPDX-License-Identifier: GPL-2.0-or-later
#include "screen.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace ctsync::control {
namespace {

constexpr std::string_view kEnter = "\033[?1049h\033[?25l\033[2J";
constexpr std::string_view kLeave = "\033[0m\033[?25h\033[?1049l";
constexpr char kEndOfFile = 'D' & 0x1f;

std::string_view sequence_of(Tone tone) {
  switch (tone) {
    case Tone::plain:
      return "";
    case Tone::bold:
      return "\033[1m";
    case Tone::dim:
      return "\033[2m";
    case Tone::good:
      return "\033[32m";
    case Tone::warning:
      return "\033[33m";
    case Tone::bad:
      return "\033[1;31m";
  }
  return "";
}

void append(std::string& out, const Piece& piece, bool colour) {
  const auto sequence = colour ? sequence_of(piece.tone) : "";
  out += sequence;
  out += piece.text;
  if (!sequence.empty()) out += "\033[0m";
}

}  // namespace

bool Screen::possible() {
  const char* const type = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && type != nullptr && *type != '\0' && std::string_view(type) != "dumb";
}

Screen::Screen(EventLoop& loop, Handlers handlers, bool colour)
    : loop_(loop), handlers_(std::move(handlers)), colour_(colour) {}

Screen::~Screen() {
  leave();
  if (out_) loop_.unwatch(out_.get());
  if (has_keys()) loop_.unwatch(STDIN_FILENO);
}

Result<> Screen::open() {
  const auto path = fmt::format("/proc/self/fd/{}", STDOUT_FILENO);
  out_.reset(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!out_) return fail_errno("can't open the terminal");
  if (auto r = loop_.watch(out_.get(), 0, [this](std::uint32_t events) { on_terminal(events); }); !r) return r;
  termios modes{};
  if (::tcgetattr(STDIN_FILENO, &modes) == 0) {
    if (auto r = loop_.watch(STDIN_FILENO, EPOLLIN, [this](std::uint32_t) { on_key(); }); !r) return r;
    old_modes_ = modes;
  }
  enter();
  return {};
}

void Screen::enter() {
  if (entered_) return;
  entered_ = true;
  if (old_modes_) {
    termios modes = *old_modes_;
    modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    modes.c_iflag &= ~static_cast<tcflag_t>(IXON);
    modes.c_cc[VMIN] = 1;
    modes.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSANOW, &modes);
  }
  unwritten_ += kEnter;
  flush();
}

void Screen::leave() {
  if (!entered_) return;
  entered_ = false;
  unwritten_ += kLeave;
  constexpr auto kLastTry = std::chrono::milliseconds(200);
  const auto end = std::chrono::steady_clock::now() + kLastTry;
  while (!write_some() && std::chrono::steady_clock::now() < end) {
    pollfd writable{.fd = out_.get(), .events = POLLOUT, .revents = 0};
    constexpr int kWait = 20;
    ::poll(&writable, 1, kWait);
  }
  unwritten_.clear();
  if (old_modes_) ::tcsetattr(STDIN_FILENO, TCSANOW, &*old_modes_);
}

void Screen::show(const std::vector<Line>& lines) {
  if (!entered_ || !unwritten_.empty()) return;
  int row = 0;
  for (const auto& line : lines) {
    // Erased first: behind a full line some terminals would take its last character.
    unwritten_ += fmt::format("\033[{};1H\033[2K", ++row);
    for (const auto& piece : line) append(unwritten_, piece, colour_);
  }
  if (row < size().rows) unwritten_ += fmt::format("\033[{};1H\033[J", row + 1);
  flush();
}

Size Screen::size() const {
  winsize w{};
  constexpr Size kUsual{80, 24};
  if (::ioctl(out_.get(), TIOCGWINSZ, &w) < 0 || w.ws_col == 0 || w.ws_row == 0) return kUsual;
  return {w.ws_col, w.ws_row};
}

// Whether nothing is left that could be written.
bool Screen::write_some() {
  while (!unwritten_.empty()) {
    const auto n = ::write(out_.get(), unwritten_.data(), unwritten_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return false;
    // A terminal that is gone takes nothing more; the loop tells.
    unwritten_.erase(0, n < 0 ? unwritten_.size() : static_cast<std::size_t>(n));
  }
  return true;
}

void Screen::flush() { loop_.change(out_.get(), write_some() ? 0U : std::uint32_t{EPOLLOUT}); }

void Screen::on_terminal(std::uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return handlers_.hang_up();
  flush();
}

void Screen::on_key() {
  std::array<char, 64> keys{};
  const auto n = ::read(STDIN_FILENO, keys.data(), keys.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) return handlers_.hang_up();
  for (ssize_t i = 0; i < n; ++i) {
    const char key = keys[static_cast<std::size_t>(i)];
    if (key == kEndOfFile) return handlers_.hang_up();
    handlers_.key(key);
  }
}

}  // namespace ctsync::control
