// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "ctsync/control/client.h"
#include "harness.h"
#include "no_watches.h"

namespace ctsync::control {
namespace {

namespace fs = std::filesystem;
using node::Client;
using node::Command;
using node::Verb;

TEST_F(ServerTest, AnswersAndCloses) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const Command& command, Client c) {
    EXPECT_EQ(command.topic, text::Topic::summary);
    c.write("cache ");
    c.write("internal:\n");
    c.finish();
    EXPECT_FALSE(c.connected());
    c.write("too late");
  };
  TestPeer peer(path_);
  peer.send(21);
  run_to_end(peer);
  EXPECT_EQ(peer.text(), "cache internal:\n");
  EXPECT_TRUE(peer.ended());
  EXPECT_EQ(server_.clients(), 0U);
  EXPECT_EQ(server_.stats().read_failed, 0U);
}

TEST_F(ServerTest, ClientsThatTheKernelDoesNotLetUsWatchAreSentAwayAndTold) {
  ASSERT_TRUE(server_.open(path_));
  TestPeer first(path_);
  TestPeer second(path_);
  test::without_new_watches([&] { turns(); });
  for (auto* peer : {&first, &second}) {
    run_to_end(*peer);
    EXPECT_TRUE(peer->ended());
  }
  EXPECT_EQ(log_.lines, (std::vector<std::string>{"[ERROR] a client of the control socket cannot be served: epoll_ctl: "
                                                  "No space left on device"}))
      << "one line for both";
  TestPeer third(path_);
  third.send(21);
  run_to_end(third);
  EXPECT_EQ(server_.stats().read_failed, 0U) << "was served";
}

TEST_F(ServerTest, RequestInPieces) {
  ASSERT_TRUE(server_.open(path_));
  int requests = 0;
  answer = [&](const Command& command, Client c) {
    EXPECT_EQ(command.topic, text::Topic::cache);
    ++requests;
    c.finish();
  };
  TestPeer peer(path_);
  const std::int32_t code = 29;
  for (std::size_t i = 0; i < sizeof code; ++i) {
    EXPECT_EQ(requests, 0);
    peer.send_bytes(reinterpret_cast<const char*>(&code) + i, 1);
    turns();
  }
  run_to_end(peer);
  EXPECT_EQ(requests, 1);
}

TEST_F(ServerTest, AnswerMayComeLater) {
  ASSERT_TRUE(server_.open(path_));
  Client kept;
  answer = [&](const Command&, Client c) { kept = c; };
  TestPeer peer(path_);
  peer.send(46);
  turns();
  EXPECT_TRUE(peer.read()) << "stays open until the commit is done";
  EXPECT_TRUE(kept.connected());
  clock_.advance(std::chrono::hours(1));
  turns();
  EXPECT_TRUE(peer.read()) << "the time limit is for the request only";
  kept.finish();
  run_to_end(peer);
  EXPECT_TRUE(peer.ended());
}

TEST_F(ServerTest, PartOfARequestThenClose) {
  ASSERT_TRUE(server_.open(path_));
  TestPeer nothing(path_);
  nothing.leave();
  TestPeer three(path_);
  three.send_bytes("\x15\0\0", 3);
  three.shut_down_sending();
  turns();
  EXPECT_EQ(server_.stats().read_failed, 2U);
  run_to_end(three);
  EXPECT_EQ(three.text(), "");
  EXPECT_EQ(server_.clients(), 0U);
}

TEST_F(ServerTest, SilentClientIsClosedAfterTenSeconds) {
  ASSERT_TRUE(server_.open(path_));
  TestPeer silent(path_);
  turns();
  clock_.advance(std::chrono::milliseconds(9500));
  TestPeer second(path_);
  turns();
  EXPECT_TRUE(silent.read());
  TestPeer served(path_);
  served.send(21);
  run_to_end(served);
  EXPECT_TRUE(served.ended()) << "others are served meanwhile";
  clock_.advance(std::chrono::milliseconds(600));
  turns();
  EXPECT_FALSE(silent.read());
  EXPECT_TRUE(second.read()) << "each has a limit of its own";
  EXPECT_EQ(server_.stats().read_failed, 1U);
}

