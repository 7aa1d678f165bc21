// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/capture/decode.h"

#include <cstdio>

#include "capture_file.h"
#include "decoder.h"

namespace ctsync::capture {
namespace {

// False if the output takes no more.
bool write(const std::string& lines, bool at_once) {
  if (std::fwrite(lines.data(), 1, lines.size(), stdout) != lines.size()) return false;
  return !at_once || std::fflush(stdout) == 0;
}

}  // namespace

int decode(const DecodeOptions& options, Log& log) {
  auto file = CaptureFile::open(options.path);
  if (!file) {
    log.error("can't read the capture {}: {}", options.path, file.error().text);
    return 1;
  }
  if (!is_known_link_type(file->link_type())) {
    log.error("can't read the capture {}: nothing is known of link type {}", options.path, file->link_type_name());
    return 1;
  }
  const bool live = options.path == "-";  // somebody may be waiting for each line
  Decoder decoder(options.ports, options.json);
  int status = 0;
  bool written = true;
  while (written) {
    const auto frame = file->next();
    if (!frame) {
      log.error("the capture {} is damaged, the rest is not read: {}", options.path, frame.error().text);
      status = 1;
      break;
    }
    if (!*frame) break;
    decoder.frame(file->link_type(), **frame);
    written = write(decoder.take_output(), live);
  }
  decoder.finish();
  if (!written || !write(decoder.take_output(), true)) {
    log.error("can't write to standard output");
    return 1;
  }
  std::fputs(decoder.summary().c_str(), stderr);
  return status;
}

}  // namespace ctsync::capture
