// SPDX-License-Identifier: GPL-2.0-or-later
// A message as one line for people: printable ASCII, whatever the message holds.
#pragma once

#include <string>

#include "ctsync/text/render_expectation.h"
#include "ctsync/text/render_flow.h"
#include "told.h"

namespace ctsync::capture {

class TextLine {
 public:
  // With the newline.
  void append(std::string& out, const Told& told);

 private:
  void append_message(std::string& out, const Told& told);

  text::FlowRenderer flow_;
  text::ExpectationRenderer expectation_;
};

}  // namespace ctsync::capture