TEST_F(ServerTest, UnknownCodesAreClosedWithoutAnAnswer) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const Command&, Client) { FAIL(); };
  std::uint64_t expected = 0;
  for (const std::int32_t code : {9999, -1, 27, 2, INT32_MIN, 21 << 24}) {
    TestPeer peer(path_);
    peer.send(code);
    run_to_end(peer);
    EXPECT_TRUE(peer.ended());
    EXPECT_EQ(peer.text(), "");
    EXPECT_EQ(server_.stats().unknown_requests, ++expected);
  }
}

// With conntrackd the client sees a reset after the text (1.4.9-control-socket.txt, "21 then 22 in one write").
TEST_F(ServerTest, MoreThanOneRequestDoesNotCostTheAnswer) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const Command&, Client c) {
    c.write("answer");
    c.finish();
  };
  TestPeer peer(path_);
  const std::array<std::int32_t, 2> codes{21, 22};
  peer.send_bytes(codes.data(), sizeof codes);
  run_to_end(peer);
  EXPECT_EQ(peer.text(), "answer");
  EXPECT_TRUE(peer.ended());
  EXPECT_EQ(peer.error(), 0);
}

TEST_F(ServerTest, ClientThatHasEndedItsSideGetsTheAnswer) {
  ASSERT_TRUE(server_.open(path_));
  Client kept;
  answer = [&](const Command&, Client c) { kept = c; };
  TestPeer peer(path_);
  peer.send(16);
  peer.shut_down_sending();
  turns();
  kept.write("late");
  kept.finish();
  run_to_end(peer);
  EXPECT_EQ(peer.text(), "late");
}

TEST_F(ServerTest, ClientThatRefusesToReadIsDropped) {
  ASSERT_TRUE(server_.open(path_));
  answer = [&](const Command&, Client c) {
    c.write("text");
    EXPECT_FALSE(c.connected());
    c.finish();
  };
  TestPeer peer(path_);
  peer.shut_down_reading();
  peer.send(16);
  turns();
  EXPECT_EQ(server_.clients(), 0U);
}

TEST_F(ServerTest, RequestOfAClientThatLeftAtOnceIsServed) {
  ASSERT_TRUE(server_.open(path_));
  int requests = 0;
  answer = [&](const Command&, Client c) {
    ++requests;
    c.write("nobody reads this");
    c.finish();
  };
  {
    TestPeer peer(path_);
    peer.send(22);
  }
  turns();
  EXPECT_EQ(requests, 1);
  EXPECT_EQ(server_.clients(), 0U);
}

TEST_F(ServerTest, HandleOfAClientThatLeftIsHarmless) {
  ASSERT_TRUE(server_.open(path_));
  Client kept;
  answer = [&](const Command&, Client c) { kept = c; };
  {
    TestPeer peer(path_);
    peer.send(16);
    turns();
    EXPECT_TRUE(kept.connected());
  }
  turns();
  EXPECT_FALSE(kept.connected());
  kept.write("x");
  kept.set_waiter(nullptr);
  kept.finish();
  EXPECT_EQ(server_.clients(), 0U);
  Client never;
  never.write("x");
  EXPECT_FALSE(never.connected());
}

TEST_F(ServerTest, ClientsStayWhenTheListenerGoes) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const Command&, Client) {};  // not yet
  TestPeer peer(path_);
  peer.send(20);
  turns();
  server_.stop_listening();
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
  turns();
  peer.read();
  EXPECT_FALSE(peer.ended());
  server_.close();
  peer.read();
  EXPECT_TRUE(peer.ended());
}

