// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

namespace ctsync {
namespace {

class SystemLogTest : public testing::Test {
 protected:
  SystemLogTest() {
    std::string pattern = testing::TempDir() + "ctsync-log-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    file_ = directory_ / "log";
  }
  ~SystemLogTest() override { std::filesystem::remove_all(directory_); }

  static std::string content(const std::filesystem::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  LogTargets to_file() const { return {.file = file_, .syslog_facility = {}, .terminal = Terminal::none}; }

  std::filesystem::path directory_;
  std::filesystem::path file_;
};

const std::string kDate = "[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}";

TEST_F(SystemLogTest, LinesHaveTheFormatOfConntrackd) {
  SystemLog log;
  ASSERT_TRUE(log.open(to_file()));
  log.info("a {}", 1);
  log.notice("b");
  log.warning("c");
  log.error("d");
  log.write_entry(Level::error, "an entry");
  const auto pid = "\\(pid=" + std::to_string(::getpid()) + "\\)";
  const std::string start = "\\[" + kDate + "\\] " + pid;
  const std::regex expected(start + " \\[info\\] a 1\n" + start + " \\[notice\\] b\n" + start + " \\[warning\\] c\n" +
                            start + " \\[ERROR\\] d\n" + kDate + "\tan entry\n");
  EXPECT_TRUE(std::regex_match(content(file_), expected)) << content(file_);
}

// Warnings about the configuration come before it is known where the log is.
TEST_F(SystemLogTest, WhatCameBeforeTheFileIsInItToo) {
  SystemLog log;
  log.warning("early");
  ASSERT_FALSE(log.open({.file = directory_ / "none" / "log", .syslog_facility = {}, .terminal = Terminal::none}));
  ASSERT_TRUE(log.open(to_file()));
  log.notice("late");
  ASSERT_TRUE(log.reopen());
  const std::regex expected("[^\n]* \\[warning\\] early\n[^\n]* \\[notice\\] late\n");
  EXPECT_TRUE(std::regex_match(content(file_), expected)) << content(file_);
}

TEST_F(SystemLogTest, FileIsPrivateAndAppendedTo) {
  {
    SystemLog log;
    ASSERT_TRUE(log.open(to_file()));
    log.info("first");
  }
  SystemLog log;
  ASSERT_TRUE(log.open(to_file()));
  log.info("second");
  EXPECT_NE(content(file_).find("first"), std::string::npos);
  EXPECT_NE(content(file_).find("second"), std::string::npos);
  struct stat st {};
  ASSERT_EQ(::stat(file_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
}

TEST_F(SystemLogTest, ReopenFollowsARotation) {
  SystemLog log;
  ASSERT_TRUE(log.open(to_file()));
  log.info("old");
  const auto rotated = directory_ / "log.1";
  std::filesystem::rename(file_, rotated);
  log.info("still old");
  ASSERT_TRUE(log.reopen());
  log.info("new");
  EXPECT_NE(content(rotated).find("still old"), std::string::npos);
  EXPECT_EQ(content(file_).find("old"), std::string::npos);
  EXPECT_NE(content(file_).find("new"), std::string::npos);
}

TEST_F(SystemLogTest, ReopenThatFailsKeepsTheOldFile) {
  SystemLog log;
  ASSERT_TRUE(log.open(to_file()));
  const auto moved = directory_ / "moved";
  std::filesystem::rename(file_, moved);
  std::filesystem::create_directory(file_);  // cannot be opened for writing
  EXPECT_FALSE(log.reopen());
  log.info("not lost");
  EXPECT_NE(content(moved).find("not lost"), std::string::npos);
}

TEST_F(SystemLogTest, OpenThatFailsNamesTheFile) {
  SystemLog log;
  const auto result = log.open({.file = directory_ / "no" / "such", .syslog_facility = {}, .terminal = Terminal::none});
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().text.find("no/such"), std::string::npos);
  EXPECT_EQ(result.error().code, ENOENT);
}

TEST_F(SystemLogTest, TerminalGetsErrorsOnStderrAndTheRestOnStdout) {
  SystemLog log;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  log.notice("to out");
  log.warning("to err");
  log.set_terminal(Terminal::none);
  log.error("to none");
  const auto out = testing::internal::GetCapturedStdout();
  const auto err = testing::internal::GetCapturedStderr();
  EXPECT_NE(out.find("[notice] to out\n"), std::string::npos);
  EXPECT_EQ(out.find("to err"), std::string::npos);
  EXPECT_NE(err.find("[warning] to err\n"), std::string::npos);
  EXPECT_EQ(err.find("to none"), std::string::npos);
}

class Pipe {
 public:
  Pipe() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::pipe2(fds.data(), O_CLOEXEC), 0);
    reader.reset(fds[0]);
    writer.reset(fds[1]);
  }
  std::string read_some() const {
    std::string text(1U << 20, '\0');
    const auto n = ::read(reader.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  UniqueFd reader;
  UniqueFd writer;
};

// Puts `fd` into the place of stdout and stderr.
class Redirected {
 public:
  explicit Redirected(int fd) : out_(::dup(STDOUT_FILENO)), err_(::dup(STDERR_FILENO)) {
    std::fflush(stdout);
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
  }
  ~Redirected() {
    ::dup2(out_.get(), STDOUT_FILENO);
    ::dup2(err_.get(), STDERR_FILENO);
  }

 private:
  UniqueFd out_;
  UniqueFd err_;
};

// More than a pipe and the log together take, each line to stdout or stderr.
void write_much(Log& log) {
  for (int i = 0; i < 10'000; ++i) {
    if (i % 2 == 0) {
      log.notice("line {:030}", i);
    } else {
      log.error("line {:030}", i);
    }
  }
}

// The console of a container whose reader hangs: all that is written to it blocked the daemon.
TEST_F(SystemLogTest, FullPipeAsTerminalHoldsNobodyUpAndItsModeIsLeftAlone) {
  const Pipe pipe;
  std::string got;
  {
    SystemLog log;
    {
      const Redirected redirected(pipe.writer.get());
      write_much(log);
      EXPECT_TRUE(log.pending());
      EXPECT_EQ(::fcntl(pipe.writer.get(), F_GETFL) & O_NONBLOCK, 0) << "others share it";
      while (log.pending()) {
        got += pipe.read_some();
        log.flush();
      }
      log.set_terminal(Terminal::none);
    }
  }
  ::fcntl(pipe.reader.get(), F_SETFL, O_NONBLOCK);
  got += pipe.read_some();
  // All of one stream, in order, up to the gap, which is told.
  int expected = 0;
  std::size_t at = 0;
  const auto gap = got.find(" lines were lost");
  ASSERT_NE(gap, std::string::npos);
  while ((at = got.find(" line 0", at)) != std::string::npos && at < gap) {
    EXPECT_EQ(std::stoi(got.substr(at + 6, 30)), expected++);
    ++at;
  }
  EXPECT_GT(expected, 3000);
  EXPECT_NE(got.find(fmt::format("[warning] {} lines were lost", 10'000 - expected)), std::string::npos);
}

TEST_F(SystemLogTest, NoDescriptorOfTheTerminalIsKept) {
  Pipe pipe;
  SystemLog log;
  {
    const Redirected redirected(pipe.writer.get());
    log.notice("x");
  }
  pipe.writer.reset();
  EXPECT_NE(pipe.read_some(), "");
  EXPECT_EQ(pipe.read_some(), "") << "the end of the pipe";
}

TEST_F(SystemLogTest, TerminalThatIsGoneIsForgotten) {
  ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  pipe.reader.reset();
  SystemLog log;
  const Redirected redirected(pipe.writer.get());
  write_much(log);
  EXPECT_FALSE(log.pending());
}

// LogFile /dev/stdout in a container, or any pipe with a name: opening it waited for a reader.
TEST_F(SystemLogTest, PipeWithoutReaderAsLogFileHoldsNobodyUp) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  SystemLog log;
  ASSERT_TRUE(log.open(to_file()));
  log.info("kept for a reader");
  ASSERT_TRUE(log.reopen());
  write_much(log);
  const UniqueFd reader(::open(file_.c_str(), O_RDONLY | O_NONBLOCK));
  std::string got(100, '\0');
  ASSERT_EQ(::read(reader.get(), got.data(), got.size()), 100);
  EXPECT_NE(got.find("kept for a reader"), std::string::npos);
}

TEST_F(SystemLogTest, EndOfTheLogIsPutOffForAMomentOnly) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  const SystemClock clock;
  TimePoint start;
  {
    SystemLog log;
    ASSERT_TRUE(log.open(to_file()));
    write_much(log);
    start = clock.now();
  }
  EXPECT_GE(clock.now() - start, SystemLog::kLastTry);
  EXPECT_LT(clock.now() - start, SystemLog::kLastTry + std::chrono::seconds(1));
}

TEST(CtimeText, IsThatOfCtime) {
  for (const std::int64_t t : {0, 86400 * 5, 1795356000}) {
    const auto seconds = static_cast<std::time_t>(t);
    std::string expected = std::ctime(&seconds);  // NOLINT: one thread
    expected.pop_back();
    EXPECT_EQ(ctime_text(t), expected);
  }
}

TEST(RateLimit, AllowsOnceAnIntervalAndCountsTheRest) {
  RateLimit limit(std::chrono::seconds(10));
  const TimePoint t(std::chrono::seconds(1000));
  EXPECT_TRUE(limit.allow(t));
  EXPECT_EQ(limit.held_back(), 0U);
  EXPECT_FALSE(limit.allow(t));
  EXPECT_FALSE(limit.allow(t + std::chrono::milliseconds(9999)));
  EXPECT_TRUE(limit.allow(t + std::chrono::seconds(10)));
  EXPECT_EQ(limit.held_back(), 2U);
  EXPECT_TRUE(limit.allow(t + std::chrono::seconds(30)));
  EXPECT_EQ(limit.held_back(), 0U);
}

}  // namespace
}  // namespace ctsync
