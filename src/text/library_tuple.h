// SPDX-License-Identifier: GPL-2.0-or-later
// From our values to the attributes of libnetfilter_conntrack; shared by the renderers.
#pragma once

#include <array>
#include <span>
#include <string>

#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

#include "ctsync/flow/flow.h"

namespace ctsync::text {

// Of the longest line that the library prints, with room to spare: XML with IPv6 in both directions takes about 1000
// bytes.
inline constexpr std::size_t kMaxLine = 4096;

// Sets the original direction: family, addresses, protocol and, with `with_ports`, the two layer-4 numbers.
void set_original(nf_conntrack* ct, const Tuple& t, bool with_ports);
void set_reply(nf_conntrack* ct, const Tuple& t, bool with_ports);

// A name that came over the wire must not break the line or the XML element around it: whatever is not printable, a
// blank or a character of XML's own becomes '?'. Up to the first zero.
std::array<char, kHelperNameSize> printable_name(const std::array<char, kHelperNameSize>& name);

// Appends what one of the library's print functions returned: the number of bytes it wanted to print to `line`.
void append_printed(std::string& out, std::span<const char> line, int printed);

}  // namespace ctsync::text
