// SPDX-License-Identifier: GPL-2.0-or-later
// A flow as the line or XML element that conntrackd prints (spec cli.md 8.1, 8.2), through libnetfilter_conntrack.
// Keeps its conversion objects, so that a line costs no allocation but the growth of the output.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "ctsync/flow/flow.h"

struct nf_conntrack;

namespace ctsync::text {

struct RenderOptions {
  bool xml = false;
  bool show_timeout = false;                                 // error lines; never for cached entries
  std::optional<std::uint32_t> expires_in = std::nullopt;    // seconds; text only
  std::optional<std::uint32_t> active_since = std::nullopt;  // seconds; text only
};

// Appends " [expires in Ns]" and " [active since Ns]" as far as set; nothing in XML.
void append_ages(std::string& out, const RenderOptions& options);

class FlowRenderer {
 public:
  FlowRenderer();
  ~FlowRenderer();
  FlowRenderer(const FlowRenderer&) = delete;
  FlowRenderer& operator=(const FlowRenderer&) = delete;

  // Appends one line without newline. `extra` may be null if the flow announces no extra attributes.
  void append(std::string& out, const Flow& flow, const FlowExtra* extra, const RenderOptions& options = {});
  void append(std::string& out, const FlowRecord& r, const RenderOptions& options = {}) {
    append(out, r.flow, &r.extra, options);
  }
  // The same without ages, always by the library, which append() leaves out where it can.
  void by_library(std::string& out, const Flow& flow, const FlowExtra* extra, const RenderOptions& options);
  // The line of a flow as the kernel's message tells it: everything that the library knows of, e.g. accounting, times,
  // zones of one direction, security context. `attributes`: struct nlattr, well-formed.
  void append_message(std::string& out, Family family, std::span<const std::uint8_t> attributes);

 private:
  void print(std::string& out, unsigned form);

  nf_conntrack* empty_;  // never changed: what ct_ is reset from
  nf_conntrack* ct_;
};

}  // namespace ctsync::text
