// SPDX-License-Identifier: GPL-2.0-or-later
#include "samples.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ctsync::control {
namespace {

TEST(Samples, NamesLabelsAndNumbers) {
  const auto s = Samples::parse(
      "# HELP a what it is\n"
      "# TYPE a gauge\n"
      "a 1.5\n"
      "b{x=\"1\",y=\"two\"} 2\n"
      "b{x=\"2\",y=\"two\"} 30 1700000000.5\n"
      "h_bucket{le=\"+Inf\"} 1e3 # {trace=\"t\"} 0.5\n"
      "i +Inf\n"
      "n NaN\n"
      "m -4\n"
      "# EOF\n");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->value("a"), 1.5);
  EXPECT_EQ(s->value("b"), 2) << "the first";
  EXPECT_EQ(s->value("b", {{"x", "2"}}), 30);
  EXPECT_EQ(s->value("b", {{"y", "two"}, {"x", "2"}}), 30) << "in any order";
  EXPECT_EQ(s->value("b", {{"x", "3"}}), std::nullopt);
  EXPECT_EQ(s->value("b", {{"z", "2"}}), std::nullopt);
  EXPECT_EQ(s->value("c"), std::nullopt);
  EXPECT_EQ(s->sum("b"), 32);
  EXPECT_EQ(s->sum("b", {{"x", "1"}}), 2);
  EXPECT_EQ(s->sum("c"), std::nullopt);
  EXPECT_EQ(s->value("h_bucket", {{"le", "+Inf"}}), 1000);
  EXPECT_TRUE(std::isinf(*s->value("i")));
  EXPECT_TRUE(std::isnan(*s->value("n")));
  EXPECT_EQ(s->value("m"), -4);
  EXPECT_EQ(s->values_of("x", "b"), (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(s->values_of("y", "b"), std::vector<std::string>{"two"});
  EXPECT_EQ(s->values_of("x", "a"), std::vector<std::string>{});
}

TEST(Samples, AStateIsTheOneThatIsNotZero) {
  const auto s = Samples::parse(
      "state{peer=\"a\",state=\"lost\"} 0\n"
      "state{peer=\"a\",state=\"in_sync\"} 1\n"
      "state{peer=\"b\",state=\"lost\"} 1\n"
      "# EOF\n");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->state("state", "state", {{"peer", "a"}}), "in_sync");
  EXPECT_EQ(s->state("state", "state", {{"peer", "b"}}), "lost");
  EXPECT_EQ(s->state("state", "state", {{"peer", "c"}}), std::nullopt);
  EXPECT_EQ(s->text("state", "state", {{"peer", "a"}}), "lost") << "whatever its number";
  EXPECT_EQ(s->text("colour", "state"), std::nullopt);
}

TEST(Samples, TextOfLabelsIsUnescaped) {
  const auto s = Samples::parse("a{x=\"q\\\"b\\\\n\\n} 1\"} 2\n# EOF\n");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->text("x", "a"), "q\"b\\n\n} 1");
  EXPECT_EQ(s->value("a"), 2);
}

TEST(Samples, WhatIsNotWholeIsNothing) {
  EXPECT_TRUE(Samples::parse("# EOF\n"));
  EXPECT_TRUE(Samples::parse("a{} 1\n# EOF\n"));
  for (const char* text : {"", "a 1\n", "# EOF", "a 1\n# EO\n", "# EOF\na 1\n", "# EOF\n# EOF\n"}) {
    EXPECT_FALSE(Samples::parse(text)) << text;
  }
}

TEST(Samples, LinesThatAreNoneOfTheFormat) {
  for (const char* line :
       {"", "a", "a ", " a 1", "a  1", "a x", "a 1x", "{} 1", "a{ 1", "a{x} 1", "a{x=1} 1", "a{x=\"1} 1", "a{x=\"1\" 1",
        "a{x=\"1\"y=\"2\"} 1", "a{x=\"1\"}1", "a{=\"1\"} 1", "a{x=\"1\\", "a\t1", "\xff 1"}) {
    EXPECT_FALSE(Samples::parse(std::string(line) + "\n# EOF\n")) << line;
  }
}

TEST(Samples, NoMoreThanSoMany) {
  std::string text;
  for (std::size_t i = 0; i < Samples::kMost; ++i) text += "a 1\n";
  EXPECT_TRUE(Samples::parse(text + "# EOF\n"));
  EXPECT_FALSE(Samples::parse(text + "a 1\n# EOF\n"));
}

}  // namespace
}  // namespace ctsync::control
