// SPDX-License-Identifier: GPL-2.0-or-later
// What belongs to the process: lock file, going into the background, notification of the service manager, flow log.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "background.h"
#include "fixture.h"
#include "flow_log.h"
#include "lock_file.h"
#include "service_notify.h"

namespace ctsync::daemon {
namespace {

using node::test::kernel_flow;
using node::test::RecordingLog;

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    char name[] = "/tmp/ctsyncd-test-XXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ + "/lock";
  }
  ~ProcessTest() override { std::filesystem::remove_all(directory_); }

  static std::string content(const std::string& path) {
    std::ostringstream all;
    all << std::ifstream(path).rdbuf();
    return all.str();
  }
  static bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }
  // The exit status of a child that runs `f`; it must not use the test framework.
  static int in_child(const std::function<int()>& f) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(f());
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::string directory_;
  std::string path_;
};

// --- Lock file ---

TEST_F(ProcessTest, LockFileHoldsThePidAndGoesWithItsOwner) {
  {
    auto lock = LockFile::acquire(path_);
    ASSERT_TRUE(lock);
    EXPECT_EQ(content(path_), std::to_string(::getpid()) + "\n");
    struct stat st {};
    ASSERT_EQ(::stat(path_.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0600U);
    const LockFile moved = std::move(*lock);
    EXPECT_TRUE(exists(path_));
  }
  EXPECT_FALSE(exists(path_));
}

TEST_F(ProcessTest, LivingOwnerIsNamed) {
  const auto lock = LockFile::acquire(path_);
  ASSERT_TRUE(lock);
  const auto second = LockFile::acquire(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().text, "lockfile `" + path_ + "' exists, perhaps conntrackd already running? (pid " +
                                     std::to_string(::getpid()) + ")");
  EXPECT_TRUE(exists(path_)) << "the one refused must not remove it";
}

TEST_F(ProcessTest, LeftoverLockFileIsTaken) {
  std::ofstream(path_) << "123456789 and more text than a pid has\n";
  const auto lock = LockFile::acquire(path_);
  ASSERT_TRUE(lock);
  EXPECT_EQ(content(path_), std::to_string(::getpid()) + "\n");
}

TEST_F(ProcessTest, LockFileThatIsNoPlainFileIsRefused) {
  std::ofstream(directory_ + "/victim") << "precious";
  ASSERT_EQ(::symlink((directory_ + "/victim").c_str(), path_.c_str()), 0);
  const auto lock = LockFile::acquire(path_);
  ASSERT_FALSE(lock);
  EXPECT_TRUE(lock.error().text.starts_with("can't open lockfile `" + path_ + "': ")) << lock.error().text;
  EXPECT_EQ(content(directory_ + "/victim"), "precious");
  EXPECT_FALSE(LockFile::acquire(directory_));
  EXPECT_FALSE(LockFile::acquire(directory_ + "/none/lock"));
}

TEST_F(ProcessTest, LockFileOfAnotherIsNotRemoved) {
  {
    const auto lock = LockFile::acquire(path_);
    ASSERT_TRUE(lock);
    ::unlink(path_.c_str());
    std::ofstream(path_) << "of somebody else";
  }
  EXPECT_EQ(content(path_), "of somebody else");
}

// Many start, stop and start again: never two at once, and nobody holds a file that was unlinked.
TEST_F(ProcessTest, OfManyStartersOneHasTheLock) {
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int round = 0; round < 200; ++round) {
        const auto lock = LockFile::acquire(path_);
        if (!lock) continue;
        const UniqueFd witness(::open((path_ + ".held").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
        if (!witness) ::_exit(1);
        ::usleep(50);
        ::unlink((path_ + ".held").c_str());
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(ProcessTest, LockFileThatCannotBeWrittenIsNotLeftBehind) {
  const int status = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit nothing{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_FSIZE, &nothing);
    const auto lock = LockFile::acquire(path_);
    if (lock) return 2;
    return exists(path_) ? 3 : 0;
  });
  EXPECT_EQ(status, 0);
}

// --- Background ---

// As the process does before.
sigset_t blocked() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return set;
}

// Who stops the command must not be left with a daemon that starts all the same.
TEST_F(ProcessTest, SignalToTheParentThatWaitsReachesTheChild) {
  const int status = in_child([] {
    auto background = Background::enter(blocked(), [](pid_t) { std::abort(); });
    if (!background) return 9;
    const auto signals = blocked();
    ::kill(::getppid(), SIGTERM);
    const timespec limit{.tv_sec = 5, .tv_nsec = 0};
    return ::sigtimedwait(&signals, nullptr, &limit) == SIGTERM ? 5 : 8;
  });
  EXPECT_EQ(status, 5);
}

TEST_F(ProcessTest, ParentEndsWellWhenTheChildIsReady) {
  const auto seen = directory_ + "/seen";
  const int status = in_child([&] {
    ::signal(SIGPIPE, SIG_IGN);
    auto background = Background::enter(blocked(), [&](pid_t child) { std::ofstream(seen) << child; });
    if (!background) return 9;
    // The child: of its own session, and the parent still waits.
    if (::getsid(0) != ::getpid() || exists(seen)) return 8;
    background->ready();
    if (content(seen) != std::to_string(::getpid())) std::ofstream(seen, std::ios::app) << " too late";
    return 7;  // of no matter any more
  });
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(content(seen).empty());
  EXPECT_EQ(content(seen).find("late"), std::string::npos);
}

TEST_F(ProcessTest, ParentEndsAsTheChildThatFails) {
  const auto never = [](pid_t) { std::abort(); };
  const auto start = [&](const std::function<int()>& child) {
    return in_child([&] {
      auto background = Background::enter(blocked(), never);
      return background ? child() : 99;
    });
  };
  EXPECT_EQ(start([] { return 3; }), 3);
  EXPECT_EQ(start([] { return 0; }), 1) << "ended before it was ready";
  EXPECT_EQ(start([] { return ::raise(SIGKILL); }), 1);
}

// --- Notification ---

class NotifyTest : public ProcessTest {
 protected:
  NotifyTest() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path_ = directory_ + "/notify";
    std::snprintf(to.sun_path, sizeof to.sun_path, "%s", path_.c_str());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  ~NotifyTest() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }
  std::string heard() const {
    char text[256];
    const auto n = ::recv(socket_.get(), text, sizeof text, 0);
    return n < 0 ? "" : std::string(text, static_cast<std::size_t>(n));
  }
  UniqueFd socket_;
};

