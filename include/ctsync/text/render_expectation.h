// SPDX-License-Identifier: GPL-2.0-or-later
// An expectation as the line or XML element that conntrackd prints (spec cli.md 8.3), through libnetfilter_conntrack.
#pragma once

#include <string>

#include "ctsync/flow/expectation.h"
#include "ctsync/text/render_flow.h"

struct nf_expect;

namespace ctsync::text {

class ExpectationRenderer {
 public:
  ExpectationRenderer();
  ~ExpectationRenderer();
  ExpectationRenderer(const ExpectationRenderer&) = delete;
  ExpectationRenderer& operator=(const ExpectationRenderer&) = delete;

  // Appends one line without newline.
  void append(std::string& out, const Expectation& expectation, const RenderOptions& options = {});

 private:
  nf_conntrack* empty_;
  nf_conntrack* tuple_;
  nf_expect* expect_;
};

}  // namespace ctsync::text
