// SPDX-License-Identifier: GPL-2.0-or-later
// A job whose step is a function of the test.
#pragma once

#include <functional>
#include <utility>

#include "ctsync/base/jobs.h"

namespace ctsync::test {

class FunctionJob final : public Job {
 public:
  explicit FunctionJob(std::function<State(FunctionJob&)> f) : f_(std::move(f)) {}
  State step(TimePoint) override { return f_(*this); }

 private:
  std::function<State(FunctionJob&)> f_;
};

}  // namespace ctsync::test
