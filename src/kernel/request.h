// SPDX-License-Identifier: GPL-2.0-or-later
// One ctnetlink request being written with libmnl. What does not fit its room is not written, and size() says 0.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "ctsync/base/bytes.h"
#include "ctsync/flow/flow.h"

namespace ctsync::kernel {

class Request {
 public:
  // `room` aligned for nlmsghdr. Header and nfgenmsg.
  Request(std::span<std::uint8_t> room, std::uint16_t type, unsigned flags, std::uint32_t seq, Family family)
      : room_(room.size()), ok_(room.size() >= NLMSG_HDRLEN + sizeof(nfgenmsg)) {
    if (!ok_) return;
    message_ = ::mnl_nlmsg_put_header(room.data());
    message_->nlmsg_type = type;
    message_->nlmsg_flags = static_cast<std::uint16_t>(flags);
    message_->nlmsg_seq = seq;
    auto* head = static_cast<nfgenmsg*>(::mnl_nlmsg_put_extra_header(message_, sizeof(nfgenmsg)));
    head->nfgen_family = static_cast<std::uint8_t>(family);
    head->version = NFNETLINK_V0;
  }

  void bytes(unsigned type, const void* data, std::size_t size) {
    ok_ = ok_ && ::mnl_attr_put_check(message_, room_, static_cast<std::uint16_t>(type), size, data);
  }
  void u8(unsigned type, std::uint8_t v) { bytes(type, &v, sizeof v); }
  void be16(unsigned type, std::uint16_t v) {
    v = network_order(v);
    bytes(type, &v, sizeof v);
  }
  void be32(unsigned type, std::uint32_t v) {
    v = network_order(v);
    bytes(type, &v, sizeof v);
  }
  // With its terminating zero.
  void text(unsigned type, const char* text) { bytes(type, text, std::string_view(text).size() + 1); }

  // Bytes of the message, a multiple of four.
  std::size_t size() const { return ok_ ? message_->nlmsg_len : 0; }

 private:
  friend class Nest;

  nlmsghdr* message_ = nullptr;
  std::size_t room_;
  bool ok_;
};

// A nested attribute, open while the object lives.
class Nest {
 public:
  Nest(Request& r, unsigned type) : r_(r) {
    if (r.ok_) attribute_ = ::mnl_attr_nest_start_check(r.message_, r.room_, static_cast<std::uint16_t>(type));
    r.ok_ = attribute_ != nullptr;
  }
  ~Nest() {
    if (attribute_ != nullptr) ::mnl_attr_nest_end(r_.message_, attribute_);
  }
  Nest(const Nest&) = delete;
  Nest& operator=(const Nest&) = delete;

 private:
  Request& r_;
  nlattr* attribute_ = nullptr;
};

}  // namespace ctsync::kernel
