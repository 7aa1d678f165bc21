// SPDX-License-Identifier: GPL-2.0-or-later
// The log: a seam (Log) and the real thing (SystemLog: terminal, file, syslog) in conntrackd's line format
// (spec cli.md section 10): "[Www Mmm dd hh:mm:ss yyyy] (pid=N) [LEVEL] text". It never makes its writer wait.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ctsync/base/clock.h"
#include "ctsync/base/file_writer.h"
#include "ctsync/base/line_writer.h"
#include "ctsync/base/result.h"
#include "ctsync/base/syslog_writer.h"
#include "ctsync/base/terminal_writer.h"

namespace ctsync {

enum class Level : std::uint8_t { info, notice, warning, error };

class Log {
 public:
  virtual ~Log() = default;
  virtual void write(Level level, std::string_view text) = 0;
  // A line of its own, as conntrackd writes an entry that could not be committed: "date<TAB>text" in the file, the text
  // at `level` in syslog.
  virtual void write_entry(Level level, std::string_view text) = 0;

  template <typename... A>
  void info(fmt::format_string<A...> f, A&&... a) {
    write(Level::info, fmt::format(f, std::forward<A>(a)...));
  }
  template <typename... A>
  void notice(fmt::format_string<A...> f, A&&... a) {
    write(Level::notice, fmt::format(f, std::forward<A>(a)...));
  }
  template <typename... A>
  void warning(fmt::format_string<A...> f, A&&... a) {
    write(Level::warning, fmt::format(f, std::forward<A>(a)...));
  }
  template <typename... A>
  void error(fmt::format_string<A...> f, A&&... a) {
    write(Level::error, fmt::format(f, std::forward<A>(a)...));
  }
};

// What of the log goes to the terminal: notice and info to stdout, warning and error to stderr.
enum class Terminal : std::uint8_t { none, problems, all };  // problems: warning and error

// Where a SystemLog writes.
struct LogTargets {
  std::string file;                    // path, empty = none; see FileWriter
  std::optional<int> syslog_facility;  // LOG_DAEMON, LOG_LOCAL0 ...
  Terminal terminal = Terminal::all;
};

// A line is written before write() returns if its places take it at once. Else it is kept: call flush() now and then
// while pending().
class SystemLog final : public Log {
 public:
  static constexpr std::size_t kMostKept = 256U << 10;  // bytes, for each place
  // How long the end of the log, or of its terminal, is put off for lines that are still kept.
  static constexpr Duration kLastTry = std::chrono::milliseconds(200);

  SystemLog();  // terminal only, until open()
  ~SystemLog() override;
  SystemLog(const SystemLog&) = delete;
  SystemLog& operator=(const SystemLog&) = delete;

  // Opens the file. On failure nothing changes and the error names the file. What was written before the first open()
  // that works goes to file and syslog now.
  Result<> open(const LogTargets& targets);
  // Opens the file again under its name (after rotation); on failure the old one stays in use.
  Result<> reopen();
  // With -d the terminal goes once start-up is over.
  void set_terminal(Terminal t);

  bool pending() const;
  LineWriter::Left flush();

  void write(Level level, std::string_view text) override;
  void write_entry(Level level, std::string_view text) override;

 private:
  std::vector<LineWriter*> writers();
  static void put(LineWriter& writer, std::string_view line);
  void to_file(std::string_view line);
  void to_syslog(Level level, std::string_view text);

  struct Line {
    Level level;
    std::string text;
  };

  LogTargets targets_;
  std::optional<std::vector<Line>> early_{std::in_place};  // until open(); entries (write_entry) are none of them
  TerminalWriter out_;
  TerminalWriter err_;
  std::unique_ptr<FileWriter> file_;      // none: not wanted
  std::unique_ptr<SyslogWriter> syslog_;  // none: not wanted
};

// "Www Mmm dd hh:mm:ss yyyy" of local time, as ctime prints it, without newline.
std::string ctime_text(std::int64_t wall_seconds);

// Holds back repetitions: allow() is true at most once an interval, and then says how many were held back since.
class RateLimit {
 public:
  explicit RateLimit(Duration interval) : interval_(interval) {}
  bool allow(TimePoint now) {
    if (last_ && now - *last_ < interval_) {
      ++held_back_;
      return false;
    }
    last_ = now;
    reported_ = std::exchange(held_back_, 0);
    return true;
  }
  std::uint64_t held_back() const { return reported_; }  // before the one just allowed

 private:
  Duration interval_;
  std::optional<TimePoint> last_;
  std::uint64_t held_back_ = 0;
  std::uint64_t reported_ = 0;
};

}  // namespace ctsync
