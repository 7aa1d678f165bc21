// SPDX-License-Identifier: GPL-2.0-or-later
#include "receive_buffers.h"

#include <algorithm>

namespace ctsync::link {

ReceiveBuffers::ReceiveBuffers() : bytes_(std::make_unique_for_overwrite<std::uint8_t[]>(kDatagrams * kDatagramSize)) {
  for (std::size_t i = 0; i < kDatagrams; ++i) {
    parts_[i] = {bytes_.get() + i * kDatagramSize, kDatagramSize};
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
    messages_[i].msg_hdr.msg_name = &senders_[i];
  }
}

int ReceiveBuffers::receive(int fd, std::size_t limit) {
  const auto n = std::min(limit, kDatagrams);
  for (std::size_t i = 0; i < n; ++i) messages_[i].msg_hdr.msg_namelen = sizeof senders_[i];
  return ::recvmmsg(fd, messages_.data(), static_cast<unsigned>(n), MSG_DONTWAIT, nullptr);
}

}  // namespace ctsync::link
