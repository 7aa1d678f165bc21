// SPDX-License-Identifier: GPL-2.0-or-later
// Flows, expectations and statistics as JSON (doc/json.md). What is not known is left out. Strings are ASCII whatever came
// over the wire: quotes, backslashes and control characters are escaped, and bytes beyond ASCII are told as the characters of
// these numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ctsync/flow/expectation.h"
#include "ctsync/flow/flow.h"
#include "ctsync/text/render_flow.h"
#include "ctsync/text/snapshot.h"

namespace ctsync::text {

// With its quotes.
void append_json_string(std::string& out, std::string_view s);

// Append one object without newline. `extra` may be null if the flow announces no extra attributes.
void append_json(std::string& out, const Flow& flow, const FlowExtra* extra, const RenderOptions& options);
void append_json(std::string& out, const Expectation& expectation, const RenderOptions& options);
// A message that waits for its acknowledgement.
void append_json_resend(std::string& out, bool is_control, std::uint32_t seq, std::uint32_t flags);
// Appends the object of a topic, with newline.
void append_json(std::string& out, Topic topic, const Snapshot& s);

}  // namespace ctsync::text
