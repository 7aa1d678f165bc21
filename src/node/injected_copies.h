// SPDX-License-Identifier: GPL-2.0-or-later
// The copies that DisableExternalCache makes: nothing else knows what the peers have told.
//
// A flow belongs to the node whose kernel saw its last packet, as far as anybody can know: an event of somebody else's
// makes a copy this node's, the word of a peer that says something new makes a flow the peer's.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "copies.h"
#include "ctsync/flow/tuple_hash.h"
#include "ctsync/kernel/kernel_table.h"

namespace ctsync::node {

class InjectedCopies final : public Copies {
 public:
  // `most`: how many are remembered. What is given beyond that passes for this node's. The kernel must outlive it.
  InjectedCopies(kernel::KernelTable& kernel, std::uint64_t seed, std::size_t most)
      : kernel_(kernel), hash_(seed), other_hash_(~seed), most_(most) {}

  void set_most(std::size_t most) { most_ = most; }

  bool contains(const Tuple& orig) override;
  void touched(const Tuple& orig) override;
  bool was_touched(const Tuple& orig) override;
  void forget(const Tuple& orig) override;
  bool ended(const Tuple& orig) override;
  void found(const Flow& f) override { given(f); }
  bool has_changed(const Flow& f) override;
  void caught_up() override { ++look_; }

  // A flow was written into the kernel, or removed from it, in a peer's name, without error. True: whatever it was, it is
  // not this node's any more.
  bool written(const kernel::WriteResult& result, const Flow& f);
  // As the kernel has it; whose it is nobody knows, so its end is not to be told.
  void given(const Flow& f);
  // Whether this is what a peer said last of the flow: no news, whoever it belongs to now.
  bool is_known(const Flow& f);
  // What a peer says now of a copy: whether it is another flow with this tuple, for it has not come as far as the last one
  // had.
  bool is_another(const Flow& f);
  // Whether two pictures of a flow are the same in what tells most of the packets that pass.
  static bool same(const Flow& a, const Flow& b) { return picture_of(a) == picture_of(b); }

 private:
  static constexpr std::size_t kParts = 256;  // so that none takes long to grow

  struct Picture {
    std::uint32_t mark = 0;
    std::uint32_t progress = 0;
    std::uint8_t state = 0;
    bool operator==(const Picture&) const = default;
  };
  struct Copy {
    std::uint32_t look = 0;  // after which look at the events it was given
    Picture picture;         // as the peer gave it
    bool kept = false;       // what the kernel has was further on and left as it was
    bool touched = false;    // since then: no copy any more
  };
  using Part = std::unordered_map<std::uint64_t, Copy>;

  std::uint64_t key_of(const Tuple& orig) const { return std::uint64_t{hash_(orig)} << 32 | other_hash_(orig); }
  Part& part_of(std::uint64_t key) { return parts_[key >> 56]; }
  Copy* find(const Tuple& orig);
  void give(const Tuple& orig, const Picture& picture, bool kept);
  static Picture picture_of(const Flow& f);

  kernel::KernelTable& kernel_;
  TupleHash hash_;
  TupleHash other_hash_;
  std::size_t most_;
  std::array<Part, kParts> parts_;  // by hashes of the original tuple
  std::size_t size_ = 0;
  std::uint32_t look_ = 0;
  FlowRecord scratch_;
};

}  // namespace ctsync::node