TEST_F(NotifyTest, SendsOnlyWhenAsked) {
  ServiceNotify(true).send("READY=1");
  set("NOTIFY_SOCKET", path_);
  ServiceNotify(false).send("READY=1");
  EXPECT_EQ(heard(), "");
  const ServiceNotify notify(true);
  EXPECT_TRUE(notify.wanted());
  notify.send("READY=1");
  EXPECT_EQ(heard(), "READY=1");
  notify.reloading();
  EXPECT_TRUE(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
}

TEST_F(NotifyTest, OddAddressesAreHarmless) {
  for (const auto& odd : {std::string(), std::string("relative"), std::string("/"), "/" + std::string(300, 'x')}) {
    set("NOTIFY_SOCKET", odd);
    ServiceNotify(true).send("READY=1");
  }
  EXPECT_EQ(heard(), "");
}

TEST_F(NotifyTest, WatchdogIsFedTwiceAnInterval) {
  set("WATCHDOG_USEC", "3000000");
  EXPECT_FALSE(ServiceNotify(true).watchdog_interval()) << "nobody to tell";
  set("NOTIFY_SOCKET", path_);
  EXPECT_EQ(ServiceNotify(true).watchdog_interval(), std::chrono::milliseconds(1500));
  set("WATCHDOG_PID", std::to_string(::getpid()));
  EXPECT_TRUE(ServiceNotify(true).watchdog_interval());
  set("WATCHDOG_PID", "1");
  EXPECT_FALSE(ServiceNotify(true).watchdog_interval());
  ::unsetenv("WATCHDOG_PID");
  for (const char* odd : {"", "0", "1", "-5", "99999999999999999999", "3s"}) {
    set("WATCHDOG_USEC", odd);
    EXPECT_FALSE(ServiceNotify(true).watchdog_interval()) << odd;
  }
}

// --- Flow log ---

TEST_F(ProcessTest, FlowLogHasDateAndFlow) {
  FlowLog log(path_, std::nullopt);
  ASSERT_TRUE(log.open());
  log.add(kernel_flow(1), 1'800'000'000);
  log.add(kernel_flow(2), 1'800'000'001);
  EXPECT_EQ(content(path_), "") << "written once a turn";
  EXPECT_EQ(log.flush(), LineWriter::Left::nothing);
  const auto text = content(path_);
  EXPECT_TRUE(
      text.starts_with(ctime_text(1'800'000'000) + "\ttcp      6 ESTABLISHED src=10.77.1.2 dst=10.77.2.2 sport=1"));
  EXPECT_NE(text.find("\n" + ctime_text(1'800'000'001) + "\t"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST_F(ProcessTest, FlowLogIsOpenedAnewAfterRotation) {
  FlowLog log(path_, std::nullopt);
  ASSERT_TRUE(log.open());
  log.add(kernel_flow(1), 1'800'000'000);
  log.flush();
  std::filesystem::rename(path_, path_ + ".1");
  ASSERT_TRUE(log.open());
  log.add(kernel_flow(2), 1'800'000'000);
  log.flush();
  EXPECT_NE(content(path_ + ".1").find("sport=1 "), std::string::npos);
  EXPECT_NE(content(path_).find("sport=2 "), std::string::npos);
}

TEST_F(ProcessTest, FlowLogWaitsForASlowReaderAndCountsWhatIsLost) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  FlowLog log(path_, std::nullopt, 1U << 20);
  ASSERT_TRUE(log.open());
  const UniqueFd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK));
  std::size_t added = 0;
  while (log.lost_lines() == 0) {
    log.add(kernel_flow(static_cast<std::uint16_t>(added)), 1'800'000'000);
    if (++added % 1000 == 0) log.flush();
  }
  EXPECT_NE(log.flush(), LineWriter::Left::nothing);
  std::size_t lines = 0;
  char buffer[65536];
  bool more = true;
  while (more) {
    more = log.flush() != LineWriter::Left::nothing;
    for (ssize_t n = 0; (n = ::read(reader.get(), buffer, sizeof buffer)) > 0;) {
      lines += static_cast<std::size_t>(std::count(buffer, buffer + n, '\n'));
    }
  }
  EXPECT_EQ(lines, added - 1);
}

// Once in its life was not enough: whoever reads the log must know of each gap.
TEST_F(ProcessTest, FlowLogTellsEachTimeThatItLosesLines) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  FlowLog log(path_, std::nullopt, 1U << 20);
  ASSERT_TRUE(log.open());
  const UniqueFd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK));
  RecordingLog told;
  TimePoint now(std::chrono::hours(1));
  const auto lose = [&] {
    const auto before = log.lost_lines();
    while (log.lost_lines() < before + 3) log.add(kernel_flow(1), 1'800'000'000);
    log.flush();
    log.tell_losses(told, now);
    log.tell_losses(told, now);
  };
  const auto read_all = [&] {
    char buffer[65536];
    do {
      while (::read(reader.get(), buffer, sizeof buffer) > 0) {
      }
    } while (log.flush() != LineWriter::Left::nothing);
    log.tell_losses(told, now);
  };
  using Lines = std::vector<std::string>;
  const Lines once{"[ERROR] the flow log takes no more, finished flows are not logged",
                   "[warning] the flow log takes lines again, 3 were lost"};
  lose();
  EXPECT_EQ(told.lines, Lines{once[0]});
  read_all();
  EXPECT_EQ(told.lines, once);
  lose();
  read_all();
  EXPECT_EQ(told.lines, once) << "not again in the same minute";
  now += std::chrono::minutes(1);
  told.lines.clear();
  lose();
  read_all();
  EXPECT_EQ(told.lines, (Lines{once[0], "[warning] the flow log takes lines again, 6 were lost"}));
}

TEST_F(ProcessTest, FlowLogThatCannotBeOpenedSaysWhy) {
  FlowLog log(directory_ + "/none/log", std::nullopt);
  const auto ok = log.open();
  ASSERT_FALSE(ok);
  EXPECT_EQ(ok.error().text, "can't open logfile `" + directory_ + "/none/log': No such file or directory");
}

}  // namespace
}  // namespace ctsync::daemon
