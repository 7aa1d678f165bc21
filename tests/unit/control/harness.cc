// SPDX-License-Identifier: GPL-2.0-or-later
#include "harness.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace ctsync::control {

TestPeer::TestPeer(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  path.copy(a.sun_path, sizeof a.sun_path - 1);
  EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a), 0) << std::strerror(errno);
}

void TestPeer::send(std::int32_t code) { send_bytes(&code, sizeof code); }

void TestPeer::send_bytes(const void* data, std::size_t n) {
  EXPECT_EQ(::send(fd_.get(), data, n, MSG_NOSIGNAL), static_cast<ssize_t>(n)) << std::strerror(errno);
}

void TestPeer::shut_down_sending() { ::shutdown(fd_.get(), SHUT_WR); }

void TestPeer::shut_down_reading() { ::shutdown(fd_.get(), SHUT_RD); }

bool TestPeer::read(std::size_t most) {
  std::array<char, 16 * 1024> piece;
  while (most != 0 && !ended_ && error_ == 0) {
    const auto n = ::recv(fd_.get(), piece.data(), std::min(most, piece.size()), 0);
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0) error_ = errno;
    if (n == 0) ended_ = true;
    if (n <= 0) return false;
    text_.append(piece.data(), static_cast<std::size_t>(n));
    most -= static_cast<std::size_t>(n);
  }
  return !ended_ && error_ == 0;
}

ServerTest::ServerTest() {
  std::string name = (std::filesystem::temp_directory_path() / "control-test-XXXXXX").string();
  EXPECT_NE(::mkdtemp(name.data()), nullptr);
  directory_ = name;
  path_ = directory_ + "/ctl";
  EXPECT_TRUE(loop_.open());
}

ServerTest::~ServerTest() { std::filesystem::remove_all(directory_); }

void ServerTest::turns(int n) {
  for (int i = 0; i < n; ++i) loop_.run_once(Duration::zero());
}

void ServerTest::run_to_end(TestPeer& peer) {
  for (int i = 0; i < 100'000 && peer.read(); ++i) loop_.run_once(std::chrono::milliseconds(1));
}

}  // namespace ctsync::control