TEST_F(ServerTest, SlowReaderGetsAllOfALargeAnswer) {
  ASSERT_TRUE(server_.open(path_));
  std::string large;
  for (int i = 0; large.size() < 5'000'000; ++i) large += std::to_string(i) + "\n";
  answer = [&](const Command&, Client c) {
    EXPECT_FALSE(c.full());
    c.write(large);
    EXPECT_TRUE(c.full());
    c.finish();
  };
  TestPeer peer(path_);
  peer.send(32);
  turns();
  while (peer.read(100'000)) turns(2);
  EXPECT_EQ(peer.text(), large);
}

// Two hundred clients that connect and say nothing: whoever has a request is served at once all the same.
TEST_F(ServerTest, SilentClientsKeepNobodyOut) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const Command&, Client c) {
    c.write("text");
    c.finish();
  };
  std::vector<TestPeer> silent;
  for (int i = 0; i < 200; ++i) {
    silent.emplace_back(path_);
    turns(1);
  }
  EXPECT_LE(server_.clients(), Server::kMaxClients);
  const auto start = clock_.now();
  for (int i = 0; i < 20; ++i) {
    TestPeer peer(path_);
    peer.send(21);
    run_to_end(peer);
    EXPECT_EQ(peer.text(), "text");
  }
  EXPECT_LT(clock_.now() - start, std::chrono::seconds(2));
}

// Clients that wait for their answers hold their places; one more waits until one of them has gone.
TEST_F(ServerTest, MoreThanThePlacesWait) {
  ASSERT_TRUE(server_.open(path_));
  std::vector<Client> kept;
  answer = [&](const Command&, Client c) { kept.push_back(c); };
  std::vector<TestPeer> peers;
  for (std::size_t i = 0; i < Server::kMaxClients; ++i) {
    peers.emplace_back(path_);
    peers.back().send(46);
    turns(1);
  }
  EXPECT_EQ(server_.clients(), Server::kMaxClients);
  TestPeer one_more(path_);
  one_more.send(21);
  turns();
  EXPECT_TRUE(one_more.read()) << "not closed";
  EXPECT_EQ(kept.size(), Server::kMaxClients);
  for (auto& p : peers) EXPECT_TRUE(p.read());
  kept.front().finish();
  clock_.advance(std::chrono::milliseconds(100));
  turns();
  ASSERT_EQ(kept.size(), Server::kMaxClients + 1) << "its turn has come";
  kept.back().finish();
  run_to_end(one_more);
  EXPECT_TRUE(one_more.ended());
}

// All places taken by clients that do not read their answers: after a while the longest of them makes room.
TEST_F(ServerTest, ClientsThatDoNotReadMakeRoom) {
  ASSERT_TRUE(server_.open(path_));
  const std::string large(1'000'000, 'x');
  answer = [&](const Command& command, Client c) {
    c.write(command.verb == Verb::dump ? large : "text");
    c.finish();
  };
  std::vector<TestPeer> deaf;
  for (std::size_t i = 0; i < Server::kMaxClients; ++i) {
    deaf.emplace_back(path_);
    deaf.back().send(16);
    turns(1);
  }
  ASSERT_EQ(server_.clients(), Server::kMaxClients);
  TestPeer peer(path_);
  peer.send(21);
  turns();
  EXPECT_TRUE(peer.read());
  clock_.advance(Server::kMaxStall + std::chrono::seconds(1));
  EXPECT_EQ(dropped, 0);
  run_to_end(peer);
  EXPECT_EQ(peer.text(), "text");
  EXPECT_EQ(server_.clients(), Server::kMaxClients - 1);
  EXPECT_EQ(dropped, 1);
}

// What was written last, that the answer is not complete, was never sent.
TEST_F(ServerTest, AtItsEndGivesClientsWhatTheyTake) {
  ASSERT_TRUE(server_.open(path_));
  Client client;
  answer = [&](const Command&, Client c) { client = c; };
  TestPeer peer(path_);
  peer.send(16);
  turns();
  std::size_t written = 0;
  for (const std::string text(1000, 'x'); !client.full(); written += text.size()) client.write(text);
  peer.read();
  client.write("the last line");
  server_.close();
  while (peer.read()) {
  }
  EXPECT_EQ(peer.text().size(), written + 13);
  EXPECT_TRUE(peer.text().ends_with("the last line"));
}

