// SPDX-License-Identifier: GPL-2.0-or-later
#include "health.h"

#include <gtest/gtest.h>

namespace ctsync::daemon {
namespace {

using std::chrono::seconds;
using text::Health;
using text::Role;

TEST(Health, IsGoodUnlessSomethingIsKnownToBeMissing) {
  EXPECT_EQ(health_of({}), Health::ready);
  EXPECT_EQ(health_of({.role = Role::backup}), Health::ready);
  EXPECT_EQ(health_of({.filling = true}), Health::filling);
}

TEST(Health, InterfacesThatAreDownCountForAMinute) {
  EXPECT_EQ(health_of({.link_running = false, .links_down = seconds(0)}), Health::links_down);
  EXPECT_EQ(health_of({.link_running = false, .links_down = seconds(59)}), Health::links_down);
  EXPECT_EQ(health_of({.link_running = false, .links_down = seconds(60)}), Health::ready);
}

// On a cable between the two a dead peer looks like this, and nobody else is there to take over.
TEST(Health, ACarrierThatIsLostIsNoReasonOnceTheCacheIsFilled) {
  EXPECT_EQ(health_of({.link_running = false}), Health::ready);
  EXPECT_EQ(health_of({.filling = true, .link_running = false}), Health::links_down);
}

TEST(Health, OfAPrimaryIsGood) {
  EXPECT_EQ(health_of({.role = Role::primary, .filling = true, .link_running = false, .links_down = seconds(1)}),
            Health::ready);
}

}  // namespace
}  // namespace ctsync::daemon
