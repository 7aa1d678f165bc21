// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/link_watcher.h"

#include <net/if.h>

#include "live.h"

namespace ctsync::kernel::test {
namespace {

class LinkWatcherLive : public LiveTest {
 protected:
  // Reads what is waiting; returns "name:index" for each change, index 0 = gone.
  std::vector<std::string> changes() {
    std::vector<std::string> out;
    watcher_.read([&](const std::string& name, const LinkInfo* info) {
      out.push_back(name + ":" + std::to_string(info ? info->index : 0));
    });
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
  EXPECT_EQ(LinkStatus::down, watcher_.status("va"));
  EXPECT_EQ(LinkStatus::down, watcher_.status("nosuch"));
  EXPECT_EQ(nullptr, watcher_.find("nosuch"));

  run("ip link set va up");
  EXPECT_FALSE(changes().empty());
  EXPECT_EQ(LinkStatus::no_carrier, watcher_.status("va"));
  run("ip link set vb up");
  EXPECT_FALSE(changes().empty());
  EXPECT_EQ(LinkStatus::running, watcher_.status("va"));
  EXPECT_EQ("RUNNING", to_string(watcher_.status("va")));
  run("ip link set va mtu 1400");
  EXPECT_EQ((std::vector<std::string>{"va:" + std::to_string(::if_nametoindex("va"))}), changes());
  EXPECT_EQ(1400U, watcher_.find("va")->mtu);
  EXPECT_TRUE(changes().empty());

  run("ip link del va");
  changes();
  EXPECT_EQ(nullptr, watcher_.find("va"));
  EXPECT_EQ(LinkStatus::down, watcher_.status("va"));
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

}  // namespace
}  // namespace ctsync::kernel::test
