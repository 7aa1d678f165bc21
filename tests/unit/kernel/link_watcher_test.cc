// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/link_watcher.h"

#include <net/if.h>
#include <sys/resource.h>

#include "live.h"

namespace ctsync::kernel::test {
namespace {

class LinkWatcherLive : public LiveTest {
 protected:
  // Reads what is waiting; returns "name:index" for each change, index 0 = gone.
  std::vector<std::string> changes() {
    std::vector<std::string> out;
    const auto ok = watcher_.read([&](const std::string& name, const LinkInfo* info) {
      out.push_back(name + ":" + std::to_string(info ? info->index : 0));
    });
    EXPECT_TRUE(ok) << ok.error().text;
    return out;
  }
  LinkWatcher watcher_;
};

TEST_F(LinkWatcherLive, FollowsAnInterfaceThroughItsLife) {
  run("ip link add va type veth peer name vb");
  ASSERT_TRUE(watcher_.open());
  ASSERT_NE(nullptr, watcher_.find("lo"));
  const auto* va = watcher_.find("va");
  ASSERT_NE(nullptr, va);
  EXPECT_EQ(::if_nametoindex("va"), va->index);
  EXPECT_EQ(1500U, va->mtu);
  EXPECT_FALSE(va->up());
  EXPECT_EQ(nullptr, watcher_.find("nosuch"));

  run("ip link set va up");
  EXPECT_FALSE(changes().empty());
  EXPECT_TRUE(watcher_.find("va")->up());
  EXPECT_FALSE(watcher_.find("va")->running());
  run("ip link set vb up");
  EXPECT_FALSE(changes().empty());
  EXPECT_TRUE(watcher_.find("va")->running());
  run("ip link set va mtu 1400");
  EXPECT_EQ((std::vector<std::string>{"va:" + std::to_string(::if_nametoindex("va"))}), changes());
  EXPECT_EQ(1400U, watcher_.find("va")->mtu);
  EXPECT_TRUE(changes().empty());

  run("ip link del va");
  changes();
  EXPECT_EQ(nullptr, watcher_.find("va"));
  run("ip link add va type veth peer name vb");
  changes();
  ASSERT_NE(nullptr, watcher_.find("va"));
  EXPECT_EQ(::if_nametoindex("va"), watcher_.find("va")->index);
}

TEST_F(LinkWatcherLive, RenamedInterfaceLeavesItsOldName) {
  run("ip link add va type veth peer name vb");
  ASSERT_TRUE(watcher_.open());
  run("ip link set va name vx");
  const auto seen = changes();
  EXPECT_NE(seen.end(), std::find(seen.begin(), seen.end(), "va:0"));
  EXPECT_EQ(nullptr, watcher_.find("va"));
  ASSERT_NE(nullptr, watcher_.find("vx"));
}

TEST_F(LinkWatcherLive, ReadsAllAgainAfterLostChanges) {
  run("ip link add va type veth peer name vb");
  ASSERT_TRUE(watcher_.open());
  const int tiny = 1;
  ASSERT_EQ(0, ::setsockopt(watcher_.fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny));
  run("ip link add gone type veth peer name gone2");
  for (int i = 0; i < 10; ++i) run("ip link set va mtu " + std::to_string(1300 + i));
  run("ip link del gone");
  changes();
  EXPECT_EQ(1309U, watcher_.find("va")->mtu);
  EXPECT_EQ(nullptr, watcher_.find("gone"));
}

// Without a descriptor left the interfaces cannot be read again after lost changes. That is said, and made up for with
// the next call, though the socket has nothing more to read.
TEST_F(LinkWatcherLive, FailureToReadAllAgainIsNotForgotten) {
  run("ip link add va type veth peer name vb");
  ASSERT_TRUE(watcher_.open());
  const int tiny = 1;
  ASSERT_EQ(0, ::setsockopt(watcher_.fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny));
  for (int i = 0; i < 10; ++i) run("ip link set va mtu " + std::to_string(1300 + i));
  rlimit limit{};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_NOFILE, &limit));
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_NOFILE, &none));
  const auto failed = watcher_.read({});
  ASSERT_EQ(0, ::setrlimit(RLIMIT_NOFILE, &limit));
  ASSERT_FALSE(failed);
  EXPECT_EQ(EMFILE, failed.error().code);
  EXPECT_NE(1309U, watcher_.find("va")->mtu);
  EXPECT_EQ((std::vector<std::string>{"va:" + std::to_string(::if_nametoindex("va"))}), changes());
  EXPECT_EQ(1309U, watcher_.find("va")->mtu);
}

}  // namespace
}  // namespace ctsync::kernel::test
