// SPDX-License-Identifier: GPL-2.0-or-later
#include "exchange.h"

#include <optional>

#include "harness.h"

namespace ctsync::control {
namespace {

class ExchangeTest : public ServerTest {
 protected:
  void to_end() {
    for (int i = 0; i < 500 && exchange_.busy(); ++i) turns(1);
    EXPECT_FALSE(exchange_.busy());
  }

  std::optional<Result<std::string>> got_;
  Exchange exchange_{loop_, path_, Request::stats, [this](Result<std::string> r) { got_ = std::move(r); }};
};

TEST_F(ExchangeTest, GivesTheWholeAnswerAgainAndAgain) {
  ASSERT_TRUE(server_.open(path_));
  for (const std::string text : {"one", "two\n", ""}) {
    answer = [&text](const node::Command& command, node::Client c) {
      EXPECT_EQ(command.verb, node::Verb::statistics);
      c.write(text);
      c.finish();
    };
    got_.reset();
    exchange_.begin();
    EXPECT_TRUE(exchange_.busy());
    EXPECT_FALSE(got_) << "it does not wait for it";
    to_end();
    ASSERT_TRUE(got_ && *got_);
    EXPECT_EQ(**got_, text);
  }
}

TEST_F(ExchangeTest, SaysWhyNobodyAnswers) {
  exchange_.begin();
  EXPECT_FALSE(exchange_.busy());
  ASSERT_TRUE(got_ && !*got_);
  EXPECT_EQ(got_->error().text, "No such file or directory");
}

TEST_F(ExchangeTest, TakesNoEndlessAnswer) {
  ASSERT_TRUE(server_.open(path_));
  answer = [](const node::Command&, node::Client c) {
    c.write(std::string(Exchange::kMostBytes + 1, 'x'));
    c.finish();
  };
  exchange_.begin();
  to_end();
  ASSERT_TRUE(got_ && !*got_);
  EXPECT_EQ(got_->error().text, "the answer is too long");
}

TEST_F(ExchangeTest, MayGoBeforeTheAnswerComes) {
  ASSERT_TRUE(server_.open(path_));
  int answers = 0;
  {
    Exchange other(loop_, path_, Request::stats, [&answers](const Result<std::string>&) { ++answers; });
    other.begin();
  }
  turns(20);
  EXPECT_EQ(answers, 0);
}

}  // namespace
}  // namespace ctsync::control
