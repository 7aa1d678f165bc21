// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "harness.h"

namespace ctsync::control {
namespace {

constexpr std::string_view kGet = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

class MetricsServerTest : public ServerTest {
 protected:
  void ask(TestPeer& peer, std::string_view request = kGet) { peer.send_bytes(request.data(), request.size()); }
  // The whole answer to a client of its own.
  std::string answer_to(std::string_view request) {
    TestPeer peer(path_);
    ask(peer, request);
    run_to_end(peer);
    return peer.text();
  }
  static std::string body_of(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }

  std::string text_ = "a_total 1\n# EOF\n";
  int asked_ = 0;
  std::optional<MetricsServer> metrics_{std::in_place, loop_, [this](bool openmetrics) {
                                          ++asked_;
                                          return (openmetrics ? "# new\n" : "# old\n") + text_;
                                        }};
};

TEST_F(MetricsServerTest, AnswersAndCloses) {
  ASSERT_TRUE(metrics_->open(path_));
  EXPECT_EQ(answer_to(kGet),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 22\r\n"
            "Connection: close\r\n\r\n# old\na_total 1\n# EOF\n");
  const auto newer = answer_to("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n");
  EXPECT_NE(newer.find("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
            std::string::npos);
  EXPECT_EQ(body_of(newer), "# new\na_total 1\n# EOF\n");
  turns();
  EXPECT_EQ(metrics_->clients(), 0U);
}

TEST_F(MetricsServerTest, RefusesEverythingElse) {
  ASSERT_TRUE(metrics_->open(path_));
  EXPECT_TRUE(answer_to("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
  const auto post = answer_to("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_TRUE(post.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_NE(post.find("\r\nAllow: GET\r\n"), std::string::npos);
  EXPECT_TRUE(answer_to("\x15\n\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_EQ(asked_, 0);
}

TEST_F(MetricsServerTest, WhoSendsTooMuchIsStillAnswered) {
  ASSERT_TRUE(metrics_->open(path_));
  const auto told = answer_to(std::string(30'000, 'x'));
  EXPECT_TRUE(told.starts_with("HTTP/1.1 400 ")) << told;
  EXPECT_TRUE(told.ends_with("\r\n\r\nBad Request\n"));
}

TEST_F(MetricsServerTest, RequestInPieces) {
  ASSERT_TRUE(metrics_->open(path_));
  TestPeer peer(path_);
  for (const char c : kGet) {
    EXPECT_EQ(asked_, 0);
    peer.send_bytes(&c, 1);
    turns(2);
  }
  run_to_end(peer);
  EXPECT_TRUE(peer.text().starts_with("HTTP/1.1 200 "));
  EXPECT_EQ(asked_, 1);
}

TEST_F(MetricsServerTest, AClientHasFiveSecondsInAll) {
  ASSERT_TRUE(metrics_->open(path_));
  text_ = std::string(3'000'000, 'x');
  TestPeer silent(path_);
  TestPeer slow(path_);
  ask(slow);
  TestPeer stays(path_);
  ask(stays, "GET / HTTP/1.1\r\n\r\n");
  turns();
  EXPECT_EQ(metrics_->clients(), 3U);
  clock_.advance(MetricsServer::kClientTime - std::chrono::seconds(3));
  turns();
  EXPECT_EQ(metrics_->clients(), 3U);
  clock_.advance(std::chrono::seconds(3));
  turns();
  EXPECT_EQ(metrics_->clients(), 0U);
  EXPECT_FALSE(silent.read());
  run_to_end(slow);
  EXPECT_LT(slow.text().size(), 3'000'000U);
}

TEST_F(MetricsServerTest, SlowReaderGetsAllOfALargeAnswer) {
  ASSERT_TRUE(metrics_->open(path_));
  text_ = std::string(3'000'000, 'x');
  TestPeer peer(path_);
  ask(peer);
  while (peer.read(10'000)) turns(1);
  EXPECT_EQ(body_of(peer.text()).size(), text_.size() + 6);
}

TEST_F(MetricsServerTest, MoreThanThePlacesWait) {
  ASSERT_TRUE(metrics_->open(path_));
  std::list<TestPeer> silent;
  for (std::size_t i = 0; i < MetricsServer::kMaxClients; ++i) silent.emplace_back(path_);
  turns(20);
  TestPeer ninth(path_);
  ask(ninth);
  turns(20);
  EXPECT_EQ(metrics_->clients(), MetricsServer::kMaxClients);
  EXPECT_TRUE(ninth.read());
  EXPECT_EQ(ninth.text(), "");
  silent.front().leave();
  run_to_end(ninth);
  EXPECT_TRUE(ninth.text().starts_with("HTTP/1.1 200 "));
  ninth.leave();
  for (auto& peer : silent) peer.leave();
  turns(20);
  EXPECT_EQ(metrics_->clients(), 0U);
}

TEST_F(MetricsServerTest, ClientsThatLeaveCostNothing) {
  ASSERT_TRUE(metrics_->open(path_));
  text_ = std::string(3'000'000, 'x');
  for (const std::string_view request : {std::string_view(), kGet.substr(0, 9), kGet}) {
    TestPeer peer(path_);
    ask(peer, request);
    turns();
    peer.leave();
    turns();
    EXPECT_EQ(metrics_->clients(), 0U) << request;
  }
}

TEST_F(MetricsServerTest, TheSocketIsOfItsGroupTooAndGoesWithTheServer) {
  std::ofstream(path_) << "no socket";
  EXPECT_FALSE(metrics_->open(path_));
  std::filesystem::remove(path_);
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path_.copy(a.sun_path, sizeof a.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
  }
  ASSERT_TRUE(metrics_->open(path_)) << "a dead one is replaced";
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0660U);
  TestPeer peer(path_);
  turns();
  metrics_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_FALSE(peer.read());
}

TEST_F(MetricsServerTest, OnALoopbackAddress) {
  UniqueFd holder(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  ASSERT_EQ(::bind(holder.get(), reinterpret_cast<const sockaddr*>(&a), size), 0);
  ASSERT_EQ(::getsockname(holder.get(), reinterpret_cast<sockaddr*>(&a), &size), 0);
  const IpAddress loopback{Family::ipv4, {127, 0, 0, 1}};
  const auto taken = metrics_->open(loopback, ntohs(a.sin_port));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().text,
            "can't serve metrics on 127.0.0.1 port " + std::to_string(ntohs(a.sin_port)) + ": Address already in use");
  holder.reset();
  ASSERT_TRUE(metrics_->open(loopback, ntohs(a.sin_port)));
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&a), size), 0);
  ASSERT_EQ(::send(client.get(), kGet.data(), kGet.size(), 0), static_cast<ssize_t>(kGet.size()));
  turns();
  std::array<char, 1000> told{};
  const auto n = ::recv(client.get(), told.data(), told.size(), MSG_DONTWAIT);
  ASSERT_GT(n, 0);
  EXPECT_TRUE(std::string_view(told.data(), static_cast<std::size_t>(n)).starts_with("HTTP/1.1 200 OK\r\n"));
}

}  // namespace
}  // namespace ctsync::control
