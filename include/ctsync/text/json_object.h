// SPDX-License-Identifier: GPL-2.0-or-later
// A JSON object as it is written, member by member. Names are literals without anything to escape.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <iterator>
#include <string>
#include <string_view>

#include "ctsync/text/json.h"

namespace ctsync::text {

class JsonObject {
 public:
  explicit JsonObject(std::string& out) : out_(out) { out_ += '{'; }

  void number(std::string_view name, std::unsigned_integral auto value) {
    fmt::format_to(std::back_inserter(key(name)), "{}", value);
  }
  void text(std::string_view name, std::string_view value) { append_json_string(key(name), value); }
  void truth(std::string_view name, bool value) { key(name) += value ? "true" : "false"; }
  // The value is to be appended.
  std::string& key(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    out_ += '"';
    out_ += name;
    out_ += "\":";
    return out_;
  }
  void end() { out_ += '}'; }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace ctsync::text
