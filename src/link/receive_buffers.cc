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

int ReceiveBuffers::fetch(int fd, std::size_t limit) {
  const auto most = std::min(limit, kDatagrams);
  for (std::size_t i = 0; i < most; ++i) messages_[i].msg_hdr.msg_namelen = sizeof senders_[i];
  const int n = ::recvmmsg(fd, messages_.data(), static_cast<unsigned>(most), MSG_DONTWAIT, nullptr);
  next_ = 0;
  count_ = n > 0 ? static_cast<std::size_t>(n) : 0;
  return n;
}

ReceiveBuffers::Received ReceiveBuffers::take() {
  const auto i = next_++;
  return {{bytes_.get() + i * kDatagramSize, messages_[i].msg_len}, &senders_[i]};
}

}  // namespace ctsync::link