TEST_F(ServerTest, NoDescriptorLeft) {
  ASSERT_TRUE(server_.open(path_));
  TestPeer peer(path_);
  peer.send(21);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit none = old;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  turns();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_EQ(server_.clients(), 0U);
  const auto before = clock_.now();
  loop_.run_once(std::chrono::milliseconds(50));
  EXPECT_GE(clock_.now() - before, std::chrono::milliseconds(40)) << "must not spin on the waiting client";
  clock_.advance(std::chrono::seconds(2));
  run_to_end(peer);
  EXPECT_TRUE(peer.ended());
}

TEST_F(ServerTest, RandomBytes) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const Command&, Client c) {
    c.write("text");
    c.finish();
  };
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    TestPeer peer(path_);
    std::string bytes(random() % 200, '\0');
    for (auto& b : bytes) b = static_cast<char>(random());
    if (random() % 2 != 0) bytes.replace(0, 4, std::string("\x15\0\0\0", 4));
    if (!bytes.empty()) peer.send_bytes(bytes.data(), bytes.size());
    if (random() % 2 != 0) turns(static_cast<int>(random() % 3));
  }
  turns(20);
  EXPECT_EQ(server_.clients(), 0U);
}

TEST_F(ServerTest, ModeIsThatOfTheOwnerOnlyWhateverTheMask) {
  const auto old = ::umask(0);
  ASSERT_TRUE(server_.open(path_));
  EXPECT_EQ(::umask(old), 0U) << "the mask of the process stays";
  struct stat st {};
  ASSERT_EQ(::lstat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
}

TEST_F(ServerTest, RemovesItsSocketAndOnlyItsOwn) {
  ASSERT_TRUE(server_.open(path_));
  server_.close();
  EXPECT_FALSE(fs::exists(path_));
  ASSERT_TRUE(server_.open(path_));
  fs::remove(path_);
  std::ofstream(path_) << "somebody else's";
  server_.close();
  EXPECT_TRUE(fs::exists(path_));
}

// What a daemon leaves that was killed.
void leave_socket(const Clock& clock, CommandHandler& handler, Log& log, const std::string& path) {
  {
    EventLoop loop(clock);
    ASSERT_TRUE(loop.open());
    Server server(loop, handler, log);
    ASSERT_TRUE(server.open(path));
    fs::rename(path, path + "2");
  }
  fs::rename(path + "2", path);
  ASSERT_TRUE(fs::is_socket(path));
}

TEST_F(ServerTest, ReplacesAStaleSocket) {
  leave_socket(clock_, *this, log_, path_);
  ASSERT_TRUE(server_.open(path_));
  TestPeer peer(path_);
  peer.send(21);
  run_to_end(peer);
  EXPECT_TRUE(peer.ended());
}

TEST_F(ServerTest, LeavesASocketInUseAlone) {
  ASSERT_TRUE(server_.open(path_));
  EventLoop other_loop(clock_);
  ASSERT_TRUE(other_loop.open());
  {
    Server other(other_loop, *this, log_);
    const auto r = other.open(path_);
    ASSERT_FALSE(r);
    EXPECT_NE(r.error().text.find("is in use"), std::string::npos);
    EXPECT_NE(r.error().text.find(path_), std::string::npos);
  }
  TestPeer peer(path_);
  peer.send(21);
  run_to_end(peer);
  EXPECT_TRUE(peer.ended()) << "the first server still serves";
}

TEST_F(ServerTest, NeverRemovesAnythingButASocket) {
  std::ofstream(path_) << "precious";
  const auto file = server_.open(path_);
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().text.find("not a socket"), std::string::npos);
  EXPECT_EQ(fs::file_size(path_), 8U);

  const auto link = directory_ + "/link";
  fs::create_symlink(path_, link);
  EXPECT_FALSE(server_.open(link));
  EXPECT_TRUE(fs::is_symlink(link));

  EXPECT_FALSE(server_.open(directory_));
  EXPECT_TRUE(fs::is_directory(directory_));
}

