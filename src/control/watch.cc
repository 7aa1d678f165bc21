// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/watch.h"

#include <fmt/format.h>
#include <langinfo.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "ctsync/control/client.h"
#include "exchange.h"
#include "screen.h"
#include "watch_frame.h"
#include "watch_history.h"

namespace ctsync::control {
namespace {

// Where the text goes to no terminal.
// Where the text goes to no terminal.
constexpr Size kPage{80, std::numeric_limits<int>::max()};

bool colour_is_wanted() {
  const char* const no = std::getenv("NO_COLOR");
  return no == nullptr || *no == '\0';
}

bool is_utf8() {
  std::setlocale(LC_CTYPE, "");
  return std::string_view(::nl_langinfo(CODESET)) == "UTF-8";
}

std::string time_of_day() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 16> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%H:%M:%S", &local)};
}

class Watch {
 public:
  Watch(const std::string& path, std::chrono::seconds interval, Log& log)
      : interval_(interval),
        log_(log),
        loop_(clock_),
        timer_(loop_, [this] { tick(); }),
        exchange_(loop_, path, Request::metrics, [this](Result<std::string> answer) { take(std::move(answer)); }) {}

  int run() {
    if (auto r = begin(); !r) return tell(r.error());
    heard_ = loop_.now();
    tick();
    const auto r = loop_.run();
    screen_.reset();  // what is said now is to stay
    if (!r) return tell(r.error());
    if (!failure_.empty()) log_.error("{}", failure_);
    return status_;
  }

 private:
  int tell(const Error& e) {
    log_.error("{}", e.text);
    return 1;
  }

  Result<> begin() {
    if (auto r = loop_.open(); !r) return r;
    if (!Screen::possible()) return {};
    if (auto r = loop_.watch_signals({SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP},
                                     [this](int signal) { on_signal(signal); });
        !r) {
      return r;
    }
    screen_.emplace(loop_, Screen::Handlers{[this](char key) { on_key(key); }, [this] { loop_.stop(); }},
                    colour_is_wanted());
    return screen_->open();
  }

  void on_signal(int signal) {
    if (signal == SIGWINCH) return show();
    if (signal == SIGTSTP) return suspend();
    loop_.stop();
  }

  void suspend() {
    screen_->leave();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    ::raise(SIGTSTP);
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);  // here it stops
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    screen_->enter();
    show();
  }

  void on_key(char key) {
    if (key == 'q' || key == 'Q') loop_.stop();
    if (key != ' ') return;
    paused_ = !paused_;
    paused_ ? show() : tick();
  }

  void tick() {
    if (paused_) return;
    timer_.arm_in(interval_);
    if (exchange_.busy()) return show();
    asked_ = loop_.now();
    exchange_.begin();
  }

  void take(Result<std::string> answer) {
    if (answer && answer->empty() && history_.empty()) {
      return end_with(kUnknownRequest, "the daemon that runs does not know this request: restart it");
    }
    if (!answer) {
      reason_ = answer.error().text;
    } else if (auto samples = Samples::parse(*answer)) {
      heard_ = loop_.now();
      history_.add(heard_, std::move(*samples));
      reason_.clear();
    } else {
      reason_ = "the answer is not complete";
    }
    show();
  }

  void end_with(int status, std::string why) {
    status_ = status;
    failure_ = std::move(why);
    loop_.stop();
  }

  std::optional<Silence> silence() const {
    constexpr auto kPatience = std::chrono::seconds(2);
    const bool slow = exchange_.busy() && loop_.now() - asked_ >= kPatience;
    if (reason_.empty() && !slow) return std::nullopt;
    return Silence{std::chrono::duration_cast<std::chrono::seconds>(loop_.now() - heard_), reason_};
  }

  void show() {
    if (paused_ && history_.empty()) return;
    const WatchView view{.history = history_,
                         .silence = silence(),
                         .time = time_of_day(),
                         .interval = interval_,
                         .paused = paused_,
                         .keys = screen_ && screen_->has_keys(),
                         .blocks = utf8_};
    if (screen_) return screen_->show(draw(view, screen_->size()));
    std::string text;
    for (const auto& line : draw(view, kPage)) text += plain_text(line) + "\n";
    text += "\n";
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
      end_with(1, fail_errno("can't write").error().text);
    }
  }

  std::chrono::seconds interval_;
  Log& log_;
  SystemClock clock_;
  EventLoop loop_;
  Timer timer_;
  std::optional<Screen> screen_;
  WatchHistory history_;
  TimePoint asked_{};
  TimePoint heard_{};   // or since when an answer is waited for
  std::string reason_;  // of the last failure; empty: there is none
  bool paused_ = false;
  const bool utf8_ = is_utf8();
  int status_ = 0;
  std::string failure_;
  Exchange exchange_;
};

}  // namespace

int run_watch(const std::string& socket_path, std::chrono::seconds interval, Log& log) {
  return Watch(socket_path, interval, log).run();
}

}  // namespace ctsync::control
