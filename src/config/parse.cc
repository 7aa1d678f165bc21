// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/config/parse.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "builder.h"
#include "grammar.h"
#include "report.h"
#include "token_stream.h"

namespace ctsync::config {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

ParseResult refuse(Report& report, std::string why, int exit_status) {
  report.whole_file_error(std::move(why));
  return {.config = {}, .diagnostics = report.take(), .exit_status = exit_status};
}

ParseResult parse(std::string_view text, Report& report) {
  if (text.size() > kMaxFileSize)
    return refuse(report, fmt::format("config file is larger than {} bytes", kMaxFileSize), 1);
  if (text.starts_with(kByteOrderMark)) {
    report.warning({}, "byte-order mark at the beginning of the file, ignoring");
    text.remove_prefix(kByteOrderMark.size());
  }
  TokenStream tokens(text);
  Builder builder(report);
  Grammar grammar(tokens, builder);
  grammar.parse();
  builder.finish();
  return {
      .config = std::move(builder.config), .diagnostics = report.take(), .exit_status = report.has_errors() ? 1 : 0};
}

}  // namespace

ParseResult parse_text(std::string_view text, const std::string& file_name) {
  Report report(file_name);
  return parse(text, report);
}

ParseResult parse_file(const std::string& path) {
  Report report(path);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!file)
    return refuse(report, fmt::format("can't open config file `{}': {}", printable(path), std::strerror(errno)), 1);

  std::string text;
  char block[16384];
  while (text.size() <= kMaxFileSize) {
    const std::size_t got = std::fread(block, 1, sizeof block, file.get());
    if (got == 0) break;
    text.append(block, got);
  }
  if (std::ferror(file.get()) != 0) {
    return refuse(report, fmt::format("can't read config file `{}': {}", printable(path), std::strerror(errno)), 2);
  }
  return parse(text, report);
}

}  // namespace ctsync::config