TEST_F(ServerTest, BadPaths) {
  EXPECT_FALSE(server_.open(""));
  EXPECT_FALSE(server_.open(directory_ + "/no/such/directory"));
  const auto fits = directory_ + "/" + std::string(Server::kMaxPath - directory_.size() - 1, 'x');
  EXPECT_TRUE(server_.open(fits));
  server_.close();
  const auto r = server_.open(fits + "x");
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().text.find("107"), std::string::npos);
}

TEST_F(ServerTest, CloseEndsTheClients) {
  ASSERT_TRUE(server_.open(path_));
  Client kept;
  answer = [&](const Command&, Client c) {
    kept = c;
    c.write("before");
  };
  TestPeer peer(path_);
  peer.send(20);
  turns();
  server_.close();
  EXPECT_FALSE(kept.connected());
  peer.read();
  EXPECT_EQ(peer.text(), "before");
  EXPECT_TRUE(peer.ended());
}

// What the socket did not take at once was lost, the last line first of all.
TEST_F(ServerTest, CloseWaitsAMomentForClientsThatRead) {
  ASSERT_TRUE(server_.open(path_));
  const std::string text(600'000, 'x');
  answer = [&](const Command&, Client c) { c.write(text); };
  TestPeer reads(path_);
  TestPeer does_not_read(path_);
  reads.send(20);
  does_not_read.send(20);
  turns();
  std::thread reader([&reads] {
    while (reads.read(10'000)) std::this_thread::sleep_for(std::chrono::microseconds(10));
  });
  const auto began = SystemClock().now();
  server_.close();
  EXPECT_GE(SystemClock().now() - began, Server::kLastWords) << "somebody does not read";
  EXPECT_LT(SystemClock().now() - began, 10 * Server::kLastWords);
  reader.join();
  EXPECT_EQ(reads.text().size(), text.size());
}

class ListLog final : public Log {
 public:
  void write(Level level, std::string_view text) override {
    lines.push_back((level == Level::error ? "ERROR " : "other ") + std::string(text));
  }
  void write_entry(Level, std::string_view) override {}
  std::vector<std::string> lines;
};

class ClientTest : public ServerTest {
 protected:
  // The exit status of a client whose answer goes to `output_`.
  int run(Request request) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::ofstream(output_).close();
      const int fd = ::open(output_.c_str(), O_WRONLY);
      ListLog log;
      ::_exit(run_client(path_, request, log, fd));
    }
    int status = -1;
    for (int i = 0; i < 10'000 && ::waitpid(child, &status, WNOHANG) == 0; ++i) {
      loop_.run_once(std::chrono::milliseconds(1));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string output() const {
    std::ifstream in(output_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

 private:
  const std::string output_ = directory_ + "/output";
};

// The client of conntrackd takes what comes as C strings; ours takes bytes.
TEST_F(ClientTest, ClientCopiesTheAnswerByteForByte) {
  ASSERT_TRUE(server_.open(path_));
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += static_cast<char>(i * 7);  // zeros, too
  answer = [&](const Command& command, Client c) {
    EXPECT_EQ(command.verb, Verb::dump);
    EXPECT_EQ(command.form, node::Form::xml);
    c.write(text);
    c.finish();
  };
  EXPECT_EQ(run(Request::dump_internal_ct_xml), 0);
  EXPECT_EQ(output(), text);
}

TEST_F(ClientTest, TellsADocumentThatIsNotWholeAndADaemonThatKnowsNone) {
  ASSERT_TRUE(server_.open(path_));
  std::string document;
  answer = [&](const Command&, Client c) {
    c.write(document);
    c.finish();
  };
  for (const auto& [text, status] :
       {std::pair("[]\n", 0), std::pair("{\"a\":1}\n", 0), std::pair("[{\"a\":1}", 1), std::pair("[{\"a\":1},\n", 1),
        std::pair("[", 1), std::pair("", kUnknownRequest)}) {
    document = text;
    EXPECT_EQ(run(Request::dump_internal_ct_json), status) << text;
    EXPECT_EQ(output(), text);
  }
  document = std::string(100'000, 'x') + "]\n";  // in many pieces
  EXPECT_EQ(run(Request::dump_internal_ct_json), 0);
  EXPECT_EQ(output(), document);
}

TEST_F(ClientTest, TellsMetricsThatAreNotWhole) {
  ASSERT_TRUE(server_.open(path_));
  std::string document;
  answer = [&](const Command& command, Client c) {
    EXPECT_EQ(command.verb, Verb::metrics);
    c.write(document);
    c.finish();
  };
  for (const auto& [text, status] : {std::pair("a 1\n# EOF\n", 0), std::pair("a 1\n", 1), std::pair("a 1\n# EOF", 1),
                                     std::pair("]\n", 1), std::pair("", kUnknownRequest)}) {
    document = text;
    EXPECT_EQ(run(Request::metrics), status) << text;
    EXPECT_EQ(output(), text);
    EXPECT_EQ(run(Request::metrics_prometheus), status) << text;
  }
  document = std::string(100'000, 'x') + "\n# EOF\n";
  EXPECT_EQ(run(Request::metrics), 0);
  EXPECT_EQ(output(), document);
}

TEST_F(ClientTest, HealthEndsWithItsStatus) {
  ASSERT_TRUE(server_.open(path_));
  answer = [&](const Command& command, Client c) {
    EXPECT_EQ(command.verb, Verb::health);
    c.write(node::outcome_text(11, "not ready"));
    c.finish();
  };
  EXPECT_EQ(run(Request::health), 11);
  EXPECT_EQ(output(), "not ready\n");
}

TEST_F(ServerTest, HealthOfADaemonThatDoesNotAnswer) {
  ListLog log;
  EXPECT_EQ(run_client(path_, Request::health, log), kNoAnswer) << "none there";
  ASSERT_TRUE(server_.open(path_));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(run_client(path_, Request::health, log), kNoAnswer) << "nobody turns the loop";
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_GE(took, kHealthTime - std::chrono::milliseconds(100));
  EXPECT_LT(took, 3 * kHealthTime);
  ASSERT_EQ(log.lines.size(), 2U);
  EXPECT_EQ(log.lines[1], "ERROR the daemon does not answer");
}

TEST_F(ServerTest, ClientWithoutADaemon) {
  ListLog log;
  EXPECT_EQ(run_client(path_, Request::stats, log), 1);
  std::ofstream(path_) << "no socket";
  EXPECT_EQ(run_client(path_, Request::stats, log), 1);
  ASSERT_EQ(log.lines.size(), 2U);
  const std::string words = "ERROR can't connect: is conntrackd running? appropriate permissions? (" + path_;
  EXPECT_EQ(log.lines[0], words + ": No such file or directory)");
  EXPECT_EQ(log.lines[1], words + ": Connection refused)");
}

TEST_F(ServerTest, StopRemovesTheSocketOfADeadDaemonAndNothingElse) {
  ListLog log;
  std::ofstream(path_) << "no socket";
  EXPECT_EQ(run_client(path_, Request::stop, log), 1);
  EXPECT_TRUE(std::filesystem::exists(path_));
  std::filesystem::remove(path_);
  leave_socket(clock_, *this, log_, path_);
  EXPECT_EQ(run_client(path_, Request::stats, log), 1);
  EXPECT_TRUE(std::filesystem::exists(path_)) << "only `stop' removes it";
  EXPECT_EQ(run_client(path_, Request::stop, log), 1);
  EXPECT_FALSE(std::filesystem::exists(path_));
  ASSERT_EQ(log.lines.size(), 3U);
  EXPECT_TRUE(log.lines[2].ends_with("(" + path_ + ": Connection refused)"));
}

}  // namespace
}  // namespace ctsync::control
