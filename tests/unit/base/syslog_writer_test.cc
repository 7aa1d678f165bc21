// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/base/syslog_writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <regex>
#include <vector>

namespace ctsync {
namespace {

using enum LineWriter::Left;

// A syslog daemon's socket.
class Daemon {
 public:
  Daemon(const std::string& path, int type) : path_(path) {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    path.copy(at.sun_path, sizeof at.sun_path - 1);
    fd_.reset(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0) << std::strerror(errno);
    EXPECT_EQ(type == SOCK_STREAM ? ::listen(fd_.get(), 5) : 0, 0);
  }
  ~Daemon() { std::filesystem::remove(path_); }

  int fd() const { return fd_.get(); }
  std::optional<std::string> read() const {
    std::string text(100'000, '\0');
    const auto n = ::recv(fd_.get(), text.data(), text.size(), 0);
    if (n < 0) return std::nullopt;
    text.resize(static_cast<std::size_t>(n));
    return text;
  }
  std::vector<std::string> read_all() const {
    std::vector<std::string> all;
    while (auto text = read()) all.push_back(std::move(*text));
    return all;
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

class SyslogWriterTest : public testing::Test {
 protected:
  SyslogWriterTest() {
    std::string pattern = testing::TempDir() + "ctsync-syslog-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/log";
  }
  ~SyslogWriterTest() override { std::filesystem::remove_all(directory_); }

  static std::string text_of(const std::string& message) { return message.substr(message.find(": ") + 2); }

  std::string directory_;
  std::string path_;
};

TEST_F(SyslogWriterTest, WritesTheBytesOfTheLibrary) {
  const Daemon daemon(path_, SOCK_DGRAM);
  SyslogWriter writer(LOG_LOCAL3, 1000, path_);
  writer.add(LOG_WARNING, "a text: with %s");
  EXPECT_EQ(writer.flush(), nothing);
  const auto got = daemon.read().value_or("");
  const std::regex expected(
      fmt::format("<156>[A-Z][a-z]{{2}} [ 0-9][0-9] [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}} "
                  "conntrack-tools\\[{}\\]: a text: with %s",
                  ::getpid()));
  EXPECT_TRUE(std::regex_match(got, expected)) << got;
}

TEST_F(SyslogWriterTest, DaemonThatDoesNotReadHoldsNobodyUpAndIsToldWhatItMissed) {
  const Daemon daemon(path_, SOCK_DGRAM);
  SyslogWriter writer(LOG_DAEMON, 20'000, path_);
  const SystemClock clock;
  const auto start = clock.now();
  constexpr int kLines = 20'000;
  for (int i = 0; i < kLines; ++i) {
    writer.add(LOG_INFO, fmt::format("line {}", i));
    writer.flush();
  }
  EXPECT_LT(clock.now() - start, std::chrono::seconds(5));
  ASSERT_GT(writer.lost_lines(), 0U);
  std::vector<std::string> got;
  do {
    for (const auto& m : daemon.read_all()) got.push_back(text_of(m));
  } while (writer.flush() != nothing);
  for (const auto& m : daemon.read_all()) got.push_back(text_of(m));
  const auto kept = kLines - writer.lost_lines();
  ASSERT_EQ(got.size(), kept + 1);
  EXPECT_EQ(got[kept - 1], fmt::format("line {}", kept - 1));
  EXPECT_EQ(got.back(), fmt::format("{} lines were lost", writer.lost_lines()));
}

TEST_F(SyslogWriterTest, DaemonThatStartsLateOrAgainGetsTheLines) {
  SyslogWriter writer(LOG_DAEMON, 1000, path_);
  writer.add(LOG_INFO, "before");
  EXPECT_EQ(writer.flush(), all);
  {
    const Daemon daemon(path_, SOCK_DGRAM);
    EXPECT_EQ(writer.flush(), nothing);
    EXPECT_EQ(text_of(daemon.read().value_or("")), "before");
  }
  writer.add(LOG_INFO, "while there is none");
  EXPECT_EQ(writer.flush(), all);
  const Daemon next(path_, SOCK_DGRAM);
  EXPECT_EQ(writer.flush(), nothing);
  EXPECT_EQ(text_of(next.read().value_or("")), "while there is none");
}

TEST_F(SyslogWriterTest, LineThatFitsNoDatagramHoldsUpNoOther) {
  const Daemon daemon(path_, SOCK_DGRAM);
  SyslogWriter writer(LOG_DAEMON, 10'000'000, path_);
  writer.add(LOG_INFO, std::string(5'000'000, 'x'));
  writer.add(LOG_INFO, "short");
  EXPECT_EQ(writer.flush(), nothing);
  EXPECT_EQ(text_of(daemon.read().value_or("")), "short");
}

TEST_F(SyslogWriterTest, StreamGetsMessagesThatEndWithANull) {
  const Daemon daemon(path_, SOCK_STREAM);
  SyslogWriter writer(LOG_DAEMON, 1000, path_);
  writer.add(LOG_INFO, std::string_view("with\0null", 9));
  writer.add(LOG_INFO, "b");
  EXPECT_EQ(writer.flush(), nothing);
  const UniqueFd connection(::accept(daemon.fd(), nullptr, nullptr));
  std::string got(1000, 'x');
  const auto n = ::recv(connection.get(), got.data(), got.size(), 0);
  ASSERT_GT(n, 0);
  got.resize(static_cast<std::size_t>(n));
  EXPECT_EQ(std::count(got.begin(), got.end(), '\0'), 2);
  EXPECT_NE(got.find(std::string_view(": with null\0<30>", 16)), std::string::npos) << got;
  EXPECT_TRUE(got.ends_with(std::string_view(": b\0", 4)));
}

}  // namespace
}  // namespace ctsync
