// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/text/render_expectation.h"

#include <array>
#include <cstdlib>

#include "library_tuple.h"

namespace ctsync::text {
namespace {

void clear(nf_expect* e) {
  // Flags are printed without looking at presence.
  nfexp_set_attr_u32(e, ATTR_EXP_FLAGS, 0);
  for (int a = 0; a < ATTR_EXP_MAX; ++a) nfexp_attr_unset(e, static_cast<nf_expect_attr>(a));
}

void set_values(nf_expect* e, const Expectation& x, const RenderOptions& o) {
  if (o.show_timeout && x.knows(expect_has::kTimeout)) nfexp_set_attr_u32(e, ATTR_EXP_TIMEOUT, x.timeout);
  if (x.knows(expect_has::kZone)) nfexp_set_attr_u16(e, ATTR_EXP_ZONE, x.zone);
  if (x.knows(expect_has::kFlags)) nfexp_set_attr_u32(e, ATTR_EXP_FLAGS, x.flags);
  if (x.knows(expect_has::kClass)) nfexp_set_attr_u32(e, ATTR_EXP_CLASS, x.klass);
  if (x.knows(expect_has::kHelper)) nfexp_set_attr(e, ATTR_EXP_HELPER_NAME, printable_name(x.helper).data());
}

}  // namespace

ExpectationRenderer::ExpectationRenderer() : empty_(nfct_new()), tuple_(nfct_new()), expect_(nfexp_new()) {
  if (empty_ == nullptr || tuple_ == nullptr || expect_ == nullptr) std::abort();  // out of memory
}

ExpectationRenderer::~ExpectationRenderer() {
  nfexp_destroy(expect_);
  nfct_destroy(tuple_);
  nfct_destroy(empty_);
}

void ExpectationRenderer::append(std::string& out, const Expectation& x, const RenderOptions& options) {
  clear(expect_);
  // Always set, known or not: the library prints all three.
  const auto set = [&](nf_expect_attr attribute, const Tuple& t, bool with_ports) {
    nfct_copy(tuple_, empty_, NFCT_CP_OVERRIDE);
    set_original(tuple_, t, with_ports);
    nfexp_set_attr(expect_, attribute, tuple_);
  };
  set(ATTR_EXP_MASTER, x.master, x.knows(expect_has::kMasterPorts));
  set(ATTR_EXP_EXPECTED, x.expected, x.knows(expect_has::kExpectedPorts));
  set(ATTR_EXP_MASK, x.mask, x.knows(expect_has::kMaskPorts));
  set_values(expect_, x, options);
  std::array<char, kMaxLine> line;
  line[0] = '\0';
  const unsigned form = options.xml ? NFCT_O_XML : NFCT_O_PLAIN;
  append_printed(out, line, nfexp_snprintf(line.data(), kMaxLine, expect_, NFCT_T_UNKNOWN, form, 0));
  append_ages(out, options);
}

}  // namespace ctsync::text
