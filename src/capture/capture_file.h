// SPDX-License-Identifier: GPL-2.0-or-later
// A capture as tcpdump and others write it (pcap, pcapng), frame by frame. The one place that knows libpcap; without it
// nothing can be opened.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ctsync/base/result.h"
#include "ip_packet.h"

struct pcap;

namespace ctsync::capture {

class CaptureFile {
 public:
  // "-": standard input.
  static Result<CaptureFile> open(const std::string& path);

  int link_type() const { return link_type_; }  // libpcap's number, see ip_packet.h
  std::string link_type_name() const;
  // The next frame, valid until the next call; nothing at the end.
  Result<std::optional<Frame>> next();

 private:
  struct Closer {
    void operator()(pcap* file) const;
  };

  explicit CaptureFile(pcap* file);

  std::unique_ptr<pcap, Closer> file_;
  int link_type_;
};

}  // namespace ctsync::capture
